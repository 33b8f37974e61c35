//! `ditto-batch verify`: proves that no request was lost and none answered twice.

mod batch;
mod claim;
mod finding;
mod job;
mod report;
mod source;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use self::finding::Finding;
use self::source::{Source, Sources};
use super::api::ApiArgs;
use crate::exit;
use crate::failure::{Failure, Result};

/// Prove that every request has exactly one result.
///
/// Give the files of a batch, or the folder X.ditto or the input X.jsonl of a job of `run`, or the id
/// of a batch of a server. Exit 0: it is proven. Exit 9: it is not, and the first ten offences are named.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct VerifyArgs {
    /// The requests, or a job's folder, or the id of a batch. One of the files may be `-`, and
    /// `.gz` and `.zst` are unpacked
    #[arg(value_name = "INPUT|FOLDER|BATCH")]
    pub(crate) subject: PathBuf,

    /// The answers
    pub(crate) output: Option<PathBuf>,

    /// What could not be answered
    pub(crate) errors: Option<PathBuf>,

    /// Hold the files against the report of the job that wrote them, X.report.json
    #[arg(long, value_name = "FILE", requires = "output")]
    pub(crate) report: Option<PathBuf>,

    /// Print the finding as one JSON object
    #[arg(long)]
    pub(crate) json: bool,

    #[command(flatten)]
    pub(crate) api: ApiArgs,
}

/// Verifies the files: the verdict goes to `out`, all talk to `err`. Gives the exit code.
pub(crate) fn run(args: &VerifyArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let found = prove(args, err).and_then(|finding| print(args, &finding, out).map(|()| finding));
    match found {
        Ok(finding) => finding.exit(),
        Err(failure) => {
            if args.json {
                failure.report_json(out);
            }
            failure.report(err)
        }
    }
}

fn prove(args: &VerifyArgs, err: &mut dyn Write) -> Result<Finding> {
    let subject = &args.subject;
    if let Some(output) = &args.output {
        return files(args, output);
    }
    if subject.is_dir() {
        return job::prove(subject);
    }
    if let Some(folder) = job::folder_of(subject) {
        return job::prove_of_input(&folder, subject);
    }
    if !subject.exists()
        && let Some(id) = batch_id(args)
    {
        return batch::prove(&args.api, id, err);
    }
    Err(no_subject(subject))
}

/// What is no path here and looks like an id, or is asked for at a server.
fn batch_id(args: &VerifyArgs) -> Option<&str> {
    let id = args.subject.to_str()?;
    let is_id = id.starts_with("batch_") || args.api.names_a_server();
    (is_id && !id.contains('/')).then_some(id)
}

fn no_subject(subject: &Path) -> Failure {
    if subject.exists() || subject == Path::new("-") {
        return Failure::usage(format!(
            "{} alone proves nothing: where are its results?",
            subject.display()
        ))
        .hint("ditto-batch verify INPUT OUTPUT ERRORS, or the folder X.ditto that `run` made beside it");
    }
    Failure::new(
        exit::NOT_FOUND,
        format!("there is no folder {}", subject.display()),
    )
    .hint("give the folder X.ditto of a job, or INPUT OUTPUT ERRORS, or the id of a batch with --base-url")
}

fn files(args: &VerifyArgs, output: &Path) -> Result<Finding> {
    let paths = [
        Some(args.subject.as_path()),
        Some(output),
        args.errors.as_deref(),
    ];
    let stdin = |path: &&Path| *path == Path::new("-");
    if paths.into_iter().flatten().filter(stdin).count() > 1 {
        return Err(
            Failure::usage("only one of the files can be stdin").hint("give the others by name")
        );
    }
    let sources = Sources {
        input: Source::open(&args.subject)?,
        output: Source::open(output)?,
        errors: args.errors.as_deref().map(Source::open).transpose()?,
    };
    if let Some(report) = &args.report {
        return job::prove_reported(sources, report);
    }
    Ok(Finding {
        report: sources.prove()?.report,
        differences: Vec::new(),
        also: None,
    })
}

fn print(args: &VerifyArgs, finding: &Finding, out: &mut dyn Write) -> Result<()> {
    let written = if args.json {
        finding.write_json(out)
    } else {
        finding.write_text(out)
    };
    match written.and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(Failure::io("cannot write the report", &error))
        }
        // Who reads on may have seen enough.
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests;
