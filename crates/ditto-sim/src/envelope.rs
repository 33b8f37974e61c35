//! OpenAI's error envelope, with the words it uses for each status.

use serde_json::json;

/// What went wrong, as the envelope tells it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    pub(crate) code: Option<&'static str>,
    pub(crate) param: Option<&'static str>,
    pub(crate) message: String,
}

impl Complaint {
    /// The caller's mistake.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        let message = message.into();
        Self {
            status: 400,
            kind: "invalid_request_error",
            message,
            ..Self::default()
        }
    }

    pub(crate) fn with_param(mut self, param: &'static str) -> Self {
        self.param = Some(param);
        self
    }

    pub(crate) fn with_code(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    pub(crate) fn with_status(mut self, status: u16) -> Self {
        self.status = status;
        self
    }

    /// A fault acted out: it says so, and is otherwise what OpenAI sends with this status.
    pub(crate) fn simulated(status: u16) -> Self {
        let (kind, code, what) = match status {
            400 => (
                "invalid_request_error",
                Some("invalid_value"),
                "a bad request",
            ),
            401 => (
                "invalid_request_error",
                Some("invalid_api_key"),
                "a wrong API key",
            ),
            403 => (
                "permission_error",
                Some("unsupported_country_region_territory"),
                "no entry",
            ),
            404 => (
                "invalid_request_error",
                Some("model_not_found"),
                "no such model",
            ),
            429 => ("requests", Some("rate_limit_exceeded"), "the rate limit"),
            402..500 => ("invalid_request_error", None, "a refusal"),
            503 => ("server_error", Some("overloaded"), "an overloaded engine"),
            _ => ("server_error", None, "a server error"),
        };
        let message = format!("Simulated fault {status}: {what}.");
        Self {
            status,
            kind,
            code,
            param: None,
            message,
        }
    }

    /// 429 that no waiting mends.
    pub(crate) fn quota() -> Self {
        Self {
            status: 429,
            kind: "insufficient_quota",
            code: Some("insufficient_quota"),
            param: None,
            message: "Simulated fault quota: you exceeded your current quota.".into(),
        }
    }

    pub(crate) fn to_json(&self) -> Vec<u8> {
        let Self {
            kind,
            code,
            param,
            message,
            ..
        } = self;
        let error = json!({"message": message, "type": kind, "param": param, "code": code});
        json!({ "error": error }).to_string().into_bytes()
    }
}
