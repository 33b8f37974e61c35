//! What a job told of its files when it ended, whichever kind of job it is.

use ditto_llm::jobs;
use serde::Deserialize;

use crate::commands::remote::place::Results;
use crate::commands::run::summary::Summary;
use crate::fingerprint::Fingerprint;

/// Fingerprints and counts.
#[derive(Debug, Clone)]
pub(super) struct Reported {
    pub(super) input: Fingerprint,
    pub(super) output: Fingerprint,
    pub(super) errors: Fingerprint,
    pub(super) total: u64,
    pub(super) answered: u64,
    pub(super) failed: u64,
    pub(super) output_lines: u64,
    pub(super) error_lines: u64,
    /// The job was about so many lines of the input, if not about all.
    pub(super) first_lines: Option<u64>,
}

/// `X.report.json` of a job at a provider, as far as it is held against the files.
#[derive(Deserialize)]
struct AtProvider {
    summary: jobs::Summary,
    plan: Planned,
    output: Fingerprint,
    errors: Fingerprint,
}

#[derive(Deserialize)]
struct Planned {
    input: Fingerprint,
    lines: u64,
    limit: Option<u64>,
}

impl Reported {
    /// As the report of either kind of job has it; none if it is of neither.
    pub(super) fn parse(report: &[u8]) -> Option<Self> {
        if let Ok(summary) = serde_json::from_slice::<Summary>(report) {
            return Some(Self::from(&summary));
        }
        let told: AtProvider = serde_json::from_slice(report).ok()?;
        let plan = told.plan;
        let first_lines = plan.limit.map(|_| plan.lines);
        let counts = &told.summary;
        Some(Self::new(
            plan.input,
            told.output,
            told.errors,
            counts,
            first_lines,
        ))
    }

    /// Of a job at a provider.
    pub(super) fn of(results: &Results, plan: &jobs::Plan) -> Self {
        let input = Fingerprint {
            bytes: plan.input.bytes,
            xxh3: plan.input.xxh3.clone(),
        };
        let (output, errors) = (results.output.clone(), results.errors.clone());
        let first_lines = plan.limit.map(|_| plan.lines);
        Self::new(input, output, errors, &results.summary, first_lines)
    }

    fn new(
        input: Fingerprint,
        output: Fingerprint,
        errors: Fingerprint,
        counts: &jobs::Summary,
        first_lines: Option<u64>,
    ) -> Self {
        Self {
            input,
            output,
            errors,
            total: counts.total,
            answered: counts.answered,
            failed: counts.failed,
            output_lines: counts.answered,
            error_lines: counts.failed,
            first_lines,
        }
    }
}

impl From<&Summary> for Reported {
    fn from(summary: &Summary) -> Self {
        Self {
            input: summary.input.fingerprint(),
            output: summary.output.fingerprint(),
            errors: summary.errors.fingerprint(),
            total: summary.total,
            answered: summary.answered,
            failed: summary.failed,
            output_lines: summary.output.lines,
            error_lines: summary.errors.lines,
            first_lines: None,
        }
    }
}
