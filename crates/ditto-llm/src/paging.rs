//! How lists go on.

use serde::{Deserialize, Serialize};

/// How the next page of a list of batches is asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Paging {
    /// `after` with the id of the last batch.
    #[default]
    After,
    /// `cursor` with the `paging.next_cursor` of the page before.
    Cursor,
    /// `after` with how many batches were listed.
    Offset,
    /// There is one page, and all is on it.
    None,
}
