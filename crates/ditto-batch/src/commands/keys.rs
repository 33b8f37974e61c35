//! `ditto-batch keys`: who may use a server, made and ended while it runs.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use ditto_server::{ApiKey, Clock, NewApiKey, SystemClock};
use secrecy::ExposeSecret;
use serde_json::{Value, json};

use super::serve::{DEFAULT_DATA, Kept};
use crate::duration;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::printer::{counted, say, show};

/// What a running server does about a change.
const SOON: &str = "a server on this folder knows it within a second";

/// Make, list, rotate and revoke the API keys of a server, which may be running
///
/// A key is shown once, when it is made; the data folder has only its hash. Once there has been a
/// key, the server asks for one, and never stops asking.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeysArgs {
    #[command(subcommand)]
    command: KeysCommand,
    #[command(flatten)]
    place: Place,
}

#[derive(Debug, Clone, Args)]
struct Place {
    /// Folder of the server [default: ditto-data]
    #[arg(long, global = true, value_name = "DIR", env = "DITTO_DATA")]
    data: Option<PathBuf>,
    /// Settings of the server, for `data`
    #[arg(long, global = true, value_name = "FILE", env = "DITTO_CONFIG")]
    config: Option<PathBuf>,
    /// Print JSON
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Debug, Clone, Subcommand)]
enum KeysCommand {
    /// Make a key and print it, once
    Create {
        /// Whose files and batches it sees
        #[arg(long, value_name = "NAME")]
        tenant: String,
        /// What it is for
        #[arg(long, value_name = "TEXT")]
        label: Option<String>,
    },
    /// List all keys, also those that have ended within a year
    List,
    /// Make a key in the place of another, which is taken until the grace is over
    Rotate {
        /// As listed
        id: String,
        /// How long the old one is still taken, as 90s, 10m or 24h
        #[arg(long, value_name = "TIME", default_value = "24h", value_parser = duration::parse)]
        grace: Duration,
    },
    /// End a key now
    Revoke {
        /// As listed
        id: String,
    },
}

/// Keys and lists go to `out`, all talk to `err`. Gives the exit code.
pub(crate) async fn run(args: &KeysArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match act(args, out, err).await {
        Ok(()) => exit::DONE,
        Err(failure) => {
            if args.place.json {
                failure.report_json(out);
            }
            failure.report(err)
        }
    }
}

async fn act(args: &KeysArgs, out: &mut dyn Write, err: &mut dyn Write) -> Result<()> {
    let kept = Kept::read(args.place.config.as_deref())?;
    let data = args.place.data.clone().or(kept.data);
    let data = &data.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA));
    match &args.command {
        KeysCommand::Create { tenant, label } => {
            let made = ditto_server::create_key(data, tenant, label.as_deref())
                .await
                .map_err(Failure::of_settings)?;
            hand_out(args, &made, out)?;
            let ApiKey { id, tenant, .. } = &made.key;
            say(
                err,
                format_args!("{id} of the tenant {tenant}: shown this once; {SOON}"),
            );
        }
        KeysCommand::List => {
            let keys = ditto_server::list_keys(data).await?;
            list(args, &keys, out)?;
        }
        KeysCommand::Rotate { id, grace } => {
            let (old, new) = ditto_server::rotate_key(data, id, *grace).await?;
            hand_out(args, &new, out)?;
            say(err, rotated(&old, &new.key, *grace));
        }
        KeysCommand::Revoke { id } => {
            let key = ditto_server::revoke_key(data, id).await?;
            if args.place.json {
                show(out, &key).map_err(unwritten)?;
            }
            say(
                err,
                format_args!(
                    "{} of the tenant {} is not taken any more; {SOON}",
                    key.id, key.tenant
                ),
            );
        }
    }
    Ok(())
}

fn rotated(old: &ApiKey, new: &ApiKey, grace: Duration) -> String {
    format!(
        "{} of the tenant {}: shown this once; {} is taken for {} more; {SOON}",
        new.id,
        new.tenant,
        old.id,
        spoken(grace.as_secs()),
    )
}

