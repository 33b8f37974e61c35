//! The providers: each a profile and two thin clients over the shared transport.

#[cfg(any(feature = "openai", feature = "openai-compatible"))]
mod clients;
#[cfg(feature = "openai")]
mod openai;
#[cfg(feature = "openai-compatible")]
mod openai_compatible;
mod profile;

pub(crate) use profile::Profile;

#[cfg(feature = "openai")]
pub use openai::OpenAI;
#[cfg(all(feature = "openai", feature = "batches"))]
pub use openai::OpenAIBatches;
#[cfg(feature = "openai-compatible")]
pub use openai_compatible::OpenAICompatible;
#[cfg(all(feature = "openai-compatible", feature = "batches"))]
pub use openai_compatible::OpenAICompatibleBatches;
