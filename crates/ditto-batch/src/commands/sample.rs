//! `ditto-batch sample`: some rows of a file, each as likely as any other.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use clap::Args;
use ditto_llm::jsonl::{Content, Line};
use serde::Serialize;

use super::rows::outlet::Outlet;
use super::rows::{each_row, too_long};
use crate::exit;
use crate::failure::{Failure, Result};
use crate::printer::{counted, say, show};

/// Take some rows of a JSONL file, each as likely as any other, in the order of the file
///
/// The same seed takes the same rows. Memory does not grow with the rows that are read, nor with the length
/// of those that are taken.
#[derive(Debug, Clone, Args)]
pub(crate) struct SampleArgs {
    /// JSONL file; `-` is stdin, `.gz` and `.zst` are unpacked
    input: PathBuf,
    /// How many rows; all of them if there are fewer
    #[arg(short = 'n', long, value_name = "N")]
    lines: u64,
    /// Where chance comes from
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Where the rows go [default: stdout]
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Print what was taken as JSON on stdout
    #[arg(long, requires = "output")]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Taken {
    rows: u64,
    taken: u64,
    seed: u64,
}

/// Takes the sample: rows go to `out`, all talk to `err`. Gives the exit code.
pub(crate) fn run(args: &SampleArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let taken = sample(args, out).and_then(|taken| {
        if args.json {
            show(out, &taken).map_err(|e| Failure::io("cannot write what was taken", &e))?;
        }
        Ok(taken)
    });
    match taken {
        Ok(taken) => {
            let of = counted(taken.rows, "row");
            say(
                err,
                format_args!("{} of {of} taken, seed {}", taken.taken, taken.seed),
            );
            exit::DONE
        }
        Err(failure) => failure.report(err),
    }
}

fn sample(args: &SampleArgs, out: &mut dyn Write) -> Result<Taken> {
    let mut outlet = Outlet::new(args.output.as_deref(), out)?;
    let mut reservoir = Reservoir::new(args.lines, args.seed)?;
    each_row(&args.input, |line| reservoir.offer(line, &args.input))?;
    let taken = Taken {
        rows: reservoir.rows,
        taken: reservoir.kept.len() as u64,
        seed: args.seed,
    };
    reservoir.pour(&mut outlet)?;
    outlet.finish()?;
    Ok(taken)
}

/// The rows that are kept so far: their bytes are in a temporary file, with those that were kept before.
struct Reservoir {
    most: u64,
    chance: fastrand::Rng,
    rows: u64,
    kept: Vec<Kept>,
    spill: BufWriter<File>,
    spilled: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Kept {
    row: u64,
    offset: u64,
    bytes: usize,
}

impl Reservoir {
    fn new(most: u64, seed: u64) -> Result<Self> {
        Ok(Self {
            most,
            chance: fastrand::Rng::with_seed(seed),
            rows: 0,
            kept: Vec::new(),
            spill: BufWriter::new(tempfile::tempfile().map_err(|e| spill_failed(&e))?),
            spilled: 0,
        })
    }

    /// Each row is kept with the same chance, however many there are.
    fn offer(&mut self, line: &Line<'_>, path: &Path) -> Result<()> {
        if line.is_blank() {
            return Ok(());
        }
        let Content::Bytes(bytes) = line.content else {
            return Err(too_long(path, line.number));
        };
        self.rows += 1;
        let place = match self.rows <= self.most {
            true => self.rows - 1,
            false => self.chance.u64(0..self.rows),
        };
        if place >= self.most {
            return Ok(());
        }
        let kept = Kept {
            row: self.rows,
            offset: self.spilled,
            bytes: bytes.len(),
        };
        self.spill.write_all(bytes).map_err(|e| spill_failed(&e))?;
        self.spilled += bytes.len() as u64;
        match self
            .kept
            .get_mut(usize::try_from(place).expect("it is below what is held"))
        {
            Some(other) => *other = kept,
            None => self.kept.push(kept),
        }
        Ok(())
    }

    fn pour(mut self, outlet: &mut Outlet<'_>) -> Result<()> {
        let spill = self
            .spill
            .into_inner()
            .map_err(|e| spill_failed(e.error()))?;
        self.kept.sort_unstable();
        let mut row = Vec::new();
        for kept in self.kept {
            row.resize(kept.bytes, 0);
            spill
                .read_exact_at(&mut row, kept.offset)
                .map_err(|e| spill_failed(&e))?;
            outlet.row(&row)?;
        }
        Ok(())
    }
}

fn spill_failed(error: &std::io::Error) -> Failure {
    Failure::io("cannot keep the rows in a temporary file", error)
        .hint("point TMPDIR to a folder with room for the sample")
}
