//! `ditto-batch providers`: what is known of each provider.

use std::fmt::Write as _;
use std::io::{self, Write};

use clap::Args;
use ditto_llm::profiles::{Api, Profile};

use crate::exit;
use crate::failure::{Failure, Result};
use crate::printer::{grouped, show, sized};
use crate::profiles::ProfilesArgs;

/// Show the providers that are known, and what a file for each may hold
///
/// Nothing of it has been tried against a provider unless it says `seen live`: it is what their
/// documents say, and limits differ from account to account. `--profiles FILE` corrects single keys
/// (`[openai]` and below it `max_enqueued_tokens = 2_000_000`) and adds providers.
#[derive(Debug, Clone, Args)]
pub(crate) struct ProvidersArgs {
    /// Only this one, with all that is known of it
    #[arg(value_name = "NAME")]
    name: Option<String>,
    #[command(flatten)]
    profiles: ProfilesArgs,
    /// Print one JSON object a provider
    #[arg(long)]
    json: bool,
}

/// Prints the table. Gives the exit code.
pub(crate) fn run(args: &ProvidersArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match print(args, out) {
        Ok(()) => exit::DONE,
        Err(failure) => failure.report(err),
    }
}

fn print(args: &ProvidersArgs, out: &mut dyn Write) -> Result<()> {
    let chosen: Vec<Profile> = match &args.name {
        Some(name) => vec![args.profiles.named(name)?],
        None => args.profiles.read()?.iter().cloned().collect(),
    };
    let printed = match (args.json, &args.name) {
        (true, _) => chosen.iter().try_for_each(|profile| show(out, profile)),
        (false, Some(_)) => chosen
            .iter()
            .try_for_each(|profile| write!(out, "{}", described(profile))),
        (false, None) => write!(out, "{}", table(&chosen)),
    };
    match printed {
        // Who reads on may have seen enough, as `head` has.
        Err(e) if e.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("cannot write the providers", &e))
        }
        Err(_) | Ok(()) => Ok(()),
    }
}

/// One line a provider.
fn table(profiles: &[Profile]) -> String {
    let mut text = format!(
        "{:<14}{:>11}{:>10}{:>10}  {:<12}{:<12}source\n",
        "name", "lines", "file", "line", "windows", "models",
    );
    for profile in profiles {
        let models = if profile.one_model {
            "one a batch"
        } else {
            "any"
        };
        let _ = writeln!(
            text,
            "{:<14}{:>11}{:>10}{:>10}  {:<12}{:<12}{}",
            profile.name,
            grouped(profile.max_lines),
            sized(profile.max_file_bytes),
            sized(profile.max_line_bytes),
            profile.windows.join(" "),
            models,
            standing(profile),
        );
    }
    text
}

/// How far the profile is to be trusted.
fn standing(profile: &Profile) -> String {
    let seen = match (profile.api, profile.seen_live) {
        (Api::Own, _) => "for `check` only",
        (Api::Openai, true) => "seen live",
        (Api::Openai, false) => "never seen live",
    };
    format!("{seen}; {}", profile.date)
}

/// All that is known of one.
fn described(profile: &Profile) -> String {
    let address = profile
        .base_url
        .as_deref()
        .or(profile.base_url_hint.as_deref());
    let optional = |limit: Option<u64>| limit.map_or_else(|| "not known".to_owned(), grouped);
    let endpoints = match profile.endpoints.is_empty() {
        true => "any".to_owned(),
        false => profile.endpoints.join(" "),
    };
    let yes = |flag| if flag { "yes" } else { "no" };
    let rows = [
        ("title", profile.title.clone()),
        ("standing", standing(profile)),
        ("source", format!("{}, {}", profile.source, profile.date)),
        (
            "note",
            profile.note.clone().unwrap_or_else(|| "-".to_owned()),
        ),
        ("address", address.unwrap_or("-").to_owned()),
        ("key in", profile.key_env.join(" ")),
        (
            "upload",
            format!("{}, purpose {}", profile.upload_path, profile.purpose),
        ),
        ("endpoints", endpoints),
        ("windows", profile.windows.join(" ")),
        ("lines a file", grouped(profile.max_lines)),
        ("bytes a file", grouped(profile.max_file_bytes)),
        ("bytes a line", grouped(profile.max_line_bytes)),
        ("embedding inputs", optional(profile.max_embedding_inputs)),
        ("enqueued tokens", optional(profile.max_enqueued_tokens)),
        ("open batches", optional(profile.max_open_batches)),
        ("one model a batch", yes(profile.one_model).to_owned()),
        ("keeps metadata", yes(profile.metadata).to_owned()),
        ("idempotency key", yes(profile.idempotency).to_owned()),
        ("looked at every", format!("{} s", profile.poll_seconds)),
    ];
    rows.iter()
        .map(|(name, value)| format!("{name:<18} {value}\n"))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn printed(name: Option<&str>, json: bool) -> (u8, String) {
        let args = ProvidersArgs {
            name: name.map(str::to_owned),
            profiles: ProfilesArgs::default(),
            json,
        };
        let (mut out, mut err) = (Vec::new(), Vec::new());
        let code = run(&args, &mut out, &mut err);
        out.extend(err);
        (code, String::from_utf8(out).unwrap())
    }

    #[test]
    fn every_provider_has_a_line_that_says_whether_it_was_seen_live() {
        let (code, text) = printed(None, false);
        assert_eq!(code, exit::DONE);
        let line = |name: &str| {
            let found = text
                .lines()
                .find(|line| line.starts_with(&format!("{name} ")));
            found.unwrap_or_default().to_owned()
        };
        assert!(line("groq").ends_with("never seen live; 2026-08"), "{text}");
        assert!(line("ditto").contains("; seen live") || line("ditto").contains("seen live;"));
        assert!(line("mistral").contains("for `check` only"));
        assert_eq!(text.lines().count(), 25);
    }

    #[test]
    fn one_provider_is_told_whole_and_for_programs_as_data() {
        let (_, text) = printed(Some("together"), false);
        assert!(text.contains("files/upload, purpose batch-api"), "{text}");
        let (_, json) = printed(Some("together"), true);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["max_file_bytes"], 100_000_000);
        assert_eq!(printed(Some("nobody"), false).0, exit::USAGE);
    }
}
