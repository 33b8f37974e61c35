//! What `files` and `batches` share: which server, which key, and how an answer is shown.

use std::fmt;
use std::io::Write;

use clap::Args;
use ditto_llm::{DittoError, OpenAICompatible};
use secrecy::SecretString;
use serde::Serialize;

use crate::exit;

/// Where `ditto-batch serve` listens unless told otherwise.
const OWN_SERVER: &str = "http://127.0.0.1:8650/v1";
/// Pairs of base URL and key, as the SDK reads them.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("OPENAI_COMPAT_BASE_URL", "OPENAI_COMPAT_API_KEY"),
    ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
];

/// Which server, and with which key.
#[derive(Debug, Clone, Args)]
pub(crate) struct ApiArgs {
    /// The server [default: OPENAI_COMPAT_BASE_URL, else OPENAI_BASE_URL, else
    /// http://127.0.0.1:8650/v1]
    #[arg(long, global = true, value_name = "URL")]
    base_url: Option<String>,
    /// Environment variable that holds the key [default: the one beside the base URL's; a server
    /// named by --base-url is sent no key that was not meant for it]
    #[arg(long, global = true, value_name = "NAME")]
    api_key_env: Option<String>,
}

/// What stops a command.
#[derive(Debug)]
pub(crate) struct Stop {
    pub(crate) exit: u8,
    message: String,
}

impl Stop {
    pub(crate) fn new(exit: u8, message: impl Into<String>) -> Self {
        Self {
            exit,
            message: message.into(),
        }
    }
}

impl fmt::Display for Stop {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl From<DittoError> for Stop {
    fn from(error: DittoError) -> Self {
        Self {
            exit: exit_of(&error),
            message: error.to_string(),
        }
    }
}

impl From<std::io::Error> for Stop {
    fn from(error: std::io::Error) -> Self {
        Self::new(exit::LOCAL_IO, error.to_string())
    }
}

fn exit_of(error: &DittoError) -> u8 {
    match error {
        DittoError::Api { status, .. } => exit_of_status(*status),
        DittoError::Http(_) | DittoError::Incomplete { .. } => exit::AWAY,
        DittoError::Io(error) if error.kind() == std::io::ErrorKind::NotFound => exit::NOT_FOUND,
        DittoError::Io(_) => exit::LOCAL_IO,
        DittoError::InvalidRequest(_) | DittoError::InvalidConfig(_) => exit::USAGE,
        DittoError::WaitedTooLong { .. } => exit::NOT_FINISHED,
        _ => exit::UNEXPECTED,
    }
}

fn exit_of_status(status: u16) -> u8 {
    match status {
        401..=403 | 429 => exit::NOT_ALLOWED,
        404 | 410 => exit::NOT_FOUND,
        409 => exit::CONFLICT,
        408 | 500.. => exit::AWAY,
        _ => exit::REFUSED,
    }
}

impl ApiArgs {
    /// A client of that server.
    pub(crate) fn client(&self) -> Result<OpenAICompatible, Stop> {
        let (url, key) = self.choose(&|name| std::env::var(name).ok())?;
        Ok(OpenAICompatible::new(key).with_base_url(url))
    }

    fn choose(
        &self,
        lookup: &dyn Fn(&str) -> Option<String>,
    ) -> Result<(String, SecretString), Stop> {
        let set = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let named = match &self.api_key_env {
            None => None,
            Some(name) => Some(set(name).ok_or_else(|| {
                Stop::new(
                    exit::USAGE,
                    format!("the environment variable {name} is not set"),
                )
            })?),
        };
        let (url, beside) = match &self.base_url {
            Some(url) => (url.clone(), None),
            None => ENVIRONMENT
                .iter()
                .find_map(|(url, key)| Some((set(url)?, set(key))))
                .unwrap_or_else(|| (OWN_SERVER.to_owned(), None)),
        };
        let key = named.or(beside).unwrap_or_default();
        Ok((url, key.trim().to_owned().into()))
    }
}

/// One JSON object, on stdout.
pub(crate) fn show(out: &mut dyn Write, object: &impl Serialize) -> Result<(), Stop> {
    let text = serde_json::to_string(object).map_err(DittoError::from)?;
    writeln!(out, "{text}")?;
    Ok(())
}

/// Ends a command: the error, if any, on stderr.
pub(crate) fn finish(result: Result<u8, Stop>, err: &mut dyn Write) -> u8 {
    match result {
        Ok(code) => code,
        Err(stop) => {
            // Without stderr there is nobody to tell; the code says it too.
            let _ = writeln!(err, "error: {stop}");
            stop.exit
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use secrecy::ExposeSecret;

    fn chosen(args: (&str, &str), vars: &[(&str, &str)]) -> (String, String) {
        let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let args = ApiArgs {
            base_url: given(args.0),
            api_key_env: given(args.1),
        };
        let lookup = |name: &str| {
            vars.iter()
                .find(|(var, _)| *var == name)
                .map(|(_, value)| (*value).to_owned())
        };
        let (url, key) = args.choose(&lookup).unwrap();
        (url, key.expose_secret().to_owned())
    }

    fn pair(url: &str, key: &str) -> (String, String) {
        (url.to_owned(), key.to_owned())
    }

    #[test]
    fn a_key_goes_only_where_it_was_meant_to_go() {
        let openai = ("OPENAI_API_KEY", "sk-openai");
        let compat = ("OPENAI_COMPAT_API_KEY", "sk-compat");
        assert_eq!(chosen(("", ""), &[openai, compat]), pair(OWN_SERVER, ""));
        assert_eq!(
            chosen(("http://h", ""), &[openai, compat]),
            pair("http://h", "")
        );
        let named = chosen(("http://h", "OPENAI_COMPAT_API_KEY"), &[openai, compat]);
        assert_eq!(named, pair("http://h", "sk-compat"));
        let beside = [openai, compat, ("OPENAI_BASE_URL", "http://o")];
        assert_eq!(chosen(("", ""), &beside), pair("http://o", "sk-openai"));
        let both = [
            openai,
            compat,
            ("OPENAI_COMPAT_BASE_URL", "http://c"),
            beside[2],
        ];
        assert_eq!(chosen(("", ""), &both), pair("http://c", "sk-compat"));
    }

    #[test]
    fn a_key_that_is_asked_for_must_be_there() {
        let args = ApiArgs {
            base_url: None,
            api_key_env: Some("NO_KEY".to_owned()),
        };
        assert_eq!(args.choose(&|_| None).unwrap_err().exit, exit::USAGE);
    }
}
