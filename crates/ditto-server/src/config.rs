//! What a server is told when it starts.

mod network;
mod tenants;

use std::path::PathBuf;
use std::time::Duration;

use secrecy::{ExposeSecret, SecretString};

use crate::error::{Error, Result};
use crate::model::space::Floor;

pub use self::network::Network;
pub(crate) use self::tenants::check_tenant;
pub use self::tenants::{TenantLimits, Tenants};

/// Everything a server needs to know; the binary makes it from flags, environment and files.
#[derive(Debug, Clone)]
pub struct Config {
    /// The data folder: catalog, blobs and journal. Made with mode 0700.
    pub data: PathBuf,
    /// Where lines are sent. At least one.
    pub upstreams: Vec<UpstreamConfig>,
    /// Who may ask, beside those whose keys are in the catalog. If there is no key in either and never
    /// was: everybody on this machine, and nobody else.
    pub keys: Vec<TenantKey>,
    /// What HTTP is spoken inside of; `None`: plain, as on this machine or behind a proxy.
    pub tls: Option<TlsFiles>,
    /// Values of `Origin` that a browser may send; none by default.
    pub origins: Vec<String>,
    /// Proxies that are believed what they say of who asked them; none by default.
    pub trusted_proxies: Vec<Network>,
    /// The values of `endpoint` that a batch may have.
    pub endpoints: Vec<String>,
    /// What a bad line does to its batch.
    pub mode: Mode,
    /// Whether the lines of a batch may name several models; `None`: they may if bad lines may run too.
    pub mixed_models: Option<bool>,
    /// What a batch may name as its completion window; 24h is always among them.
    pub windows: Vec<CompletionWindow>,
    /// Limits on what comes in.
    pub limits: Limits,
    /// What each tenant may have and do.
    pub tenants: Tenants,
    /// What new files and batches leave free on the disk.
    pub space: Floor,
    /// How lines are sent and tried again.
    pub sending: Sending,
    /// How long a batch that has ended, or a file that is gone, is still known: as an object, and
    /// as the cursor of a list. A batch stays as long as one of its result files in any case.
    pub retention: Duration,
}

impl Config {
    /// A server on this folder in front of these upstreams, everything else as shipped.
    pub fn new(data: impl Into<PathBuf>, upstreams: Vec<UpstreamConfig>) -> Self {
        Self {
            data: data.into(),
            upstreams,
            keys: Vec::new(),
            tls: None,
            origins: Vec::new(),
            trusted_proxies: Vec::new(),
            endpoints: DEFAULT_ENDPOINTS.iter().map(|e| (*e).to_owned()).collect(),
            mode: Mode::Strict,
            mixed_models: None,
            windows: vec![CompletionWindow::day(None)],
            limits: Limits::default(),
            tenants: Tenants::default(),
            space: Floor::SHIPPED,
            sending: Sending::default(),
            retention: DEFAULT_RETENTION,
        }
    }
}

/// Long after results have gone, so that who asks late learns how it ended.
pub const DEFAULT_RETENTION: Duration = Duration::from_secs(90 * 24 * 3600);

/// The endpoints whose bodies are plain JSON in and JSON out.
pub const DEFAULT_ENDPOINTS: &[&str] = &[
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v1/moderations",
];

/// One OpenAI-compatible endpoint.
#[derive(Debug, Clone)]
pub struct UpstreamConfig {
    /// Shown in lanes, logs and errors.
    pub name: String,
    /// With or without `/v1` at the end, and without user name, password, query or fragment.
    pub base_url: String,
    /// Sent as a bearer token; nothing is sent without one.
    pub key: Option<SecretString>,
    /// The models it serves; `None`: every model.
    pub models: Option<Vec<String>>,
    /// Whose lines it is there for; `None`: everybody's. With a key, that is how a tenant has its own.
    pub tenants: Option<Vec<String>>,
    /// Requests in flight at once in each of its lanes.
    pub concurrency: Concurrency,
    /// Its part of the lines of a model that others serve as well, beside their weights.
    pub weight: u32,
    /// Lines that begin alike are sent one behind the other, for an upstream that keeps the beginnings of
    /// prompts; `None`: as soon as its answers tell of cached tokens.
    pub prefix_order: Option<bool>,
}

impl UpstreamConfig {
    /// An upstream that serves every model, without a key.
    pub fn new(name: impl Into<String>, base_url: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            base_url: base_url.into(),
            key: None,
            models: None,
            tenants: None,
            concurrency: Concurrency::default(),
            weight: 1,
            prefix_order: None,
        }
    }
}

