//! One provider's profile.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use toml::Table;

use crate::check::{Fill, Limits, Rules};
use crate::paging::Paging;
use crate::wire::BatchStatus;

/// What one provider takes and how it spells it. The defaults are OpenAI's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[non_exhaustive]
pub struct Profile {
    /// What it is called on a command line.
    pub name: String,
    /// What it is called by people.
    pub title: String,
    /// Whether its batches are OpenAI's files and batches; others can be checked for only.
    pub api: Api,
    /// Where it lives; none if that differs from user to user.
    pub base_url: Option<String>,
    /// What to give as its address, where that differs.
    pub base_url_hint: Option<String>,
    /// Environment variables that may hold the key, first wins.
    pub key_env: Vec<String>,
    /// The header that carries the key by itself; `authorization` carries it as a bearer.
    pub key_header: String,
    /// Further headers of each call. They are shown and kept as they are: none may hold a key.
    pub headers: BTreeMap<String, String>,
    /// Where files are uploaded, below the base URL.
    pub upload_path: String,
    /// The purpose of an input file.
    pub purpose: String,
    /// Values for `endpoint` and `url`; if none are named, any.
    pub endpoints: Vec<String>,
    /// What stands in the place of `/v1` in `endpoint` and `url`.
    pub version_prefix: String,
    /// Completion windows, the usual one first.
    pub windows: Vec<String>,
    /// Requests in a file.
    pub max_lines: u64,
    /// Bytes of a file.
    pub max_file_bytes: u64,
    /// Bytes of a line.
    pub max_line_bytes: u64,
    /// Inputs over all lines of an embeddings file.
    pub max_embedding_inputs: Option<u64>,
    /// Prompt tokens in all batches that have not ended, for each model.
    pub max_enqueued_tokens: Option<u64>,
    /// Batches that have not ended.
    pub max_open_batches: Option<u64>,
    /// Batches created within an hour.
    pub max_creates_an_hour: Option<u64>,
    /// Whether all lines of a file must name one model.
    pub one_model: bool,
    /// What a `custom_id` may be.
    pub custom_ids: CustomIds,
    /// Whether a batch keeps the `metadata` it was created with.
    pub metadata: bool,
    /// Whether a repeated create with the same `Idempotency-Key` gives the same batch.
    pub idempotency: bool,
    /// Whether batches can be listed.
    pub lists: bool,
    /// Whether a list of two looks, `appears_seconds` apart, has each batch that exists: what is not
    /// in it was then never created.
    pub lists_new_at_once: bool,
    /// How the next page of a list is asked for.
    pub paging: Paging,
    /// Status words of its own, in small letters, with what they mean.
    pub statuses: BTreeMap<String, String>,
    /// Seconds between two looks at a batch, at least.
    pub poll_seconds: u64,
    /// Seconds that a call may take whose answer is JSON, uploads excepted.
    pub call_seconds: u64,
    /// Seconds before a call that failed in passing is tried again; twice as many each further time.
    pub retry_seconds: u64,
    /// Seconds before a provider that was full is asked again, if no batch ends before.
    pub full_seconds: u64,
    /// Seconds within which a batch that was created can be looked at and is in each list.
    pub appears_seconds: u64,
    /// Seconds after the end of a batch within which its files are there and agree with its counts.
    pub grace_seconds: u64,
    /// Whether a batch ends when its window does.
    pub expires: bool,
    /// Seconds after the end of its window within which it does; then it is cancelled, and after as many
    /// more given up.
    pub overdue_seconds: u64,
    /// Whether the input file is still there after its batch.
    pub keeps_input: bool,
    /// Whether anybody of this project has seen it work.
    pub seen_live: bool,
    /// What this was learned from.
    pub source: String,
    /// When that was written.
    pub date: String,
    /// What else a user should know.
    pub note: Option<String>,
}

/// The shape of a provider's batch API.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Api {
    /// OpenAI's files and batches.
    #[default]
    Openai,
    /// Another one, which this crate does not speak.
    Own,
}

/// What a `custom_id` may be. Others are replaced on the way out and restored on the way back.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CustomIds {
    /// Any text of up to 512 bytes.
    #[default]
    Any,
    /// Up to 64 letters, digits, `-` and `_`.
    Portable,
}

