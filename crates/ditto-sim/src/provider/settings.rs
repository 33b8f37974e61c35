//! How the provider of batches behaves on the whole.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::provider::faults::ProviderFaults;
use crate::provider::pace::Pace;

/// How the provider of batches behaves on the whole. The default is quick and well-behaved.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProviderConfig {
    /// How long the stages of a batch last.
    pub pace: Pace,
    /// How it misbehaves.
    pub faults: ProviderFaults,
    /// The folder in which a temporary one is made for the files; the system's if none.
    pub folder: Option<PathBuf>,
}

impl Default for ProviderConfig {
    fn default() -> Self {
        Self {
            pace: Pace::QUICK,
            faults: ProviderFaults::default(),
            folder: None,
        }
    }
}