impl PartialEq for UpstreamConfig {
    fn eq(&self, other: &Self) -> bool {
        let key = |config: &Self| config.key.as_ref().map(|k| k.expose_secret().to_owned());
        self.name == other.name
            && self.base_url == other.base_url
            && key(self) == key(other)
            && self.models == other.models
            && self.tenants == other.tenants
            && self.concurrency == other.concurrency
            && self.weight == other.weight
            && self.prefix_order == other.prefix_order
    }
}

/// How many requests may be in flight at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Concurrency {
    /// So many.
    Fixed(usize),
    /// As many as the upstream does well with, which is found out; no more than these.
    UpTo(usize),
}

impl Concurrency {
    /// No more than these in any case.
    pub fn most(self) -> usize {
        match self {
            Self::Fixed(most) | Self::UpTo(most) => most.max(1),
        }
    }
}

/// Where the search ends in a lane of which nothing is said: each request in flight is a connection, and
/// a few lanes of so many stay far below the files that a process may have open.
const SHIPPED: usize = 256;

impl Default for Concurrency {
    fn default() -> Self {
        Self::UpTo(SHIPPED)
    }
}

/// An API key and whose it is.
#[derive(Debug, Clone)]
pub struct TenantKey {
    /// Whose files and batches this key sees.
    pub tenant: String,
    /// What the client sends as bearer token.
    pub key: SecretString,
}

impl TenantKey {
    /// Whether this can be one.
    pub(crate) fn check(&self) -> Result<()> {
        check_tenant(&self.tenant)?;
        if self.key.expose_secret().is_empty() {
            return Err(Error::invalid(format!(
                "a key of the tenant {} is empty: every request would have it",
                self.tenant
            )));
        }
        Ok(())
    }
}

/// Where a certificate and its key stand, as PEM.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate, and behind it those that lead to one that clients know.
    pub cert: PathBuf,
    /// Its private key.
    pub key: PathBuf,
}

/// What a bad line does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Any bad line fails the batch, as at OpenAI.
    Strict,
    /// A bad line becomes an error line, the others run.
    Lenient,
}

/// A completion window that batches may name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CompletionWindow {
    /// As a client spells it, for instance `24h`.
    pub name: String,
    /// From the create on.
    pub length: Duration,
    /// What its end does. `None`: it expires where there are keys, since tenants rely on it; on one's own
    /// machine nobody waits for a deadline.
    pub end: Option<Window>,
}

impl CompletionWindow {
    /// The one that OpenAI has.
    pub fn day(end: impl Into<Option<Window>>) -> Self {
        Self {
            name: "24h".to_owned(),
            length: Duration::from_secs(24 * 3600),
            end: end.into(),
        }
    }
}

/// What the end of a completion window does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// Unfinished lines end as `batch_expired`.
    Expire,
    /// The batch runs on until it is done.
    KeepGoing,
}

/// Limits on what comes in. Each is there so that one client cannot take the whole machine.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of one uploaded file.
    pub file_bytes: u64,
    /// How long an upload takes parts.
    pub upload_lifetime: Duration,
    /// Requests in one batch.
    pub lines: u64,
    /// Bytes of one line.
    pub line_bytes: usize,
    /// Bytes of one answer; past it the line ends as `answer_too_large`.
    pub answer_bytes: usize,
    /// Faults named in a failed batch before "and n more".
    pub errors: usize,
    /// Bytes of memory for all that is in hand at once: lines read ahead, answers, ids, uploads.
    /// Past them what arrives goes to disk, or waits.
    pub memory_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            file_bytes: 10_000_000_000,
            // OpenAI's.
            upload_lifetime: Duration::from_secs(3600),
            lines: 10_000_000,
            line_bytes: 16 << 20,
            answer_bytes: 64 << 20,
            errors: 100,
            memory_bytes: 256 << 20,
        }
    }
}

/// How lines are sent and tried again.
#[derive(Debug, Clone, Copy)]
pub struct Sending {
    /// Sendings of one line that count, before its last answer is final.
    pub attempts: u32,
    /// How long one answer may take.
    pub timeout: Duration,
    /// How long a whole lane may be at fault before its lines are charged for it.
    pub patience: Duration,
    /// How long lines in flight may take after a cancel or a stop.
    pub grace: Duration,
}

impl Default for Sending {
    fn default() -> Self {
        Self {
            attempts: 5,
            timeout: Duration::from_secs(600),
            patience: Duration::from_secs(3600),
            grace: Duration::from_secs(25),
        }
    }
}
