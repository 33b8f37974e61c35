//! What `files` and `batches` share: which server, which key, and how an answer is shown.

use std::io::{self, Write};

use clap::Args;
use ditto_llm::OpenAICompatible;
use secrecy::SecretString;
use serde::Serialize;

use crate::failure::{Failure, Result};
use crate::{key, printer};

/// Where `ditto-batch serve` listens unless told otherwise.
const OWN_SERVER: &str = "http://127.0.0.1:8650/v1";
/// Pairs of base URL and key, as the SDK reads them.
const ENVIRONMENT: [(&str, &str); 2] = [
    ("OPENAI_COMPAT_BASE_URL", "OPENAI_COMPAT_API_KEY"),
    ("OPENAI_BASE_URL", "OPENAI_API_KEY"),
];

/// Which server, and with which key.
#[derive(Debug, Clone, Default, Args)]
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

impl ApiArgs {
    /// A client of that server.
    pub(crate) fn client(&self) -> Result<OpenAICompatible> {
        let (url, key) = self.choose(&key::variable)?;
        Ok(OpenAICompatible::new(key).with_base_url(url))
    }

    /// Whether a server was named on the command line.
    pub(crate) fn names_a_server(&self) -> bool {
        self.base_url.is_some()
    }

    fn choose(&self, lookup: &dyn Fn(&str) -> Option<String>) -> Result<(String, SecretString)> {
        let set = |name: &str| lookup(name).filter(|value| !value.trim().is_empty());
        let named = match &self.api_key_env {
            None => None,
            Some(name) => Some(key::from_value(name, lookup(name))?),
        };
        let (url, beside) = match &self.base_url {
            Some(url) => (url.clone(), None),
            None => ENVIRONMENT
                .iter()
                .find_map(|(url, var)| {
                    let key = set(var).map(|key| SecretString::from(key.trim()));
                    Some((set(url)?, key))
                })
                .unwrap_or_else(|| (OWN_SERVER.to_owned(), None)),
        };
        let key = named.or(beside).unwrap_or_default();
        Ok((url, key))
    }
}

/// An answer of the server, on stdout.
pub(crate) fn show(out: &mut dyn Write, object: &impl Serialize) -> Result<()> {
    printer::show(out, object).map_err(|e| unsaid(&e))
}

/// stdout takes no more.
pub(crate) fn unsaid(error: &io::Error) -> Failure {
    Failure::io("cannot write the answer", error)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;
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