/// Of every wait that a profile names: guards against slips.
const MAX_SECONDS: u64 = 7 * 86_400;

impl Default for Profile {
    fn default() -> Self {
        let limits = Limits::openai();
        Self {
            name: String::new(),
            title: String::new(),
            api: Api::Openai,
            base_url: None,
            base_url_hint: None,
            key_env: Vec::new(),
            key_header: "authorization".to_owned(),
            headers: BTreeMap::new(),
            upload_path: "files".to_owned(),
            purpose: "batch".to_owned(),
            endpoints: Vec::new(),
            version_prefix: "/v1".to_owned(),
            windows: vec!["24h".to_owned()],
            max_lines: limits.max_lines,
            max_file_bytes: limits.max_file_bytes,
            // None is documented; longer ones are worth asking about before they are paid for.
            max_line_bytes: 16_000_000,
            max_embedding_inputs: None,
            max_enqueued_tokens: None,
            max_open_batches: None,
            max_creates_an_hour: None,
            one_model: true,
            custom_ids: CustomIds::Any,
            metadata: true,
            idempotency: false,
            lists: true,
            lists_new_at_once: true,
            paging: Paging::After,
            statuses: BTreeMap::new(),
            poll_seconds: 15,
            call_seconds: 60,
            retry_seconds: 5,
            full_seconds: 300,
            appears_seconds: 60,
            grace_seconds: 300,
            expires: true,
            overdue_seconds: 7_200,
            keeps_input: true,
            seen_live: false,
            source: String::new(),
            date: String::new(),
            note: None,
        }
    }
}

impl Profile {
    pub(super) fn read(name: &str, table: Table) -> Result<Self, String> {
        let profile: Self = table.try_into().map_err(|e: toml::de::Error| {
            // The place is one in our own table by now, not in what the user wrote.
            e.message().to_owned()
        })?;
        profile.refuse_impossible()?;
        Ok(Self {
            name: name.to_owned(),
            ..profile
        })
    }

    fn refuse_impossible(&self) -> Result<(), String> {
        let least_one = [
            ("max_lines", self.max_lines),
            ("max_file_bytes", self.max_file_bytes),
            ("max_line_bytes", self.max_line_bytes),
            (
                "max_embedding_inputs",
                self.max_embedding_inputs.unwrap_or(1),
            ),
            ("max_enqueued_tokens", self.max_enqueued_tokens.unwrap_or(1)),
            ("max_open_batches", self.max_open_batches.unwrap_or(1)),
            ("max_creates_an_hour", self.max_creates_an_hour.unwrap_or(1)),
            ("poll_seconds", self.poll_seconds),
            ("call_seconds", self.call_seconds),
            ("retry_seconds", self.retry_seconds),
            ("full_seconds", self.full_seconds),
            ("appears_seconds", self.appears_seconds),
            ("grace_seconds", self.grace_seconds),
            ("overdue_seconds", self.overdue_seconds),
        ];
        if let Some((key, _)) = least_one.iter().find(|(_, value)| *value == 0) {
            return Err(format!("`{key}` is 0"));
        }
        let is_long =
            |(key, value): &&(&str, u64)| key.ends_with("_seconds") && *value > MAX_SECONDS;
        if let Some((key, _)) = least_one.iter().find(is_long) {
            return Err(format!("`{key}` is more than a week"));
        }
        if let Some(name) = self.headers.keys().find(|name| holds_a_key(name)) {
            return Err(format!(
                "`headers` has `{name}`, which holds a key and would be kept in each job's folder; `key_header` \
                 names the header that the key goes into"
            ));
        }
        if self.windows.is_empty() {
            return Err("`windows` is empty".to_owned());
        }
        let is_http = |url: &String| url.starts_with("http://") || url.starts_with("https://");
        if self.base_url.as_ref().is_some_and(|url| !is_http(url)) {
            return Err("`base_url` is no http address".to_owned());
        }
        Ok(())
    }

    /// What a file for this provider is held against.
    #[must_use]
    pub fn rules(&self) -> Rules {
        Rules {
            endpoint: None,
            one_model: self.one_model,
            models: None,
            limits: Limits {
                max_lines: self.max_lines,
                max_file_bytes: self.max_file_bytes,
                max_line_bytes: self.max_line_bytes,
                max_embedding_inputs: self.max_embedding_inputs,
            },
            fill: Fill::default(),
        }
    }

