//! `ditto-batch stats`: what a file of requests or results holds, in figures.

mod figures;

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use self::figures::Figures;
use super::rows::each_row;
use crate::exit;
use crate::failure::{Failure, Result};
use crate::printer::{grouped, show, sized};

/// Count what a JSONL file holds: rows, bytes, models, endpoints, tokens; of results their classes and usage
#[derive(Debug, Clone, Args)]
pub(crate) struct StatsArgs {
    /// JSONL files of requests or of results; `-` is stdin, `.gz` and `.zst` are unpacked
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Print one JSON object a file
    #[arg(long)]
    json: bool,
}

/// Counts: figures go to `out`, all talk to `err`. Gives the exit code.
pub(crate) fn run(args: &StatsArgs, out: &mut dyn Write, err: &mut dyn Write) -> u8 {
    let told = args.files.iter().try_for_each(|path| {
        let figures = count(path)?;
        tell(&figures, args, out).map_err(|e| Failure::io("cannot write the figures", &e))
    });
    match told {
        Ok(()) => exit::DONE,
        Err(failure) => failure.report(err),
    }
}

fn count(path: &Path) -> Result<Figures> {
    let mut figures = Figures::new(path.display().to_string());
    each_row(path, |line| {
        figures.add(line);
        Ok(())
    })?;
    Ok(figures)
}

fn tell(figures: &Figures, args: &StatsArgs, out: &mut dyn Write) -> std::io::Result<()> {
    if args.json {
        return show(out, figures);
    }
    writeln!(out, "{}", figures.file)?;
    for (name, value) in rows_of(figures) {
        writeln!(out, "  {name:<16} {value}")?;
    }
    Ok(())
}

fn rows_of(figures: &Figures) -> Vec<(String, String)> {
    let mut rows = Vec::new();
    let mut row = |name: &str, value: String| rows.push((name.to_owned(), value));
    row("rows", grouped(figures.rows));
    row("bytes", sized(figures.bytes));
    if figures.rows > 0 {
        let (line, bytes) = (figures.longest_line.line, figures.longest_line.bytes);
        row("longest row", format!("{}, line {line}", sized(bytes)));
    }
    for (name, count) in [("requests", figures.requests), ("results", figures.results)] {
        if count > 0 {
            row(name, grouped(count));
        }
    }
    if figures.unreadable > 0 {
        row("unreadable", grouped(figures.unreadable));
    }
    if figures.requests > 0 {
        row(
            "prompt tokens",
            format!("about {}", grouped(figures.estimated_tokens)),
        );
    }
    if figures.results > 0 {
        row("tokens in", grouped(figures.input_tokens));
        row("tokens out", grouped(figures.output_tokens));
    }
    let tables = [
        ("model", &figures.models),
        ("endpoint", &figures.endpoints),
        ("class", &figures.classes),
        ("finish reason", &figures.finish_reasons),
    ];
    for (name, tally) in tables {
        for (value, count) in tally.most_first() {
            rows.push((name.to_owned(), format!("{value}: {}", grouped(count))));
        }
    }
    rows
}
