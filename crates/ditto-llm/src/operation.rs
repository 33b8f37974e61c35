//! The calls of the API, and what is special about each.

use reqwest::Method;

use crate::retry::Repeat;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "batches"),
    expect(
        clippy::enum_variant_names,
        reason = "without batches all calls are about files"
    )
)]
pub(crate) enum Operation {
    FileUpload,
    FileList,
    FileRetrieve,
    FileDelete,
    FileContent,
    #[cfg(feature = "batches")]
    BatchCreate,
    #[cfg(feature = "batches")]
    BatchRetrieve,
    #[cfg(feature = "batches")]
    BatchCancel,
    #[cfg(feature = "batches")]
    BatchList,
    #[cfg(all(feature = "batches", feature = "openai-compatible"))]
    BatchRetry,
    #[cfg(all(feature = "batches", feature = "openai-compatible"))]
    BatchResults,
}

impl Operation {
    /// The name in errors and in the audit trail.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::FileUpload => "file.upload",
            Self::FileList => "file.list",
            Self::FileRetrieve => "file.retrieve",
            Self::FileDelete => "file.delete",
            Self::FileContent => "file.content",
            #[cfg(feature = "batches")]
            Self::BatchCreate => "batch.create",
            #[cfg(feature = "batches")]
            Self::BatchRetrieve => "batch.retrieve",
            #[cfg(feature = "batches")]
            Self::BatchCancel => "batch.cancel",
            #[cfg(feature = "batches")]
            Self::BatchList => "batch.list",
            #[cfg(all(feature = "batches", feature = "openai-compatible"))]
            Self::BatchRetry => "batch.retry",
            #[cfg(all(feature = "batches", feature = "openai-compatible"))]
            Self::BatchResults => "batch.results",
        }
    }

    pub(crate) fn method(self) -> Method {
        match self {
            Self::FileUpload => Method::POST,
            Self::FileDelete => Method::DELETE,
            Self::FileList | Self::FileRetrieve | Self::FileContent => Method::GET,
            #[cfg(feature = "batches")]
            Self::BatchCreate | Self::BatchCancel => Method::POST,
            #[cfg(all(feature = "batches", feature = "openai-compatible"))]
            Self::BatchRetry => Method::POST,
            #[cfg(feature = "batches")]
            Self::BatchRetrieve | Self::BatchList => Method::GET,
            #[cfg(all(feature = "batches", feature = "openai-compatible"))]
            Self::BatchResults => Method::GET,
        }
    }

    /// How the call may be sent again.
    pub(crate) fn repeat(self) -> Repeat {
        match self {
            Self::FileUpload => Repeat::FromStart,
            Self::FileDelete => Repeat::Idempotent,
            Self::FileList | Self::FileRetrieve | Self::FileContent => Repeat::Freely,
            #[cfg(feature = "batches")]
            Self::BatchCreate => Repeat::OnlyIfRefused,
            #[cfg(all(feature = "batches", feature = "openai-compatible"))]
            Self::BatchRetry => Repeat::OnlyIfRefused,
            #[cfg(feature = "batches")]
            Self::BatchCancel => Repeat::Idempotent,
            #[cfg(feature = "batches")]
            Self::BatchRetrieve | Self::BatchList => Repeat::Freely,
            #[cfg(all(feature = "batches", feature = "openai-compatible"))]
            Self::BatchResults => Repeat::Freely,
        }
    }

    /// Whether the answer is handed on as a stream. Only such calls follow redirects: providers
    /// answer them with a link into their object storage.
    pub(crate) fn streams_answer(self) -> bool {
        match self {
            Self::FileContent => true,
            #[cfg(all(feature = "batches", feature = "openai-compatible"))]
            Self::BatchResults => true,
            _ => false,
        }
    }
}
