//! `ditto-batch status|watch|fetch|cancel`: jobs at a provider, from their folder alone, or a batch by
//! its id.

mod cancel;
mod fetch;
mod lanes;
mod status;
mod target;
mod watch;

pub(crate) use self::cancel::{CancelArgs, cancel};
pub(crate) use self::fetch::{FetchArgs, fetch};
pub(crate) use self::status::{StatusArgs, status};
pub(crate) use self::watch::{WatchArgs, watch};
