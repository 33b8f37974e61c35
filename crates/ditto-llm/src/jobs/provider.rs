//! The provider of a job: its files and its batches, behind the SDK's own traits.

use std::fmt;
use std::sync::Arc;

use super::error::{JobError, JobErrorKind, Result};
use crate::batches::BatchClient;
use crate::files::FileClient;
use crate::profiles::{Api, Profile};
use crate::providers::OpenAICompatible;

/// The provider of a job.
#[derive(Clone)]
pub struct Provider {
    pub(crate) files: Arc<dyn FileClient>,
    pub(crate) batches: Arc<dyn BatchClient>,
}

impl Provider {
    /// Any clients, which must be those of one provider.
    pub fn new(files: impl FileClient + 'static, batches: impl BatchClient + 'static) -> Self {
        Self {
            files: Arc::new(files),
            batches: Arc::new(batches),
        }
    }

    /// Its files.
    #[must_use]
    pub fn files(&self) -> &dyn FileClient {
        &*self.files
    }

    /// Its batches.
    #[must_use]
    pub fn batches(&self) -> &dyn BatchClient {
        &*self.batches
    }

    /// The provider that a profile describes, at `base_url` or where the profile says it lives.
    ///
    /// # Errors
    ///
    /// Its batches are of a kind that this crate does not speak, or nothing says where it lives.
    pub fn of_profile(profile: &Profile, key: &str, base_url: Option<&str>) -> Result<Self> {
        if profile.api == Api::Own {
            return Err(JobError::new(
                JobErrorKind::Refused,
                format!(
                    "{} has a batch API of its own, which is not spoken here",
                    profile.title
                ),
            )
            .hint("nothing was sent; `--upstream` runs the same file against its endpoint"));
        }
        let Some(base_url) = base_url.or(profile.base_url.as_deref()) else {
            let hint = profile.base_url_hint.as_deref().unwrap_or("--base-url");
            return Err(JobError::new(
                JobErrorKind::Refused,
                format!("the address of {} differs from user to user", profile.title),
            )
            .hint(format!("nothing was sent; give it, as {hint}")));
        };
        let files = OpenAICompatible::of_profile(profile, key).with_base_url(base_url);
        let batches = files.batches();
        Ok(Self::new(files, batches))
    }
}

impl fmt::Debug for Provider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Provider")
            .field("name", &self.files.provider())
            .finish_non_exhaustive()
    }
}
