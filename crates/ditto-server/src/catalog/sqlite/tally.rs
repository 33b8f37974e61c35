//! What SQLite was asked, counted: the statements, and the steps of its machine that they took.

use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::{CachedStatement, StatementStatus};

/// Of all threads of a runner, each of its statements, those that begin and end a transaction
/// included.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    statements: AtomicU64,
    steps: AtomicU64,
}

impl Tally {
    /// Statements so far.
    pub(crate) fn statements(&self) -> u64 {
        self.statements.load(Ordering::SeqCst)
    }

    /// Steps of SQLite's machine so far: what one statement does, row by row.
    pub(crate) fn steps(&self) -> u64 {
        self.steps.load(Ordering::SeqCst)
    }

    /// One statement of so many steps.
    pub(super) fn add(&self, steps: u64) {
        self.statements.fetch_add(1, Ordering::SeqCst);
        self.steps.fetch_add(steps, Ordering::SeqCst);
    }
}

/// A statement that is counted when it has run, or failed.
pub(super) struct Counted<'a> {
    statement: CachedStatement<'a>,
    tally: Option<&'a Tally>,
}

impl<'a> Counted<'a> {
    pub(super) fn new(statement: CachedStatement<'a>, tally: Option<&'a Tally>) -> Self {
        // It has run before.
        statement.reset_status(StatementStatus::VmStep);
        Self { statement, tally }
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        if let Some(tally) = self.tally {
            let steps = self.statement.get_status(StatementStatus::VmStep);
            tally.add(u64::try_from(steps).unwrap_or_default());
        }
    }
}

impl<'a> Deref for Counted<'a> {
    type Target = CachedStatement<'a>;

    fn deref(&self) -> &Self::Target {
        &self.statement
    }
}

impl DerefMut for Counted<'_> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.statement
    }
}