    /// `endpoint` as this provider spells it: `/v1/chat/completions` is `/v4/chat/completions` at
    /// Zhipu.
    #[must_use]
    pub fn spelled(&self, endpoint: &str) -> String {
        match endpoint.strip_prefix("/v1/") {
            Some(rest) => format!("{}/{rest}", self.version_prefix),
            None => endpoint.to_owned(),
        }
    }

    /// What a status of this provider means.
    #[must_use]
    pub fn status(&self, status: &BatchStatus) -> BatchStatus {
        match status {
            BatchStatus::Other(word) => match self.statuses.get(&word.to_lowercase()) {
                Some(meant) => BatchStatus::from(meant.as_str()),
                None => status.clone(),
            },
            known => known.clone(),
        }
    }

    /// Whether this id may go to the provider as it is.
    #[must_use]
    pub fn takes_custom_id(&self, id: &str) -> bool {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_');
        match self.custom_ids {
            CustomIds::Any => !id.is_empty() && id.len() <= 512,
            CustomIds::Portable => !id.is_empty() && id.len() <= 64 && id.bytes().all(plain),
        }
    }

    /// The time between two looks at a batch, at least.
    #[must_use]
    pub fn poll_interval(&self) -> Duration {
        Duration::from_secs(self.poll_seconds)
    }
}

/// By its name.
fn holds_a_key(header: &str) -> bool {
    let header = header.to_lowercase();
    let words = ["auth", "cookie", "key", "password", "secret", "token"];
    words.iter().any(|word| header.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profiles::Profiles;

    #[test]
    fn endpoints_and_statuses_are_told_as_the_provider_spells_them() {
        let profiles = Profiles::embedded();
        let zhipu = profiles.get("zhipu").unwrap();
        assert_eq!(zhipu.spelled("/v1/embeddings"), "/v4/embeddings");
        assert_eq!(zhipu.spelled("/v4/embeddings"), "/v4/embeddings");
        let status =
            |name, word: &str| profiles.get(name).unwrap().status(&BatchStatus::from(word));
        assert_eq!(status("novita", "PROGRESS"), BatchStatus::InProgress);
        assert_eq!(status("siliconflow", "in_queue"), BatchStatus::Validating);
        assert_eq!(status("openai", "in_queue").to_string(), "in_queue");
    }

    #[test]
    fn an_id_goes_out_as_it_is_only_where_its_letters_are_taken() {
        let any = Profile::default();
        let portable = Profile {
            custom_ids: CustomIds::Portable,
            ..Profile::default()
        };
        let long = "x".repeat(65);
        for (id, expected) in [
            ("a-1_B", [true, true]),
            ("a/1", [true, false]),
            ("", [false; 2]),
        ] {
            let taken = [any.takes_custom_id(id), portable.takes_custom_id(id)];
            assert_eq!(taken, expected, "{id}");
        }
        assert!(any.takes_custom_id(&long) && !portable.takes_custom_id(&long));
        assert!(!any.takes_custom_id(&"x".repeat(513)));
    }

    #[test]
    fn a_header_that_holds_a_key_is_refused() {
        for (name, taken) in [
            ("Ditto-Extensions", true),
            ("OpenAI-Organization", true),
            ("X-Api-Key", false),
            ("Authorization", false),
            ("cf-aig-token", false),
        ] {
            let headers = Table::from_iter([(name.to_owned(), "x".into())]);
            let table = Table::from_iter([("headers".to_owned(), headers.into())]);
            assert_eq!(Profile::read("p", table).is_ok(), taken, "{name}");
        }
    }

    /// The client of OpenAI has its own address and variable, to be there without this table.
    #[cfg(feature = "openai")]
    #[test]
    fn the_profile_of_openai_is_that_of_its_client() {
        let client = crate::OpenAI::new("k");
        let profiles = Profiles::embedded();
        let profile = profiles.get("openai").unwrap();
        let (url, var) = (profile.base_url.as_deref().unwrap(), &profile.key_env[0]);
        assert!(format!("{client:?}").contains(url));
        assert!(crate::OpenAI::from_env_with(|name| (name == var).then(|| "k".into())).is_ok());
    }
}
