//! What was typed, and what it means: flags and environment before the config file.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ditto_server::{
    Access, CompletionWindow, Concurrency, Config, DEFAULT_RETENTION, Limits, Mode, Network,
    TenantKey, Tenants, TlsFiles, UpstreamConfig, Window,
};

use super::ServeArgs;
use super::config_file::{
    ConfigFile, KeyTable, LimitsTable, RetentionTable, TenantTable, TlsTable, UpstreamTable,
    WindowEnd,
};
use super::floor;
use super::keys::{self, KeyOf};
use super::upstream::{Target, UpstreamFlag};
use crate::duration;
use crate::failure::{Failure, Result};
use crate::key;
use crate::printer::counted;

const DEFAULT_PORT: u16 = 8650;
/// Where a server keeps things unless it is told otherwise.
pub(crate) const DEFAULT_DATA: &str = "ditto-data";

/// What a config file says of a data folder, for a command that has no server.
#[derive(Debug)]
pub(crate) struct Kept {
    /// The folder.
    pub(crate) data: Option<PathBuf>,
    /// How long ended batches are known.
    pub(crate) retention: Duration,
}

impl Kept {
    /// Reads the file at this path; no path, as shipped.
    pub(crate) fn read(config: Option<&Path>) -> Result<Self> {
        let file = ConfigFile::read(config)?;
        Ok(Self {
            retention: retention(&file.retention)?,
            data: file.data,
        })
    }
}

/// A server to be.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(super) listen: SocketAddr,
    pub(crate) config: Config,
    /// Of each upstream, in order; the URL of the simulator is known once it runs.
    pub(crate) targets: Vec<Target>,
}

impl Settings {
    /// Flags and environment (which `args` has read), then the config file, then what is shipped.
    pub(crate) fn read(args: &ServeArgs) -> Result<Self> {
        Self::merge(args, ConfigFile::read(args.config.as_deref())?)
    }

    fn merge(args: &ServeArgs, file: ConfigFile) -> Result<Self> {
        let listen = args.listen.or(file.listen);
        let data = args.data.clone().or(file.data);
        let (targets, upstreams) = upstreams(args, file.upstream)?.into_iter().unzip();
        let mut config = Config::new(
            data.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA)),
            upstreams,
        );
        config.keys = match &args.api_key_file {
            Some(path) => keys::of_clients(path)?,
            None => file
                .key
                .into_iter()
                .map(client_key)
                .collect::<Result<_, _>>()?,
        };
        config.tls = tls(args, file.tls)?;
        config.origins = if args.origin.is_empty() {
            file.origins
        } else {
            args.origin.clone()
        };
        config.trusted_proxies = trusted_proxies(&file.trusted_proxies)?;
        if let Some(endpoints) = file.endpoints {
            config.endpoints = endpoints;
        }
        config.mode = if args.lenient || file.lenient {
            Mode::Lenient
        } else {
            Mode::Strict
        };
        let timeout = args.timeout.or(file.timeout);
        config.sending.timeout = timeout.unwrap_or(config.sending.timeout);
        config.mixed_models = file.mixed_models;
        config.windows = windows(&file.windows)?;
        config.limits = limits(&file.limits);
        config.tenants = tenants(file.tenants);
        config.retention = retention(&file.retention)?;
        config.space = floor::of(file.space.free.as_ref())?;
        Ok(Self {
            listen: listen.unwrap_or_else(|| (Ipv4Addr::LOCALHOST, DEFAULT_PORT).into()),
            config,
            targets,
        })
    }

    /// Where it listens, and what it stands in front of; [`who`] is said behind it.
    pub(super) fn greeting(&self, address: SocketAddr) -> String {
        let scheme = match self.config.tls {
            Some(_) => "https",
            None => "http",
        };
        let mut lines = vec![
            format!("serving {scheme}://{address}/v1 (the client's base URL)"),
            format!("data in {}", self.config.data.display()),
        ];
        for (target, upstream) in self.targets.iter().zip(&self.config.upstreams) {
            let place = match target {
                Target::Sim => "simulated, answers without a model".to_owned(),
                Target::Url(url) => url.clone(),
            };
            let models = upstream.models.as_ref().map(|models| models.join(", "));
            let models = models.unwrap_or_else(|| "every model".to_owned());
            let tenants = upstream.tenants.as_ref();
            let tenants = tenants.map(|tenants| format!("; only for {}", tenants.join(", ")));
            let tenants = tenants.unwrap_or_default();
            lines.push(format!(
                "upstream {}: {place}; {models}{tenants}",
                upstream.name
            ));
        }
        lines.join("\n")
    }
}

