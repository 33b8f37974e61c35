//! `ditto-batch doctor`: looks at all that a server leans on, changes nothing, and sends no line.

mod finding;
mod folder;
mod machine;
mod way;

use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use ditto_server::{Clock, SystemClock, UpstreamConfig};
use serde::Serialize;

use self::finding::{Finding, Verdict, exit_of};
use self::way::Asked;
use super::api::ApiArgs;
use super::serve::{KeyOf, Settings, Target, looked_at};
use crate::failure::{Failure, Result};
use crate::key;
use crate::printer::{counted, say, show};

/// Look at space, limits, rights, catalog, clock, and the way to upstreams and server
///
/// Nothing is changed, and no request of a line is sent. Each check is ok, warn or bad, with a
/// sentence and a hint; the exit code is that of the first that is bad. A server is asked only if
/// --base-url names it.
#[derive(Debug, Clone, Args)]
pub(crate) struct DoctorArgs {
    /// The server's data folder [default: ditto-data]
    #[arg(long, value_name = "DIR", env = "DITTO_DATA")]
    data: Option<PathBuf>,
    /// An endpoint to ask for its models, spelt as for `serve`; may be repeated
    // Parsed later: clap would show a wrong one, with the password in it.
    #[arg(long, value_name = "UPSTREAM")]
    upstream: Vec<String>,
    /// Environment variable that holds the upstream's key; NAME=VARIABLE if there are several
    #[arg(long, value_name = "VARIABLE")]
    upstream_key_env: Vec<KeyOf>,
    /// File that holds the upstream's key; NAME=FILE if there are several upstreams
    #[arg(long, value_name = "FILE")]
    upstream_key_file: Vec<KeyOf>,
    /// The config file of `serve`: its data folder and its upstreams
    #[arg(long, value_name = "FILE", env = "DITTO_CONFIG")]
    config: Option<PathBuf>,
    #[command(flatten)]
    server: ApiArgs,
    /// Print the findings as one JSON object
    #[arg(long)]
    json: bool,
}

/// Looks, and tells: findings to `out`, the sum of them to `err`.
pub(crate) async fn run(args: &DoctorArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let findings = match findings(args).await {
        Ok(findings) => findings,
        Err(failure) => return failure.report(err),
    };
    let exit = exit_of(&findings);
    match tell(args, &findings, exit, out) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            return Failure::io("cannot write the findings", &error).report(err);
        }
        // Who reads on may have seen enough.
        Ok(()) | Err(_) => {}
    }
    if !args.json {
        say(err, summary(&findings));
    }
    exit
}

async fn findings(args: &DoctorArgs) -> Result<Vec<Finding>> {
    let settings = settings(args)?;
    let mut findings = folder::look(&settings.data);
    let in_flight: usize = settings
        .upstreams
        .iter()
        // Each model that is named is a lane.
        .map(|(_, u)| u.concurrency.most() * u.models.as_ref().map_or(1, Vec::len).max(1))
        .sum();
    findings.push(machine::open_files(in_flight as u64));
    let now = SystemClock.now_ms() / 1000;
    findings.push(machine::judge_clock(now));
    for (target, upstream) in &settings.upstreams {
        let check = format!("upstream {}", upstream.name);
        match target {
            Target::Sim => findings.push(Finding::ok(&check, "simulated in the process")),
            Target::Url(_) => findings.extend(endpoint(&check, upstream).await?),
        }
    }
    if let Some((url, key)) = args.server.named()? {
        let server = UpstreamConfig {
            key,
            ..UpstreamConfig::new("server", url)
        };
        findings.extend(endpoint("server", &server).await?);
        findings.extend(way::judge_ready(&server.probe("/readyz").await?));
    }
    Ok(findings)
}

/// The way to an endpoint, and its end.
async fn endpoint(check: &str, config: &UpstreamConfig) -> Result<Vec<Finding>> {
    let url = &config.base_url;
    let proxy = way::proxy_of(url, &key::variable);
    let mut findings: Vec<_> = proxy
        .map(|variable| way::judge_proxy(check, url, variable))
        .into_iter()
        .collect();
    let probed = config
        .probe("/v1/models")
        .await
        .map_err(Failure::of_settings)?;
    let asked = Asked {
        check,
        url,
        with_key: config.key.is_some(),
        models: config.models.as_deref().unwrap_or_default(),
    };
    findings.push(way::judge(&asked, &probed));
    let now = SystemClock.now_ms() / 1000;
    findings.extend(way::judge_skew(check, &probed, now));
    Ok(findings)
}

/// What `serve` would be started with.
struct Looked {
    data: PathBuf,
    upstreams: Vec<(Target, UpstreamConfig)>,
}

fn settings(args: &DoctorArgs) -> Result<Looked> {
    let data = || args.data.clone();
    if args.upstream.is_empty() && args.config.is_none() {
        if !(args.upstream_key_env.is_empty() && args.upstream_key_file.is_empty()) {
            return Err(Failure::usage(
                "a key is named, but no upstream: add --upstream URL",
            ));
        }
        return Ok(Looked {
            data: data().unwrap_or_else(|| super::serve::DEFAULT_DATA.into()),
            upstreams: Vec::new(),
        });
    }
    let serve = looked_at(
        data(),
        &args.upstream,
        (&args.upstream_key_env, &args.upstream_key_file),
        args.config.clone(),
    );
    let settings = Settings::read(&serve)?;
    Ok(Looked {
        data: settings.config.data,
        upstreams: settings
            .targets
            .into_iter()
            .zip(settings.config.upstreams)
            .collect(),
    })
}

#[derive(Serialize)]
struct Told<'a> {
    exit: u8,
    checks: &'a [Finding],
}

fn tell(args: &DoctorArgs, findings: &[Finding], exit: u8, out: &mut dyn Write) -> io::Result<()> {
    if args.json {
        let checks = findings;
        return show(out, &Told { exit, checks }).and_then(|()| out.flush());
    }
    let width = findings.iter().map(|f| f.check.len()).max().unwrap_or(0);
    for finding in findings {
        writeln!(out, "{}", finding.lines(width))?;
    }
    out.flush()
}

fn summary(findings: &[Finding]) -> String {
    let count = |verdict| findings.iter().filter(|f| f.verdict == verdict).count() as u64;
    format!(
        "{}: {}, {} bad",
        counted(findings.len() as u64, "check"),
        counted(count(Verdict::Warn), "warning"),
        count(Verdict::Bad)
    )
}
