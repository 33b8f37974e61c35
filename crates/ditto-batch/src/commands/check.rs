//! `ditto-batch check`: every fault of an input file, before a token is spent.

pub(crate) mod input;

use std::{
    collections::HashSet,
    io::{self, BufWriter, Read, Write},
    path::PathBuf,
};

use ditto_llm::{
    check::{BareIds, Checker, Fault, FaultCode, Fill, Limits, Rules, Summary},
    ids::IdSet,
    jsonl::LineSplitter,
};

use self::input::open;
use crate::{
    exit,
    failure::{Failure, Result},
    printer::{counted, say, show},
    profiles::ProfilesArgs,
};

/// The most faults that are printed for people: what one reads before mending the file and
/// checking again. `--json` prints all.
const MAX_PRINTED: u64 = 100;

const READ_BUFFER: usize = 1 << 20;

/// Name every fault of an input file, with what to do about it
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct CheckArgs {
    /// JSONL file of requests; `-` is stdin, `.gz` and `.zst` are unpacked
    pub(crate) input: PathBuf,

    /// Hold the file against what this provider takes as one upload
    #[arg(long, value_name = "NAME")]
    pub(crate) provider: Option<String>,

    #[command(flatten)]
    pub(crate) profiles: ProfilesArgs,

    /// What every `url` must be; lines without one get it
    #[arg(long, value_name = "PATH")]
    pub(crate) endpoint: Option<String>,

    /// Model for bodies that name none
    #[arg(long, value_name = "NAME")]
    pub(crate) model: Option<String>,

    /// Allow more than one model in the file
    #[arg(long)]
    pub(crate) lenient_models: bool,

    /// Print one JSON object a fault: line, code, param, message
    #[arg(long)]
    pub(crate) json: bool,
}

/// Checks the file: faults go to `out`, all talk to `err`. Gives the exit code.
pub(crate) fn run(args: &CheckArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match check(args, out) {
        Ok(verdict) => verdict.report(args, err),
        Err(failure) => failure.report(err),
    }
}

/// What is said of a file that could be read.
struct Verdict {
    holds: String,
    faults: u64,
}

impl Verdict {
    fn report(&self, args: &CheckArgs, err: &mut dyn Write) -> u8 {
        let faults = if self.faults == 0 {
            "no faults".into()
        } else {
            counted(self.faults, "fault")
        };
        let input = args.input.display();
        say(err, format_args!("{input}: {}: {faults}", self.holds));
        if self.faults == 0 {
            exit::DONE
        } else {
            exit::REFUSED
        }
    }
}

fn check(args: &CheckArgs, out: &mut dyn Write) -> Result<Verdict> {
    let rules = rules(args)?;
    let mut input = open(&args.input)?;
    let mut printer = FaultPrinter::new(out, args.json);
    let summary = read(&mut *input, rules, &mut printer).map_err(|error| match error {
        ReadError::Input(error) => Failure::input(&args.input, &error),
        ReadError::Ids(error) => ids_failed(&error),
    })?;
    let holds = describe(&summary);
    for late in summary.late_duplicates {
        let (line, first_line) = late.map_err(|error| ids_failed(&error))?;
        printer.print(&Fault::late_duplicate(line, first_line));
    }
    let faults = printer.finish()?;
    Ok(Verdict { holds, faults })
}

fn rules(args: &CheckArgs) -> Result<Rules> {
    let known = match &args.provider {
        Some(name) => args.profiles.named(name)?.rules(),
        None => Rules {
            endpoint: None,
            one_model: true,
            models: None,
            limits: Limits::server(),
            // `run` takes lines that are only a body; a provider does not.
            fill: Fill {
                bare: Some(BareIds::default()),
                ..Fill::default()
            },
        },
    };
    Ok(Rules {
        endpoint: args.endpoint.clone(),
        one_model: known.one_model && !args.lenient_models,
        models: None,
        fill: Fill {
            model: args.model.clone(),
            endpoint: args.endpoint.clone(),
            ..known.fill
        },
        ..known
    })
}

fn ids_failed(error: &io::Error) -> Failure {
    let failure = Failure::io("cannot keep the custom_ids in a temporary file", error);
    // A folder for temporary files that is not there is no missing input.
    Failure {
        exit: exit::LOCAL_IO,
        ..failure.hint("point TMPDIR to a folder with 24 bytes of room a line")
    }
}

