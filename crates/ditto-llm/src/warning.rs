//! What was left out of a request, though the call went through.

use std::fmt;

use serde::Serialize;

/// Something to know about a call that went through.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(tag = "warning", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Warning {
    /// A provider option was left out, because a typed field of the request has the same key.
    OptionOwnedByField {
        /// The key.
        key: String,
    },
    /// A bucket of provider options was left out, because no provider of that name is known.
    UnknownBucket {
        /// The bucket's name.
        key: String,
    },
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OptionOwnedByField { key } => {
                write!(
                    f,
                    "provider option `{key}` is left out: the request has a field for it"
                )
            }
            Self::UnknownBucket { key } => {
                write!(
                    f,
                    "provider options of `{key}` are left out: they are for another provider"
                )
            }
        }
    }
}
