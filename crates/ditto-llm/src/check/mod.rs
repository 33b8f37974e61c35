//! The rules of a batch input file, as codes; used by client and server alike.
//!
//! A [`Checker`] takes the lines of one file in order and says what is wrong with each, in the
//! protocol's codes and words. [`parse_request`] then reads a good line again, cheaply.
//!
//! ```
//! use ditto_llm::{
//!     check::{Checker, FaultCode, Fill, Limits, Rules},
//!     ids::IdSet,
//!     jsonl::LineSplitter,
//! };
//!
//! let file = concat!(
//!     r#"{"custom_id":"a","method":"POST","url":"/v1/embeddings","#,
//!     r#""body":{"model":"m","input":"one"}}"#, "\n",
//!     r#"{"custom_id":"a","method":"POST","url":"/v1/embeddings","#,
//!     r#""body":{"model":"m","input":"two"}}"#, "\n",
//! );
//! let rules =
//!     Rules { endpoint: None, one_model: true, models: None, limits: Limits::openai(), fill: Fill::default() };
//! let mut checker = Checker::new(rules, IdSet::new(std::env::temp_dir(), 1 << 20));
//! let mut splitter = LineSplitter::new(1 << 20);
//! let mut faults = Vec::new();
//! splitter.feed(file.as_bytes(), |line| checker.line(&line, &mut faults).map(drop))?;
//! splitter.finish(|line| checker.line(&line, &mut faults).map(drop))?;
//! let summary = checker.finish(&mut faults)?;
//!
//! assert_eq!(summary.requests, 2);
//! assert_eq!(faults[0].code, FaultCode::DuplicateCustomId);
//! assert_eq!(faults[0].message, "The custom_id 'a' was already used on line 1.");
//! # Ok::<(), std::io::Error>(())
//! ```

mod checker;
mod endpoint;
mod envelope;
mod fault;
mod models;
mod names;
mod request;
mod rules;
mod scan;

pub use self::{
    checker::{Checker, Seen, Summary},
    fault::{Fault, FaultCode},
    request::{Request, parse_request},
    rules::{BareIds, Fill, Limits, Rules},
};
#[cfg(feature = "jobs")]
pub(crate) use self::{endpoint::inputs_in, request::with_model};
pub(crate) use self::{
    envelope::Envelope,
    names::TakenNames,
    scan::{Kind, NotJson, Scanner, Value},
};

#[cfg(any(test, fuzzing))]
pub(crate) use self::scan::MAX_DEPTH;

#[cfg(test)]
mod tests;
