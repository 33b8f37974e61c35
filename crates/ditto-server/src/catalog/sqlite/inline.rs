//! Statements on the caller's own thread, so that a simulated run is one thread and one seed.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use rusqlite::Connection;

use super::runner::Tx;
use crate::clock::Clock;
use crate::error::Result;

/// A connection that several simulated processes may share, each through a gate of its own.
#[derive(Debug, Clone)]
pub(crate) struct Inline {
    pub(crate) conn: Arc<Mutex<Connection>>,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) gate: Arc<dyn Gate>,
}

/// Stands around each call of a process.
#[async_trait]
pub(crate) trait Gate: fmt::Debug + Send + Sync {
    /// Before anything is done: it may refuse, or never return if the process is no more.
    async fn before(&self) -> Result<()>;
    /// It is done and committed: it never returns if the process does not live to hear of it.
    async fn after(&self);
}

/// Nothing in the way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Open;

#[async_trait]
impl Gate for Open {
    async fn before(&self) -> Result<()> {
        Ok(())
    }

    async fn after(&self) {}
}

impl Inline {
    /// One transaction.
    pub(super) async fn call<T>(&self, command: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        self.gate.before().await?;
        let result = self.transact(command);
        self.gate.after().await;
        result
    }

    fn transact<T>(&self, command: impl FnOnce(&Tx<'_>) -> Result<T>) -> Result<T> {
        // A command that panicked left its transaction to the rollback below.
        let mut conn = self.conn.lock().unwrap_or_else(PoisonError::into_inner);
        let transaction = conn.transaction()?;
        let value = command(&Tx::on(&transaction, self.clock.now_ms()))?;
        transaction.commit()?;
        Ok(value)
    }
}