/// For whom it listens.
pub(super) fn who(access: Access) -> String {
    match access {
        Access::Open => {
            "without keys: any program on this machine may connect, no other machine and \
                         no web page"
                .to_owned()
        }
        Access::Keys { keys: 0, .. } => "with keys, of which none is taken any more: nobody may \
                                         connect until one is made (`ditto-batch keys create`)"
            .to_owned(),
        Access::Keys { keys, tenants } => {
            let (keys, tenants) = (keys as u64, tenants as u64);
            format!(
                "with {} of {}",
                counted(keys, "key"),
                counted(tenants, "tenant")
            )
        }
    }
}

type Upstream = (Target, UpstreamConfig);

/// Those of the flags, else those of the file.
fn upstreams(args: &ServeArgs, tables: Vec<UpstreamTable>) -> Result<Vec<Upstream>> {
    let upstreams = if args.upstream.is_empty() {
        tables
            .into_iter()
            .map(|table| of_table(args, table))
            .collect::<Result<Vec<_>, _>>()?
    } else {
        of_flags(args)?
    };
    if upstreams.is_empty() {
        return Err(Failure::usage(
            "no upstream: name an OpenAI-compatible endpoint with --upstream \
             http://127.0.0.1:8000/v1, or try things out with --upstream sim",
        ));
    }
    let mut names = BTreeSet::new();
    for (_, upstream) in &upstreams {
        if !names.insert(upstream.name.as_str()) {
            return Err(Failure::usage(format!(
                "two upstreams are called {}: give them names, NAME=URL",
                upstream.name
            )));
        }
    }
    if upstreams
        .iter()
        .filter(|(target, _)| *target == Target::Sim)
        .count()
        > 1
    {
        return Err(Failure::usage(
            "there is one simulated upstream; name it once",
        ));
    }
    Ok(upstreams)
}

fn of_flags(args: &ServeArgs) -> Result<Vec<Upstream>> {
    let mut upstreams: Vec<Upstream> = Vec::new();
    for text in &args.upstream {
        let flag: UpstreamFlag = text
            .parse()
            .map_err(|e| Failure::usage(format!("--upstream: {e}")))?;
        let mut upstream = new_upstream(&flag.name, &flag.target);
        upstream.models = flag.models;
        upstream.concurrency = concurrency(args, (None, None))?;
        upstreams.push((flag.target, upstream));
    }
    for place in &args.upstream_key_env {
        keyless(&mut upstreams, place)?.key = Some(key::from_env(&place.place)?);
    }
    for place in &args.upstream_key_file {
        keyless(&mut upstreams, place)?.key = Some(key::from_file(place.place.as_ref())?);
    }
    Ok(upstreams)
}

/// The upstream that a key is meant for. A key is never sent to two by accident.
fn keyless<'a>(upstreams: &'a mut [Upstream], key: &KeyOf) -> Result<&'a mut UpstreamConfig> {
    let upstream = match (&key.upstream, &mut *upstreams) {
        (None, [(_, only)]) => Some(only),
        (None, _) => {
            return Err(Failure::usage(
                "there are several upstreams: say which one a key is for, NAME=PLACE",
            ));
        }
        (Some(name), all) => all.iter_mut().map(|(_, u)| u).find(|u| u.name == *name),
    };
    let name = key.upstream.as_deref().unwrap_or_default();
    let upstream = upstream
        .ok_or_else(|| Failure::usage(format!("a key is for {name}, which is no upstream")))?;
    if upstream.key.is_some() {
        return Err(Failure::usage(format!(
            "upstream {} is given two keys",
            upstream.name
        )));
    }
    Ok(upstream)
}

