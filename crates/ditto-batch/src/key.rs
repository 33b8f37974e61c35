//! Keys by reference: where one stands, never what it is. The one place that reads the environment,
//! but for the flags that clap reads from it.

use std::path::Path;

use secrecy::SecretString;

use crate::failure::{Failure, Result};

/// An environment variable; one that is not Unicode counts as not set.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that reads the environment"
)]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The key in an environment variable.
pub(crate) fn from_env(name: &str) -> Result<SecretString> {
    from_value(name, variable(name))
}

/// The key that this environment variable was found to hold.
pub(crate) fn from_value(name: &str, value: Option<String>) -> Result<SecretString> {
    let value = value
        .ok_or_else(|| Failure::usage(format!("the environment variable {name} is not set")))?;
    trimmed(&value)
        .ok_or_else(|| Failure::usage(format!("the environment variable {name} is empty")))
}

/// The key that is a file's only line.
pub(crate) fn from_file(path: &Path) -> Result<SecretString> {
    trimmed(&read_file(path)?)
        .ok_or_else(|| Failure::usage(format!("the key file {} is empty", path.display())))
}

/// The text of a file of keys.
pub(crate) fn read_file(path: &Path) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| Failure::file("cannot read the key file", path, &e))
}

fn trimmed(text: &str) -> Option<SecretString> {
    let text = text.trim();
    (!text.is_empty()).then(|| text.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit;
    use secrecy::ExposeSecret;

    #[test]
    fn a_key_comes_without_the_space_around_it() {
        let key = from_value("K", Some(" sk-1\n".to_owned())).unwrap();
        assert_eq!(key.expose_secret(), "sk-1");
    }

    #[test]
    fn a_key_that_is_not_there_is_a_mistake_of_the_command_line() {
        let unset = from_value("K", None).unwrap_err();
        assert_eq!(unset.message, "the environment variable K is not set");
        let empty = from_value("K", Some(" ".to_owned())).unwrap_err();
        assert_eq!(empty.message, "the environment variable K is empty");
        assert_eq!((unset.exit, empty.exit), (exit::USAGE, exit::USAGE));
    }

    #[test]
    fn a_key_file_has_one_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        assert_eq!(from_file(&path).unwrap_err().exit, exit::NOT_FOUND);
        std::fs::write(&path, "\n").unwrap();
        assert_eq!(from_file(&path).unwrap_err().exit, exit::USAGE);
        std::fs::write(&path, "sk-2\n").unwrap();
        assert_eq!(from_file(&path).unwrap().expose_secret(), "sk-2");
    }
}
