//! What a file is held against.

use std::collections::BTreeSet;

/// How much a file may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Requests in the file; blank lines do not count.
    pub max_lines: u64,
    /// Bytes of the file.
    pub max_file_bytes: u64,
    /// Bytes of one line, without its line feed.
    pub max_line_bytes: u64,
    /// Inputs over all lines of an embeddings file.
    pub max_embedding_inputs: Option<u64>,
}

impl Limits {
    /// What OpenAI allows. It states no limit for one line; 16 MiB is ours.
    #[must_use]
    pub fn openai() -> Self {
        Self {
            max_lines: 50_000,
            max_file_bytes: 200_000_000,
            max_line_bytes: 16 << 20,
            max_embedding_inputs: Some(50_000),
        }
    }

    /// What our own server takes unless it is configured otherwise.
    #[must_use]
    pub fn server() -> Self {
        Self {
            max_lines: 10_000_000,
            max_file_bytes: 10_000_000_000,
            max_line_bytes: 16 << 20,
            max_embedding_inputs: None,
        }
    }
}

/// What the caller supplies where a line lacks it. With all fields empty, nothing is supplied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fill {
    /// For a body without the key `model`.
    pub model: Option<String>,
    /// For a line without `url`; such a line may also lack `method`.
    pub endpoint: Option<String>,
    /// Whether a line may be only a body, and what it is called then.
    pub bare: Option<BareIds>,
}

/// How lines that are only a body are named: `line-<number><suffix>`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BareIds {
    /// Empty, or what keeps these names apart from ids that the file itself uses.
    pub suffix: String,
}

/// What a file is held against.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// What every `url` must be; if none, what the first line says.
    pub endpoint: Option<String>,
    /// Whether all lines must name one model.
    pub one_model: bool,
    /// The models that are served; if none are told, any.
    pub models: Option<BTreeSet<String>>,
    /// How much the file may hold.
    pub limits: Limits,
    /// What is supplied where a line lacks it.
    pub fill: Fill,
}

#[cfg(feature = "profiles")]
impl Rules {
    /// What the provider of this name takes, if it is one that is known.
    ///
    /// ```
    /// use ditto_llm::check::Rules;
    ///
    /// let rules = Rules::of_provider("together").expect("the provider is known");
    /// assert_eq!(rules.limits.max_line_bytes, 10_000_000);
    /// assert_eq!(Rules::of_provider("acme"), None);
    /// ```
    #[must_use]
    pub fn of_provider(name: &str) -> Option<Self> {
        let profiles = crate::profiles::Profiles::embedded();
        profiles.get(name).map(crate::profiles::Profile::rules)
    }
}
