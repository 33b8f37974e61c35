//! What differs between providers, as data.

/// One provider's names and defaults.
#[derive(Debug)]
pub(crate) struct Profile {
    /// What `provider()` answers, and the name of its bucket of options.
    pub(crate) id: &'static str,
    /// Where it lives if nobody says otherwise.
    pub(crate) base_url: &'static str,
    /// Environment variables that may hold the key, first wins.
    pub(crate) key_vars: &'static [&'static str],
    /// Environment variables that may hold the base URL, first wins.
    pub(crate) base_url_vars: &'static [&'static str],
    /// Headers with the environment variables that set them.
    pub(crate) header_vars: &'static [(&'static str, &'static str)],
}