enum ReadError {
    Input(io::Error),
    Ids(io::Error),
}

/// Reads the input once, in large pieces, and prints faults as they are found.
fn read(
    input: &mut dyn Read,
    rules: Rules,
    printer: &mut FaultPrinter<'_>,
) -> Result<Summary, ReadError> {
    let max_line = usize::try_from(rules.limits.max_line_bytes).unwrap_or(usize::MAX);
    let mut splitter = LineSplitter::new(max_line);
    let ids = IdSet::new(std::env::temp_dir(), IdSet::DEFAULT_IN_MEMORY);
    let mut checker = Checker::new(rules, ids);
    let mut faults = Vec::new();
    let mut buffer = vec![0; READ_BUFFER];
    loop {
        let length = match input.read(&mut buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(ReadError::Input(error)),
        };
        let on_line = |line: ditto_llm::jsonl::Line<'_>| {
            checker.line(&line, &mut faults)?;
            faults.drain(..).for_each(|fault| printer.print(&fault));
            Ok(())
        };
        if length == 0 {
            splitter.finish(on_line).map_err(ReadError::Ids)?;
            break;
        }
        splitter
            .feed(&buffer[..length], on_line)
            .map_err(ReadError::Ids)?;
    }
    let summary = checker.finish(&mut faults).map_err(ReadError::Ids)?;
    faults.iter().for_each(|fault| printer.print(fault));
    Ok(summary)
}

/// What the file holds, as far as one would want to see it confirmed.
fn describe(summary: &Summary) -> String {
    let mut text = counted(summary.requests, "request");
    if let Some(endpoint) = &summary.endpoint {
        text += &format!(" for {endpoint}");
    }
    match (&summary.model, summary.models) {
        (Some(model), 1) => text += &format!(", model {model}"),
        (Some(_), models) => text += &format!(", {}", counted(models.into(), "model")),
        (None, _) => {}
    }
    if summary.bare_lines > 0 {
        let bare = counted(summary.bare_lines, "bare body").replace("bodys", "bodies");
        text += &format!(", {bare} named line-<n>{}", summary.bare_suffix);
    }
    text
}

/// Prints faults as they come: for people up to a number and each remedy once, for programs all.
struct FaultPrinter<'a> {
    out: BufWriter<&'a mut dyn Write>,
    json: bool,
    count: u64,
    hinted: HashSet<FaultCode>,
    /// The first failure to write. Counting goes on: the verdict is wanted even so.
    failed: Option<io::Error>,
}

impl<'a> FaultPrinter<'a> {
    fn new(out: &'a mut dyn Write, json: bool) -> Self {
        Self {
            out: BufWriter::new(out),
            json,
            count: 0,
            hinted: HashSet::new(),
            failed: None,
        }
    }

    fn print(&mut self, fault: &Fault) {
        self.count += 1;
        if self.failed.is_some() || (!self.json && self.count > MAX_PRINTED) {
            return;
        }
        let written = if self.json {
            show(&mut self.out, fault)
        } else {
            self.write_text(fault)
        };
        self.failed = written.err();
    }

    fn write_text(&mut self, fault: &Fault) -> io::Result<()> {
        let code = fault.code.as_str();
        match fault.line {
            Some(line) => writeln!(self.out, "line {line}: {code}: {}", fault.message)?,
            None => writeln!(self.out, "file: {code}: {}", fault.message)?,
        }
        match fault.remedy() {
            Some(remedy) if self.hinted.insert(fault.code) => {
                writeln!(self.out, "  hint: {remedy}")
            }
            Some(_) | None => Ok(()),
        }
    }

    /// The number of faults, once all that was to be printed is.
    fn finish(mut self) -> Result<u64> {
        if !self.json && self.count > MAX_PRINTED && self.failed.is_none() {
            let more = self.count - MAX_PRINTED;
            self.failed = writeln!(self.out, "and {more} more; --json prints all").err();
        }
        let failed = self.failed.or_else(|| self.out.flush().err());
        match failed {
            // Who reads on may have seen enough, as `head` has.
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::io("cannot write the faults", &error))
            }
            Some(_) | None => Ok(self.count),
        }
    }
}

#[cfg(test)]
mod tests;
