//! Everything that speaks OpenAI's protocol: servers of one's own, gateways, other providers.

#[cfg(feature = "batches")]
use super::clients::batch_client;
use super::clients::{client_settings, file_client};
use super::profile::Profile;
use crate::http::Transport;

static OPENAI_COMPATIBLE: Profile = Profile {
    id: "openai-compatible",
    base_url: "https://api.openai.com/v1",
    key_vars: &["OPENAI_COMPAT_API_KEY", "OPENAI_API_KEY"],
    base_url_vars: &["OPENAI_COMPAT_BASE_URL", "OPENAI_BASE_URL"],
    header_vars: &[],
};

/// The files of a server that is compatible with OpenAI.
///
/// From the environment it takes the key `OPENAI_COMPAT_API_KEY`, else `OPENAI_API_KEY`, and the
/// base URL `OPENAI_COMPAT_BASE_URL`, else `OPENAI_BASE_URL`, else OpenAI's own.
///
/// Azure wants its key in a header of its own, and a date for a version:
///
/// ```
/// use ditto_llm::OpenAICompatible;
///
/// let azure = OpenAICompatible::new("")
///     .with_base_url("https://my-resource.openai.azure.com/openai")
///     .with_header("api-key", "the key")
///     .with_query_param("api-version", "2025-04-01-preview");
/// # let _ = azure;
/// ```
#[derive(Clone)]
pub struct OpenAICompatible {
    transport: Transport,
}

client_settings!(OpenAICompatible, &OPENAI_COMPATIBLE);
file_client!(OpenAICompatible);

#[cfg(feature = "profiles")]
impl OpenAICompatible {
    /// A client of the provider that a profile describes. Where the profile names no address, give
    /// one with [`with_base_url`](Self::with_base_url).
    #[must_use]
    pub fn of_profile(profile: &crate::profiles::Profile, api_key: &str) -> Self {
        let client = match profile.key_header.as_str() {
            "authorization" => Self::new(api_key),
            header => Self::new("").with_header(header, api_key),
        };
        let client = match &profile.base_url {
            Some(url) => client.with_base_url(url),
            None => client,
        };
        let headers = profile.headers.iter();
        let client = headers.fold(client, |client, (name, value)| {
            client.with_header(name, value)
        });
        client.with(|config| {
            config.upload_path = profile.upload_path.clone().into();
            config.paging = profile.paging;
            config.timeouts.call = std::time::Duration::from_secs(profile.call_seconds);
        })
    }
}

/// The batches of a server that is compatible with OpenAI. Settings as [`OpenAICompatible`].
#[cfg(feature = "batches")]
#[derive(Clone)]
pub struct OpenAICompatibleBatches {
    transport: Transport,
}

#[cfg(feature = "batches")]
client_settings!(OpenAICompatibleBatches, &OPENAI_COMPATIBLE);
#[cfg(feature = "batches")]
batch_client!(OpenAICompatibleBatches, OpenAICompatible);

#[cfg(feature = "batches")]
impl OpenAICompatibleBatches {
    /// For the calls that are beyond the protocol.
    pub(crate) fn transport(&self) -> &Transport {
        &self.transport
    }
}
