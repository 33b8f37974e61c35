//! `ditto-batch backup`: a copy of a server's data folder, taken while it runs.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use ditto_server::{Backup, Bytes};

use super::serve::DEFAULT_DATA;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::printer::{counted, grouped, say, show};

const MAKE_ROOM: &str =
    "make room where the backup goes, or give another place, and give the command again";

/// Copy the data folder of a server, which may be running
///
/// The copy has every file and batch, and every result that was recorded when it was taken. To
/// restore: stop the original, then `serve --data DEST`.
#[derive(Debug, Clone, Args)]
pub(crate) struct BackupArgs {
    /// Where the copy goes: a folder that is not there yet, or an empty one
    dest: PathBuf,
    /// The server's data folder
    #[arg(long, value_name = "DIR", env = "DITTO_DATA", default_value = DEFAULT_DATA)]
    data: PathBuf,
    /// Copy every byte, also on the same file system, where files would share theirs otherwise
    #[arg(long)]
    copy: bool,
    /// Print what was copied as one JSON object
    #[arg(long)]
    json: bool,
}

/// Makes the backup; what it holds goes to `out` as JSON, or to `err` for people.
pub(crate) fn run(args: &BackupArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match make(args, out, err) {
        Ok(()) => exit::DONE,
        Err(failure) => {
            if args.json {
                failure.report_json(out);
            }
            failure.report(err)
        }
    }
}

fn make(args: &BackupArgs, out: &mut dyn Write, err: &mut dyn Write) -> Result<()> {
    let bytes = match args.copy {
        true => Bytes::Copied,
        false => Bytes::Shared,
    };
    let made = ditto_server::backup(&args.data, &args.dest, bytes).map_err(Failure::from);
    let backup = made.map_err(|failure| match failure.exit {
        exit::LOCAL_IO => failure.hint(MAKE_ROOM),
        _ => failure,
    })?;
    if args.json {
        return show(out, &backup).map_err(|e| Failure::io("cannot write the answer", &e));
    }
    for line in closing_words(args, &backup) {
        say(err, line);
    }
    Ok(())
}

fn closing_words(args: &BackupArgs, backup: &Backup) -> Vec<String> {
    let mut words = vec![format!(
        "backed up {} to {}: {} ({} not ended), {}, {}, {} bytes",
        args.data.display(),
        args.dest.display(),
        counted_of(backup.batches, "batch", "batches"),
        grouped(backup.open_batches),
        counted(backup.files, "file"),
        counted(backup.journal_parts, "journal part"),
        grouped(backup.bytes),
    )];
    if backup.shared_blobs > 0 {
        words.push(format!(
            "{} of {} blobs share their bytes with the original: safe from deletion, not from a damaged disk (copy it to another one, or use --copy)",
            grouped(backup.shared_blobs),
            grouped(backup.blobs)
        ));
    }
    words.push(format!(
        "to restore: STOP the server on {} first, then `ditto-batch serve --data {}`; if both run, both send the open lines, and each is paid twice",
        args.data.display(),
        args.dest.display()
    ));
    words
}

fn counted_of(count: u64, one: &str, many: &str) -> String {
    let noun = if count == 1 { one } else { many };
    format!("{} {noun}", grouped(count))
}