fn of_table(args: &ServeArgs, table: UpstreamTable) -> Result<Upstream> {
    let target = Target::parse(&table.url)
        .map_err(|e| Failure::usage(format!("in the config file, [[upstream]] url: {e}")))?;
    let name = table
        .name
        .unwrap_or_else(|| target.default_name().to_owned());
    let mut upstream = new_upstream(&name, &target);
    upstream.models = table.models;
    upstream.tenants = table.tenants;
    upstream.prefix_order = table.prefix_order;
    upstream.weight = table.weight.map_or(upstream.weight, NonZeroU32::get);
    upstream.concurrency = concurrency(args, (table.concurrency, table.max_concurrency))?;
    upstream.key = match (table.key_env, table.key_file) {
        (None, None) => None,
        (Some(variable), None) => Some(key::from_env(&variable)?),
        (None, Some(path)) => Some(key::from_file(&path)?),
        (Some(_), Some(_)) => {
            return Err(Failure::usage(format!("upstream {name} is given two keys")));
        }
    };
    Ok((target, upstream))
}

fn new_upstream(name: &str, target: &Target) -> UpstreamConfig {
    let url = match target {
        Target::Sim => "",
        Target::Url(url) => url,
    };
    UpstreamConfig::new(name, url)
}

/// A flag, whichever of the two, goes before the file.
fn concurrency(args: &ServeArgs, file: (Option<usize>, Option<usize>)) -> Result<Concurrency> {
    let flags = (args.concurrency, args.max_concurrency);
    let concurrency = match if flags == (None, None) { file } else { flags } {
        (None, None) => Concurrency::default(),
        (Some(fixed), None) => Concurrency::Fixed(fixed),
        (None, Some(most)) => Concurrency::UpTo(most),
        (Some(_), Some(_)) => {
            return Err(Failure::usage(
                "concurrency fixes what max_concurrency bounds: give one of them",
            ));
        }
    };
    match concurrency {
        Concurrency::Fixed(0) | Concurrency::UpTo(0) => Err(Failure::usage(
            "concurrency 0 would send nothing: give 1 or more",
        )),
        Concurrency::Fixed(_) | Concurrency::UpTo(_) => Ok(concurrency),
    }
}

fn client_key(table: KeyTable) -> Result<TenantKey> {
    Ok(TenantKey {
        tenant: table.tenant,
        key: key::from_env(&table.env)?,
    })
}

/// 24h, as in the protocol, and the others that are named.
fn windows(said: &BTreeMap<String, WindowEnd>) -> Result<Vec<CompletionWindow>> {
    let mut windows = vec![CompletionWindow::day(None)];
    for (name, end) in said {
        let length = duration::parse(name).map_err(|wanted| {
            Failure::usage(format!(
                "in the config file, [windows]: `{name}` is not {wanted}"
            ))
        })?;
        windows.retain(|window| window.name != *name);
        windows.push(CompletionWindow {
            name: name.clone(),
            length,
            end: Some(Window::from(*end)),
        });
    }
    windows.sort_by_key(|window| window.length);
    Ok(windows)
}

fn limits(table: &LimitsTable) -> Limits {
    let shipped = Limits::default();
    Limits {
        file_bytes: table.file_bytes.unwrap_or(shipped.file_bytes),
        upload_lifetime: table.upload_time.unwrap_or(shipped.upload_lifetime),
        lines: table.lines.unwrap_or(shipped.lines),
        line_bytes: table.line_bytes.unwrap_or(shipped.line_bytes),
        answer_bytes: table.answer_bytes.unwrap_or(shipped.answer_bytes),
        errors: table.errors.unwrap_or(shipped.errors),
        memory_bytes: table.memory_bytes.unwrap_or(shipped.memory_bytes),
    }
}

fn tls(args: &ServeArgs, table: Option<TlsTable>) -> Result<Option<TlsFiles>> {
    match (args.tls_cert.clone(), args.tls_key.clone()) {
        (Some(cert), Some(key)) => Ok(Some(TlsFiles { cert, key })),
        (None, None) => Ok(table.map(|TlsTable { cert, key }| TlsFiles { cert, key })),
        (Some(_), None) | (None, Some(_)) => Err(Failure::usage(
            "TLS needs a certificate and its key: give --tls-cert and --tls-key",
        )),
    }
}

fn trusted_proxies(ranges: &[String]) -> Result<Vec<Network>> {
    let parsed = ranges.iter().map(|range| range.parse());
    parsed
        .collect::<Result<_, String>>()
        .map_err(|wrong| Failure::usage(format!("trusted_proxies: {wrong}")))
}

