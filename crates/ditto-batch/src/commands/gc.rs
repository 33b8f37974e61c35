//! `ditto-batch gc`: takes away what may go from a data folder, or says what would.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use ditto_server::{Garbage, Tally, collect_garbage, find_garbage};
use serde_json::{Value, json};

use super::serve::{DEFAULT_DATA, Kept};
use crate::exit;
use crate::failure::{Failure, Result};
use crate::printer::{counted, grouped, say, show, sized};

/// Take away what may go from a data folder whose server is not running
///
/// Files that were deleted or have expired, batches without results, parts of uploads that nobody
/// needs, what crashes left, and objects that the catalog does not know and that are older than a
/// day. A running server does all of this by itself.
#[derive(Debug, Clone, Args)]
pub(crate) struct GcArgs {
    /// Folder of the server [default: ditto-data]
    #[arg(long, value_name = "DIR", env = "DITTO_DATA")]
    data: Option<PathBuf>,
    /// Settings of the server, for `data` and `[retention]`
    #[arg(long, value_name = "FILE", env = "DITTO_CONFIG")]
    config: Option<PathBuf>,
    /// Only say what would go; also beside a running server
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// The report goes to `out`, all talk to `err`. Gives the exit code.
pub(crate) async fn run(args: &GcArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match gc(args, out, err).await {
        Ok(()) => exit::DONE,
        Err(failure) => failure.report(err),
    }
}

async fn gc(args: &GcArgs, out: &mut dyn Write, err: &mut dyn Write) -> Result<()> {
    let kept = Kept::read(args.config.as_deref())?;
    let data = args.data.clone().or(kept.data);
    let data = data.unwrap_or_else(|| PathBuf::from(DEFAULT_DATA));
    let found = if args.dry_run {
        find_garbage(&data, kept.retention).await
    } else {
        collect_garbage(&data, kept.retention).await
    };
    let garbage = found.map_err(in_use)?;
    let printed = if args.json {
        show(out, &object(args, &data, &garbage))
    } else {
        print(args, &data, &garbage, out)
    };
    printed.map_err(|e| Failure::io("cannot write to stdout", &e))?;
    if !args.json && args.dry_run {
        say(err, "nothing was changed");
    }
    Ok(())
}

fn in_use(error: ditto_server::Error) -> Failure {
    let failure = Failure::from(error);
    match failure.exit {
        exit::CONFLICT => {
            failure.hint("a running server sweeps by itself; `--dry-run` looks beside it")
        }
        _ => failure,
    }
}

/// The kinds of bytes, as they are named and explained.
fn kinds(garbage: &Garbage) -> [(&'static str, Tally, &'static str); 5] {
    [
        (
            "files",
            garbage.files,
            "deleted, expired, or never uploaded to the end",
        ),
        ("batches", garbage.batches, "ended, and both results gone"),
        (
            "uploads",
            garbage.uploads,
            "parts that became no file, or that no file needs",
        ),
        ("litter", garbage.litter, "left by crashes"),
        ("unknown", garbage.unknown, "in no row, older than a day"),
    ]
}

fn object(args: &GcArgs, data: &Path, garbage: &Garbage) -> Value {
    let tally = |tally: Tally| json!({"objects": tally.objects, "bytes": tally.bytes});
    let mut object = json!({
        "data": data.display().to_string(),
        "dry_run": args.dry_run,
        "young_unknown": tally(garbage.young),
        "first_unknown": garbage.first_unknown,
        "rows": {
            "creates": garbage.create_rows,
            "files": garbage.file_rows,
            "batches": garbage.batch_rows,
            "uploads": garbage.upload_rows,
        },
    });
    for (kind, found, _) in kinds(garbage) {
        object[kind] = tally(found);
    }
    object
}

fn print(
    args: &GcArgs,
    data: &Path,
    garbage: &Garbage,
    out: &mut dyn Write,
) -> std::io::Result<()> {
    let verb = if args.dry_run { "would go" } else { "gone" };
    writeln!(out, "{verb} from {}:", data.display())?;
    for (kind, tally, why) in kinds(garbage) {
        let objects = grouped(tally.objects);
        let size = sized(tally.bytes);
        writeln!(out, "  {kind:<8} {objects:>9}  {size:>9}  {why}")?;
    }
    let rows = garbage.create_rows + garbage.file_rows + garbage.batch_rows + garbage.upload_rows;
    writeln!(
        out,
        "  {:<8} {:>9}  {:>9}  known for long enough",
        "rows",
        grouped(rows),
        ""
    )?;
    if garbage.young.objects > 0 {
        let young = counted(garbage.young.objects, "object");
        writeln!(out, "{young} in no row and younger than a day: kept")?;
    }
    for name in &garbage.first_unknown {
        writeln!(out, "  unknown: {name}")?;
    }
    Ok(())
}
