//! Segments that are put down, and those that come back.

use rusqlite::named_params;

use super::super::parking::{DryBatch, LaneMark, PutDown, Until};
use super::super::{Publication, SegmentKey};
use super::rows::{self, SegmentRow, stored};
use super::runner::Tx;
use super::{incarnations, segments, sql};
use crate::error::{Error, Result};

/// False: it is not this owner's.
pub(super) fn park(
    tx: &Tx<'_>,
    incarnation: &str,
    key: SegmentKey,
    put_down: &PutDown,
) -> Result<bool> {
    let PutDown {
        cut,
        until,
        counts,
        refused_for,
    } = put_down;
    let Some(segment) = segments::open(tx, incarnation, key, cut.epoch)? else {
        return Ok(false);
    };
    let publication = Publication {
        key,
        epoch: cut.epoch,
        answers: counts.0,
        errors: counts.1,
    };
    incarnations::publish(tx, incarnation, &publication)?;
    let life = tx.row(
        sql::BATCH_LIFE,
        named_params! { ":batch": key.batch },
        rows::life,
    )?;
    let ends = life.is_some_and(|life| life.ending.is_some());
    let (state, due, waits_for) = match until {
        // An ending that came before us has brought back what was parked by then.
        _ if ends => ("open", None, ""),
        Until::NextLease => ("open", None, ""),
        Until::After(pause) => ("parked", Some(tx.later(*pause)), ""),
        Until::Open(mark) => ("parked", Some(tx.now_ms), mark.as_str()),
    };
    let params = named_params! {
        ":batch": key.batch,
        ":idx": key.index,
        ":state": state,
        ":until": due,
        ":waits_for": waits_for,
        ":refused": refused_for.map(|long| tx.earlier(long)),
        ":cuts": segments::with_cut(segment.cuts, *cut)?,
    };
    tx.execute(sql::PARK_SEGMENT, params)?;
    if due.is_some() {
        count(tx, key.batch, 1)?;
    }
    Ok(true)
}

/// One segment more, or less, of the batch is parked rather than open.
pub(super) fn count(tx: &Tx<'_>, batch: i64, parked: i64) -> Result<()> {
    let params = named_params! { ":batch": batch, ":parked": parked };
    tx.execute(sql::COUNT_PARKED, params)?;
    Ok(())
}

/// Those that were begun: their owner released or parked them, or its lease is over. What waits for a
/// lane that is shut is left.
pub(super) fn returning(tx: &Tx<'_>, shut: &[LaneMark], wanted: usize) -> Result<Vec<SegmentRow>> {
    let params = named_params! {
        ":now": tx.now_ms,
        ":shut": list(shut)?,
        ":limit": limit(wanted),
    };
    tx.rows(sql::LEASE_RETURNING, params, rows::segment)
}

/// Those of one batch, of what waits for a lane only what waits for the one in which it ran dry.
pub(super) fn returning_of(tx: &Tx<'_>, dry: &DryBatch, wanted: usize) -> Result<Vec<SegmentRow>> {
    let params = named_params! {
        ":batch": dry.batch,
        ":now": tx.now_ms,
        ":lane": dry.lane.as_ref().map(LaneMark::as_str),
        ":limit": limit(wanted),
    };
    tx.rows(sql::LEASE_RETURNING_OF, params, rows::segment)
}

fn limit(wanted: usize) -> i64 {
    stored(u64::try_from(wanted).unwrap_or(u64::MAX))
}

/// As a JSON list.
fn list(shut: &[LaneMark]) -> Result<String> {
    let marks: Vec<_> = shut.iter().map(LaneMark::as_str).collect();
    serde_json::to_string(&marks).map_err(|e| Error::internal(format!("lane marks: {e}")))
}