/// Of everyone, who is called `*` as in `provider_options`, and of those with a name.
fn tenants(mut tables: BTreeMap<String, TenantTable>) -> Tenants {
    let everyone = tables.remove("*").unwrap_or_default();
    let named = tables.into_iter();
    Tenants {
        everyone: everyone.into(),
        named: named.map(|(name, table)| (name, table.into())).collect(),
    }
}

/// How long ended batches are known. Not for less than a day: a repeated create may name one that long.
fn retention(table: &RetentionTable) -> Result<Duration> {
    match table.batches_days {
        None => Ok(DEFAULT_RETENTION),
        Some(0) => Err(Failure::usage(
            "[retention] batches_days is 0: give 1 or more",
        )),
        Some(days) => Ok(Duration::from_secs(u64::from(days) * 24 * 3600)),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use clap::Parser;
    use ditto_server::TenantLimits;
    use ditto_server::model::space::Floor;
    use secrecy::ExposeSecret;

    #[derive(Debug, Parser)]
    struct Typed {
        #[command(flatten)]
        args: ServeArgs,
    }

    fn merged(flags: &[&str], file: &str) -> Result<Settings> {
        let typed = Typed::parse_from(["serve"].iter().chain(flags));
        Settings::merge(&typed.args, ConfigFile::parse(file).unwrap())
    }

    const FILE: &str = r#"
        listen = "127.0.0.1:9000"
        data = "/srv/batches"
        origins = ["https://notes.example"]
        trusted_proxies = ["10.0.0.0/8"]
        tls = { cert = "cert.pem", key = "key.pem" }
        endpoints = ["/v1/rerank"]
        timeout = "90s"

        [[upstream]]
        name = "gpu"
        url = "http://10.0.0.5:8000/v1"
        models = ["a"]
        concurrency = 64

        [windows]
        24h = "expire"

        [limits]
        lines = 7
        upload_time = "30m"

        [tenants."*"]
        stored_bytes = 8
        open_batches = 9

        [tenants.team-a]
        stored_bytes = 10

        [space]
        free = "2 GB"

        [retention]
        batches_days = 30
    "#;

    #[test]
    fn the_file_is_taken_where_no_flag_is_given() {
        let settings = merged(&[], FILE).unwrap();
        assert_eq!(settings.listen.port(), 9000);
        assert_eq!(settings.config.data, PathBuf::from("/srv/batches"));
        assert_eq!(settings.config.endpoints, ["/v1/rerank"]);
        assert_eq!(
            settings.config.trusted_proxies,
            ["10.0.0.0/8".parse().unwrap()]
        );
        assert_eq!(
            settings.config.windows,
            [CompletionWindow::day(Window::Expire)]
        );
        assert_eq!(settings.config.sending.timeout, Duration::from_secs(90));
        assert_eq!(settings.config.limits.lines, 7);
        let half_an_hour = Duration::from_secs(1_800);
        assert_eq!(settings.config.limits.upload_lifetime, half_an_hour);
        assert_eq!(settings.config.limits.errors, Limits::default().errors);
        let (a, b) = (
            settings.config.tenants.of("team-a"),
            settings.config.tenants.of("team-b"),
        );
        assert_eq!((a.stored_bytes, a.open_batches), (Some(10), Some(9)));
        assert_eq!((b.stored_bytes, b.open_batches), (Some(8), Some(9)));
        assert_eq!(settings.config.retention.as_secs(), 30 * 24 * 3600);
        assert_eq!(settings.config.space.of(u64::MAX), 2_000_000_000);
        let [gpu] = settings.config.upstreams.as_slice() else {
            panic!("one upstream")
        };
        assert_eq!(gpu.name, "gpu");
        assert_eq!(gpu.concurrency, Concurrency::Fixed(64));
    }

    #[test]
    fn flags_go_before_the_file() {
        let flags = [
            "--listen",
            "127.0.0.1:1",
            "--upstream",
            "sim",
            "--concurrency",
            "8",
            "--timeout",
            "2m",
            "--lenient",
        ];
        let settings = merged(&flags, FILE).unwrap();
        assert_eq!(settings.listen.port(), 1);
        assert_eq!(settings.targets, [Target::Sim]);
        assert_eq!(
            settings.config.upstreams[0].concurrency,
            Concurrency::Fixed(8)
        );
        assert_eq!(settings.config.mode, Mode::Lenient);
        assert_eq!(settings.config.sending.timeout, Duration::from_secs(120));
    }

    #[test]
    fn without_either_it_is_as_shipped() {
        let settings = merged(&["--upstream", "sim"], "").unwrap();
        assert_eq!(settings.listen, "127.0.0.1:8650".parse().unwrap());
        assert_eq!(settings.config.data, PathBuf::from("ditto-data"));
        assert_eq!(settings.config.windows, [CompletionWindow::day(None)]);
        assert_eq!(settings.config.mode, Mode::Strict);
        assert_eq!(settings.config.sending.timeout, Duration::from_secs(600));
        assert_eq!(settings.config.retention, DEFAULT_RETENTION);
        assert_eq!(settings.config.space, Floor::SHIPPED);
        assert_eq!(settings.config.tenants.everyone, TenantLimits::default());
    }

    #[test]
    fn who_may_connect_is_said_in_one_line() {
        let keys = |keys, tenants| who(Access::Keys { keys, tenants });
        assert!(who(Access::Open).starts_with("without keys: "));
        assert_eq!(keys(3, 1), "with 3 keys of 1 tenant");
        assert!(keys(0, 0).contains("keys create"));
    }

    #[test]
    fn other_windows_are_known_if_they_are_named_and_a_day_always_is() {
        let said = |names: &[&str]| {
            let said = names
                .iter()
                .map(|name| ((*name).to_owned(), WindowEnd::Expire));
            windows(&said.collect())
        };
        let known: Vec<_> = said(&["7d", "1h"])
            .unwrap()
            .into_iter()
            .map(|window| (window.name, window.length.as_secs(), window.end))
            .collect();
        let expected = [
            ("1h", 3_600, Some(Window::Expire)),
            ("24h", 86_400, None),
            ("7d", 604_800, Some(Window::Expire)),
        ];
        assert_eq!(
            known,
            expected.map(|(name, s, end)| (name.to_owned(), s, end))
        );
        assert!(said(&["soon"]).is_err());
    }

    #[test]
    fn a_key_goes_to_the_upstream_it_is_meant_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "sk-upstream\n").unwrap();
        let place = format!("b={}", path.display());
        let two = ["--upstream", "a=http://a/v1", "--upstream", "b=http://b/v1"];
        let flags = [&two[..], &["--upstream-key-file", &place]].concat();
        let settings = merged(&flags, "").unwrap();
        let keys: Vec<_> = settings
            .config
            .upstreams
            .iter()
            .map(|upstream| {
                upstream
                    .key
                    .as_ref()
                    .map(|key| key.expose_secret().to_owned())
            })
            .collect();
        assert_eq!(keys, [None, Some("sk-upstream".to_owned())]);

        let unnamed = [&two[..], &["--upstream-key-file", path.to_str().unwrap()]].concat();
        assert!(
            merged(&unnamed, "")
                .unwrap_err()
                .message
                .contains("several upstreams")
        );
    }

    #[test]
    fn what_cannot_work_is_refused_with_what_to_do() {
        let table: [(&[&str], &str); 6] = [
            (
                &["--upstream", "sim", "--tls-cert", "cert.pem"],
                "--tls-key",
            ),
            (&[], "--upstream sim"),
            (
                &["--upstream", "http://h/v1", "--upstream", "http://h/v2"],
                "NAME=URL",
            ),
            (&["--upstream", "sim", "--concurrency", "0"], "1 or more"),
            (
                &["--upstream", "sim", "--max-concurrency", "0"],
                "1 or more",
            ),
            (
                &[
                    "--upstream",
                    "sim",
                    "--upstream-key-env",
                    "DITTO_NO_SUCH_KEY",
                ],
                "is not set",
            ),
        ];
        for (flags, hint) in table {
            let failure = merged(flags, "").unwrap_err();
            assert!(
                failure.message.contains(hint),
                "{flags:?}: {}",
                failure.message
            );
            assert_eq!(failure.exit, 2);
        }
    }

    #[test]
    fn a_config_file_with_an_unknown_setting_is_refused() {
        assert!(ConfigFile::parse("lissten = \"127.0.0.1:1\"").is_err());
        assert!(ConfigFile::parse("[windows]\n24h = \"sometimes\"").is_err());
        assert!(ConfigFile::parse("timeout = \"soon\"").is_err());
    }
}
