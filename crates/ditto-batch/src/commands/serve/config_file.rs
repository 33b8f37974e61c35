//! The shape of the config file.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ditto_server::{TenantLimits, Window};
use serde::{Deserialize, Deserializer};

use crate::duration;
use crate::failure::{Failure, Result};

/// Everything a config file may say. What it leaves out stays as shipped.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ConfigFile {
    pub(super) listen: Option<SocketAddr>,
    pub(super) data: Option<PathBuf>,
    pub(super) upstream: Vec<UpstreamTable>,
    pub(super) key: Vec<KeyTable>,
    pub(super) tls: Option<TlsTable>,
    pub(super) origins: Vec<String>,
    pub(super) trusted_proxies: Vec<String>,
    pub(super) endpoints: Option<Vec<String>>,
    pub(super) lenient: bool,
    pub(super) mixed_models: Option<bool>,
    #[serde(deserialize_with = "typed_time")]
    pub(super) timeout: Option<Duration>,
    pub(super) windows: BTreeMap<String, WindowEnd>,
    pub(super) limits: LimitsTable,
    /// By name; `*`: everyone.
    pub(super) tenants: BTreeMap<String, TenantTable>,
    pub(super) retention: RetentionTable,
    pub(super) space: SpaceTable,
}

/// `[[upstream]]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct UpstreamTable {
    pub(super) name: Option<String>,
    /// Or `sim`.
    pub(super) url: String,
    pub(super) key_env: Option<String>,
    pub(super) key_file: Option<PathBuf>,
    pub(super) models: Option<Vec<String>>,
    pub(super) tenants: Option<Vec<String>>,
    pub(super) concurrency: Option<usize>,
    pub(super) max_concurrency: Option<usize>,
    /// Its part of the lines of a model that others serve as well.
    pub(super) weight: Option<NonZeroU32>,
    /// Lines that begin alike are sent one behind the other.
    pub(super) prefix_order: Option<bool>,
}

/// `[[key]]`: the key itself stands in the environment.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyTable {
    pub(super) tenant: String,
    pub(super) env: String,
}

/// `[tls]`: PEM files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TlsTable {
    pub(super) cert: PathBuf,
    pub(super) key: PathBuf,
}

/// What the end of a completion window does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub(super) enum WindowEnd {
    #[serde(rename = "expire")]
    Expire,
    #[serde(rename = "keep going")]
    KeepGoing,
}

impl From<WindowEnd> for Window {
    fn from(end: WindowEnd) -> Self {
        match end {
            WindowEnd::Expire => Self::Expire,
            WindowEnd::KeepGoing => Self::KeepGoing,
        }
    }
}

/// `[limits]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LimitsTable {
    pub(super) file_bytes: Option<u64>,
    #[serde(deserialize_with = "typed_time")]
    pub(super) upload_time: Option<Duration>,
    pub(super) lines: Option<u64>,
    pub(super) line_bytes: Option<usize>,
    pub(super) answer_bytes: Option<usize>,
    pub(super) errors: Option<usize>,
    pub(super) memory_bytes: Option<u64>,
}

/// `[tenants.NAME]`, and `[tenants."*"]` for everyone.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct TenantTable {
    stored_bytes: Option<u64>,
    open_batches: Option<u64>,
    enqueued_lines: Option<u64>,
    requests_per_minute: Option<u32>,
    upload_bytes_per_second: Option<u64>,
    open_requests: Option<usize>,
    open_uploads: Option<usize>,
    open_downloads: Option<usize>,
}

impl From<TenantTable> for TenantLimits {
    fn from(table: TenantTable) -> Self {
        Self {
            stored_bytes: table.stored_bytes,
            open_batches: table.open_batches,
            enqueued_lines: table.enqueued_lines,
            requests_per_minute: table.requests_per_minute,
            upload_bytes_per_second: table.upload_bytes_per_second,
            open_requests: table.open_requests,
            open_uploads: table.open_uploads,
            open_downloads: table.open_downloads,
        }
    }
}

/// A time as a flag takes it: `"90s"`.
fn typed_time<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(from)?;
    duration::parse(&text)
        .map(Some)
        .map_err(|wanted| serde::de::Error::custom(format!("`{text}` is not {wanted}")))
}

/// `[retention]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RetentionTable {
    pub(super) batches_days: Option<u32>,
}

/// `[space]`
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct SpaceTable {
    pub(super) free: Option<Bounds>,
}

/// One bound, or several of which the smallest counts.
#[derive(Debug, Clone, Deserialize)]
#[serde(untagged)]
pub(super) enum Bounds {
    One(String),
    Several(Vec<String>),
}

impl ConfigFile {
    /// Reads the file at this path; no path, no settings.
    pub(super) fn read(path: Option<&Path>) -> Result<Self> {
        let Some(path) = path else {
            return Ok(Self::default());
        };
        let text = std::fs::read_to_string(path)
            .map_err(|e| Failure::file("cannot read the config file", path, &e))?;
        Self::parse(&text).map_err(|e| {
            // Without the line itself, which `e` would show: there may be a password in it.
            let line = e.span().map(|span| line_of(&text, span.start));
            let line = line
                .map(|line| format!(", line {line}"))
                .unwrap_or_default();
            let (path, what) = (path.display(), e.message());
            Failure::usage(format!("in the config file {path}{line}: {what}"))
        })
    }

    pub(super) fn parse(text: &str) -> Result<Self, toml::de::Error> {
        toml::from_str(text)
    }
}

fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|b| *b == b'\n').count()
}
