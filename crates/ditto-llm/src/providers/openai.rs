//! OpenAI itself.

#[cfg(feature = "batches")]
use super::clients::batch_client;
use super::clients::{client_settings, file_client};
use super::profile::Profile;
use crate::http::Transport;

static OPENAI: Profile = Profile {
    id: "openai",
    base_url: "https://api.openai.com/v1",
    key_vars: &["OPENAI_API_KEY"],
    base_url_vars: &["OPENAI_BASE_URL"],
    header_vars: &[
        ("openai-organization", "OPENAI_ORG_ID"),
        ("openai-project", "OPENAI_PROJECT_ID"),
    ],
};

/// The files of OpenAI.
///
/// From the environment it takes `OPENAI_API_KEY` and, if set, `OPENAI_BASE_URL`,
/// `OPENAI_ORG_ID` and `OPENAI_PROJECT_ID`.
#[derive(Clone)]
pub struct OpenAI {
    transport: Transport,
}

client_settings!(OpenAI, &OPENAI);
file_client!(OpenAI);

/// The batches of OpenAI. Settings as [`OpenAI`].
#[cfg(feature = "batches")]
#[derive(Clone)]
pub struct OpenAIBatches {
    transport: Transport,
}

#[cfg(feature = "batches")]
client_settings!(OpenAIBatches, &OPENAI);
#[cfg(feature = "batches")]
batch_client!(OpenAIBatches, OpenAI);
