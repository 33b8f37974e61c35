//! Which call of the files and batches API a request is. Pure.

use http::Method;

use crate::address::below_prefix;

/// Where the other host has its files.
pub(crate) const SIGNED: &str = "/sim/signed/";

/// A call of the files and batches API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Call {
    Upload,
    ListFiles,
    RetrieveFile(String),
    DeleteFile(String),
    Content(String),
    Create,
    ListBatches,
    Retrieve(String),
    Cancel(String),
    /// A file at the other host that a download is sent on to.
    Signed(String),
    /// A path of the API with a method that it does not have.
    NotAllowed,
}

impl Call {
    /// The call at this address, if it is one of this API.
    pub(crate) fn at(method: &Method, path: &str) -> Option<Self> {
        let get = method == Method::GET || method == Method::HEAD;
        if let Some(id) = path.strip_prefix(SIGNED) {
            return get.then(|| Self::Signed(id.into()));
        }
        let post = method == Method::POST;
        let parts: Vec<&str> = below_prefix(path)?.split('/').collect();
        Some(match parts[..] {
            // Some have an address of its own for it.
            ["files"] | ["files", "upload"] if post => Self::Upload,
            ["files"] if get => Self::ListFiles,
            ["files", id] if get => Self::RetrieveFile(id.into()),
            ["files", id] if method == Method::DELETE => Self::DeleteFile(id.into()),
            ["files", id, "content"] if get => Self::Content(id.into()),
            ["batches"] if post => Self::Create,
            ["batches"] if get => Self::ListBatches,
            ["batches", id] if get => Self::Retrieve(id.into()),
            ["batches", id, "cancel"] if post => Self::Cancel(id.into()),
            ["files" | "batches", ..] => Self::NotAllowed,
            _ => return None,
        })
    }

    /// How the call is counted.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Upload => "upload",
            Self::ListFiles => "list files",
            Self::RetrieveFile(_) => "retrieve file",
            Self::DeleteFile(_) => "delete file",
            Self::Content(_) => "content",
            Self::Create => "create",
            Self::ListBatches => "list",
            Self::Retrieve(_) => "retrieve",
            Self::Cancel(_) => "cancel",
            Self::Signed(_) => "signed",
            Self::NotAllowed => "not allowed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_call_is_told_by_method_and_path() {
        let name = |method: Method, path: &str| Call::at(&method, path).map(|call| call.name());
        for (method, path, expected) in [
            (Method::POST, "/v1/files", Some("upload")),
            (Method::POST, "/v1/files/upload", Some("upload")),
            (Method::POST, "/api/paas/v4/files", Some("upload")),
            (Method::POST, "/batches", Some("create")),
            (Method::GET, "/v1/files/f/content", Some("content")),
            (Method::DELETE, "/v1/files/f", Some("delete file")),
            (Method::POST, "/v1/batches", Some("create")),
            (Method::POST, "/v1/batches/b/cancel", Some("cancel")),
            (Method::GET, "/v1/batches/b", Some("retrieve")),
            (Method::PUT, "/v1/batches", Some("not allowed")),
            (Method::POST, "/v1/chat/completions", None),
            (Method::GET, "/sim/stats", None),
        ] {
            assert_eq!(name(method, path), expected, "{path}");
        }
    }
}
