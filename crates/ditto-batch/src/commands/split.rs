//! `ditto-batch split`: a file in parts, none of which is more than it may be.

mod part;

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use ditto_llm::jsonl::{Content, Line};

use self::part::{Limits, Splitter};
use super::rows::request::Request;
use super::rows::{each_row, refused, too_long};
use crate::exit;
use crate::failure::{Failure, Result};
use crate::printer::{counted, grouped, say, show, sized};
use crate::profiles::ProfilesArgs;

/// Split a JSONL file into parts: by rows, bytes, tokens or models, or as a provider takes them
///
/// Of `X.jsonl` come `X.0001.jsonl`, `X.0002.jsonl` and so on. Rows stay whole, byte for byte and in their
/// order. The parts are named on stdout, and nothing is overwritten.
#[derive(Debug, Clone, Args)]
pub(crate) struct SplitArgs {
    /// JSONL file of requests; `-` is stdin, `.gz` and `.zst` are unpacked
    input: PathBuf,
    /// Rows in a part at most
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    lines: Option<u64>,
    /// Bytes in a part at most, as 200mb
    #[arg(long, value_name = "SIZE", value_parser = crate::size::parse)]
    bytes: Option<u64>,
    /// Prompt tokens in a part at most, about
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    tokens: Option<u64>,
    /// One model in a part
    #[arg(long)]
    by_model: bool,
    /// As this provider takes them
    #[arg(long, value_name = "NAME")]
    provider: Option<String>,
    #[command(flatten)]
    profiles: ProfilesArgs,
    /// The folder of the parts [default: that of the input]
    #[arg(short, long, value_name = "FOLDER")]
    output: Option<PathBuf>,
    /// Print one JSON object a part: path, lines, bytes, tokens, model
    #[arg(long)]
    json: bool,
}

/// Splits the file: the parts are named on `out`, all talk goes to `err`. Gives the exit code.
pub(crate) fn run(args: &SplitArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    match split(args, out) {
        Ok(said) => {
            say(err, said);
            exit::DONE
        }
        Err(failure) => failure.report(err),
    }
}

fn split(args: &SplitArgs, out: &mut dyn Write) -> Result<String> {
    let limits = limits(args)?;
    let mut splitter = Splitter::new(stem(args), limits);
    each_row(&args.input, |line| add(&mut splitter, args, line))?;
    let parts = splitter.finish()?;
    for part in &parts {
        let shown = match args.json {
            true => show(out, part),
            false => writeln!(out, "{}", part.path.display()),
        };
        shown.map_err(|e| Failure::io("cannot name the parts", &e))?;
    }
    let [lines, bytes, tokens] = [
        parts.iter().map(|part| part.lines).sum(),
        parts.iter().map(|part| part.bytes).sum(),
        parts.iter().map(|part| part.tokens).sum(),
    ];
    Ok(format!(
        "{}: {}, {}, about {} tokens",
        counted(parts.len() as u64, "part"),
        counted(lines, "row"),
        sized(bytes),
        grouped(tokens)
    ))
}

fn add(splitter: &mut Splitter, args: &SplitArgs, line: &Line<'_>) -> Result<()> {
    if line.is_blank() {
        return Ok(());
    }
    let Content::Bytes(row) = line.content else {
        return Err(too_long(&args.input, line.number));
    };
    let request = match Request::read(row) {
        Some(request) => request,
        None if splitter.reads_rows() => {
            return Err(refused(&args.input, line.number, "it is no request"));
        }
        None => Request::default(),
    };
    splitter.add(row, &request)
}

fn limits(args: &SplitArgs) -> Result<Limits> {
    let given = Limits {
        lines: args.lines,
        bytes: args.bytes,
        tokens: args.tokens,
        inputs: None,
        one_model: args.by_model,
    };
    let limits = match &args.provider {
        Some(name) => given.within(&args.profiles.named(name)?),
        None => given,
    };
    if limits == Limits::default() {
        return Err(Failure::usage("nothing says how large a part may be")
            .hint("give --lines, --bytes, --tokens, --by-model or --provider"));
    }
    Ok(limits)
}

/// What the parts are called by: the input without its ends, in the folder of the parts.
fn stem(args: &SplitArgs) -> PathBuf {
    let name = super::run::stem(&args.input);
    match &args.output {
        Some(folder) => folder.join(name.file_name().unwrap_or_default()),
        None => name,
    }
}
