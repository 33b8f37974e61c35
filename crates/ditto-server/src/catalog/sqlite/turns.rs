//! Whose turn it is at the lease: batches with untouched segments, by tenant, in a ring.

use rusqlite::named_params;
use xxhash_rust::xxh3::xxh3_64;

use super::runner::Tx;
use super::{rows, sql};
use crate::error::Result;
use crate::model::turn::{Candidate, Turn};

/// Tenants looked at for one lease; the next lease begins behind the last that was served.
const WINDOW: usize = 32;

/// Memory of the writer between leases.
#[derive(Debug, Default)]
pub(super) struct Turns {
    turn: Turn,
    /// The tenant that was served last.
    after: String,
}

impl Turns {
    /// A batch of this tenant got a segment of about this many lines out of its turn.
    pub(super) fn charge(&mut self, tenant: &str, lines: u64) {
        self.turn.charge(xxh3_64(tenant.as_bytes()), lines);
    }
}

/// Who could be next, kept up to date while one lease is filled.
#[derive(Debug)]
pub(super) struct Queue<'a> {
    tx: &'a Tx<'a>,
    turns: &'a mut Turns,
    candidates: Vec<Candidate>,
    names: Vec<(u64, String)>,
}

impl<'a> Queue<'a> {
    pub(super) fn new(tx: &'a Tx<'a>, turns: &'a mut Turns) -> Self {
        Self {
            tx,
            turns,
            candidates: Vec::new(),
            names: Vec::new(),
        }
    }

    /// The batch whose turn it is; `None`: no batch has an untouched segment that may be leased.
    pub(super) fn next(&mut self) -> Result<Option<Candidate>> {
        if self.candidates.is_empty() {
            self.fill()?;
        }
        Ok(self
            .turns
            .turn
            .pick(&self.candidates)
            .map(|place| self.candidates[place]))
    }

    /// The batch got a segment of about this many lines.
    pub(super) fn served(&mut self, candidate: &Candidate, lines: u64) -> Result<()> {
        self.turns.turn.charge(candidate.tenant, lines);
        self.candidates.retain(|c| c.tenant != candidate.tenant);
        if let Some((_, name)) = self
            .names
            .iter()
            .find(|(tenant, _)| *tenant == candidate.tenant)
        {
            self.turns.after.clone_from(name);
            self.candidates
                .extend(of_tenant(self.tx, candidate.tenant, name)?);
        }
        Ok(())
    }

    /// Up to a window of tenants with work, from behind the last one on, once around.
    fn fill(&mut self) -> Result<()> {
        self.names.clear();
        let start = self.turns.after.clone();
        let mut at = start.clone();
        let mut wrapped = false;
        while self.names.len() < WINDOW {
            match next_tenant(self.tx, &at)? {
                Some(tenant) if wrapped && tenant > start => break,
                Some(tenant) => {
                    let number = xxh3_64(tenant.as_bytes());
                    self.candidates.extend(of_tenant(self.tx, number, &tenant)?);
                    self.names.push((number, tenant.clone()));
                    at = tenant;
                }
                None if wrapped => break,
                None => (at, wrapped) = (String::new(), true),
            }
        }
        Ok(())
    }
}

fn next_tenant(tx: &Tx<'_>, after: &str) -> Result<Option<String>> {
    tx.row(sql::NEXT_TENANT, named_params! { ":after": after }, |row| {
        row.get("tenant")
    })
}

/// The two batches of a tenant that could be next: it is one of these, whichever way it is chosen.
fn of_tenant(tx: &Tx<'_>, number: u64, tenant: &str) -> Result<impl Iterator<Item = Candidate>> {
    let read = |row: &rusqlite::Row<'_>| {
        let key = row.get("key")?;
        let left = rows::count(row, "left_lines")?;
        Ok(Candidate {
            tenant: number,
            deadline: row.get("expires_ms")?,
            age: key,
            left,
            id: key,
        })
    };
    let soonest = tx.row(
        sql::NEXT_BY_DEADLINE,
        named_params! { ":tenant": tenant },
        read,
    )?;
    let smallest = tx.row(sql::NEXT_BY_LEFT, named_params! { ":tenant": tenant }, read)?;
    let twice = soonest.map(|c| c.id) == smallest.map(|c| c.id);
    Ok(soonest.into_iter().chain(smallest.filter(|_| !twice)))
}