/// The key itself. If it cannot be written, nobody has it: it is named, to be revoked.
fn hand_out(args: &KeysArgs, made: &NewApiKey, out: &mut dyn Write) -> Result<()> {
    let secret = made.secret.expose_secret();
    let written = if args.place.json {
        let mut object = json!(made.key);
        object["key"] = Value::from(secret);
        show(out, &object)
    } else {
        writeln!(out, "{secret}")
    };
    written.and_then(|()| out.flush()).map_err(|e| {
        let id = &made.key.id;
        unwritten(e).hint(format!(
            "nobody has seen the key: `keys revoke {id}`, and make another"
        ))
    })
}

fn unwritten(error: std::io::Error) -> Failure {
    Failure::io("cannot write to stdout", &error)
}

fn list(args: &KeysArgs, keys: &[ApiKey], out: &mut dyn Write) -> Result<()> {
    if args.place.json {
        return keys
            .iter()
            .try_for_each(|key| show(out, key))
            .map_err(unwritten);
    }
    let now = SystemClock.now_ms() / 1000;
    let width = keys.iter().map(|key| key.tenant.len()).max().unwrap_or(0);
    keys.iter()
        .try_for_each(|key| writeln!(out, "{}", line(key, width, now)))
        .map_err(unwritten)
}

fn line(key: &ApiKey, width: usize, now: i64) -> String {
    let ago = |at: i64| {
        format!(
            "{} ago",
            spoken(now.saturating_sub(at).max(0).unsigned_abs())
        )
    };
    let used = key
        .last_used_at
        .map_or("never used".to_owned(), |at| format!("used {}", ago(at)));
    let state = match key.ends_at {
        None => used,
        Some(at) if key.live => {
            let left = at.saturating_sub(now).max(0).unsigned_abs();
            format!("{used}; ends in {}", spoken(left))
        }
        Some(at) => format!("ended {}", ago(at)),
    };
    let made = ago(key.created_at);
    let label = key.label.as_deref().map(|label| format!("  ({label})"));
    format!(
        "{}  {:width$}  {}…  made {made}, {state}{}",
        key.id,
        key.tenant,
        key.shown,
        label.unwrap_or_default()
    )
}

/// `3 days`, `1 hour`, `59 seconds`: the largest unit that there is one of.
fn spoken(seconds: u64) -> String {
    match seconds {
        0..60 => counted(seconds, "second"),
        60..3600 => counted(seconds / 60, "minute"),
        3600..86400 => counted(seconds / 3600, "hour"),
        _ => counted(seconds / 86400, "day"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;

    fn key() -> ApiKey {
        ApiKey {
            id: "key_1".to_owned(),
            tenant: "a".to_owned(),
            label: None,
            shown: "sk-ditto-ab12".to_owned(),
            live: true,
            created_at: NOW - 3 * 86400,
            last_used_at: None,
            ends_at: None,
        }
    }

    #[test]
    fn a_line_says_whose_a_key_is_and_whether_it_is_taken() {
        let used = ApiKey {
            last_used_at: Some(NOW - 61),
            label: Some("ci".to_owned()),
            ..key()
        };
        let ending = ApiKey {
            ends_at: Some(NOW + 7200),
            ..key()
        };
        let ended = ApiKey {
            live: false,
            ends_at: Some(NOW - 1),
            ..key()
        };
        let table = [
            (key(), "made 3 days ago, never used"),
            (used, "made 3 days ago, used 1 minute ago  (ci)"),
            (ending, "made 3 days ago, never used; ends in 2 hours"),
            (ended, "made 3 days ago, ended 1 second ago"),
        ];
        for (key, said) in table {
            assert_eq!(
                line(&key, 3, NOW),
                format!("key_1  a    sk-ditto-ab12…  {said}")
            );
        }
    }
}
