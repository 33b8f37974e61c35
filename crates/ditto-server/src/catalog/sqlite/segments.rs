//! Segments: leased, fenced, sealed. Those that are put down are in [`parked`](super::parked).

use rusqlite::named_params;

use super::super::{
    Cut, Demand, Leased, SealOutcome, Sealed, SealedRow, SegmentKey, WaitingSegment,
};
use super::rows::{self, SegmentRow, stored};
use super::runner::Tx;
use super::turns::{Queue, Turns};
use super::{finish, incarnations, parked, sql};
use crate::error::{Error, Result};
use crate::model::batch::BatchState;

/// Segments of one lease: what a worker can hold is asked for in a few calls, and no call keeps
/// the writer busy for long.
const LEASE: u32 = 64;

/// Of a lease, one part in so many is for batches that begin, whatever comes back.
const NEW_SHARE: usize = 4;
/// What a batch that ran dry gets, in lines: a few turns of the lane, so that it is leased for now and
/// then and not all the time. Segments of small batches are of a few lines.
const DRY_LINES: u64 = 128;

/// Nothing for a worker whose own lease is over: it has to renew or register first.
pub(super) fn lease(
    tx: &Tx<'_>,
    turns: &mut Turns,
    incarnation: &str,
    demand: &Demand,
) -> Result<Vec<Leased>> {
    if !incarnations::is_live(tx, incarnation)? {
        return Ok(Vec::new());
    }
    let count = |wanted: u32| usize::try_from(wanted.min(LEASE)).unwrap_or_default();
    let (segments, fillers) = (count(demand.segments), count(demand.runs));
    // What comes back may belong to an ending, so that its share is open to it too.
    let back = (segments - segments / NEW_SHARE).max(fillers);
    let back = parked::returning(tx, &demand.shut, back)?;
    let mut leased = take_all(tx, incarnation, back)?;
    let before = leased.len();
    dry(tx, turns, incarnation, demand, &mut leased)?;
    let wanted = segments + (leased.len() - before);
    fresh(tx, turns, incarnation, wanted, &mut leased)?;
    runs(tx, incarnation, fillers, &mut leased)?;
    Ok(leased)
}

/// The next ones of batches that ran dry, in even shares.
fn dry(
    tx: &Tx<'_>,
    turns: &mut Turns,
    incarnation: &str,
    demand: &Demand,
    leased: &mut Vec<Leased>,
) -> Result<()> {
    let most = usize::try_from(demand.dry_segments.min(LEASE)).unwrap_or_default();
    let each = most
        .checked_div(demand.dry.len())
        .unwrap_or_default()
        .max(1);
    for dry in demand.dry.iter().take(most) {
        let back = parked::returning_of(tx, dry, each)?;
        match back.is_empty() {
            true => next_of(tx, turns, incarnation, dry.batch, each, leased)?,
            false => leased.extend(take_all(tx, incarnation, back)?),
        }
    }
    Ok(())
}

/// Untouched ones of this batch, on its tenant's account.
fn next_of(
    tx: &Tx<'_>,
    turns: &mut Turns,
    incarnation: &str,
    batch: i64,
    most: usize,
    leased: &mut Vec<Leased>,
) -> Result<()> {
    let params = named_params! { ":batch": batch };
    let mut got = 0;
    for _ in 0..most {
        let tenant: Option<String> = tx
            .row(sql::LEASABLE_BATCH, params, |row| {
                Ok((row.get("leasable")?, row.get("tenant")?))
            })?
            .and_then(|(leasable, tenant): (bool, String)| leasable.then_some(tenant));
        let Some(tenant) = tenant.filter(|_| got < DRY_LINES) else {
            break;
        };
        let (segment, lines) = begin(tx, incarnation, batch, 1, false)?;
        turns.charge(&tenant, lines);
        got += lines;
        leased.push(segment);
    }
    Ok(())
}

fn take_all(tx: &Tx<'_>, incarnation: &str, segments: Vec<SegmentRow>) -> Result<Vec<Leased>> {
    let take = |segment| take(tx, incarnation, segment);
    segments.into_iter().map(take).collect()
}

fn take(tx: &Tx<'_>, incarnation: &str, segment: SegmentRow) -> Result<Leased> {
    let SegmentRow {
        key,
        span,
        owner,
        cuts,
        published_answers,
        published_errors,
        ..
    } = segment;
    // An owner writes nothing before it has fenced the one before it: if that is still to be done,
    // its own part is empty.
    let unfenced = segment.unfenced.or(owner.map(|_| segment.epoch));
    let epoch = segment.epoch + 1;
    let params = named_params! {
        ":batch": key.batch,
        ":idx": key.index,
        ":incarnation": incarnation,
        ":epoch": epoch,
        ":unfenced": unfenced,
    };
    tx.execute(sql::TAKE_SEGMENT, params)?;
    if !segment.open {
        parked::count(tx, key.batch, -1)?;
    }
    Ok(Leased {
        key,
        span,
        epoch,
        cuts,
        unfenced,
        published: match published_answers + published_errors {
            0 => 0,
            _ if is_reopened(tx, key.batch)? => 0,
            some => some,
        },
        refused_for: segment.refused_ms.map(|since| tx.since(since)),
    })
}

/// Whether this is about a gap: what counts there as published is what files lacked, see `reopen`.
fn is_reopened(tx: &Tx<'_>, batch: i64) -> Result<bool> {
    let life = tx.row(
        sql::BATCH_LIFE,
        named_params! { ":batch": batch },
        rows::life,
    )?;
    Ok(life.is_some_and(|life| life.state == BatchState::Finalizing))
}

/// Untouched ones, off the cursors of the batches whose turn it is.
fn fresh(
    tx: &Tx<'_>,
    turns: &mut Turns,
    incarnation: &str,
    wanted: usize,
    leased: &mut Vec<Leased>,
) -> Result<()> {
    let mut queue = Queue::new(tx, turns);
    while leased.len() < wanted {
        let Some(candidate) = queue.next()? else {
            break;
        };
        let (segment, lines) = begin(tx, incarnation, candidate.id, 1, false)?;
        queue.served(&candidate, lines)?;
        leased.push(segment);
    }
    Ok(())
}

/// What an ending left untouched, many plan entries at a time.
fn runs(tx: &Tx<'_>, incarnation: &str, wanted: usize, leased: &mut Vec<Leased>) -> Result<()> {
    for _ in 0..wanted {
        let next = tx.row(sql::NEXT_FILLABLE, [], |row| {
            Ok((row.get("key")?, row.get("span")?))
        })?;
        let Some((batch, span)) = next else { break };
        leased.push(begin(tx, incarnation, batch, span, true)?.0);
    }
    Ok(())
}

/// Moves the batch's cursor over so many entries and makes their row. Also tells about how many
/// lines they are.
fn begin(
    tx: &Tx<'_>,
    incarnation: &str,
    batch: i64,
    span: u32,
    filler: bool,
) -> Result<(Leased, u64)> {
    let params = named_params! { ":batch": batch, ":span": span, ":filler": filler };
    let moved = tx.row(sql::MOVE_CURSOR, params, |row| {
        Ok((row.get::<_, u32>("idx")?, rows::count(row, "lines")?))
    })?;
    let (index, lines) = moved.ok_or_else(|| Error::internal(format!("batch {batch} is gone")))?;
    let params = named_params! {
        ":batch": batch,
        ":idx": index,
        ":span": span,
        ":filler": filler,
        ":incarnation": incarnation,
    };
    tx.execute(sql::OPEN_SEGMENT, params)?;
    let key = SegmentKey { batch, index };
    Ok((
        Leased {
            key,
            span,
            epoch: 1,
            cuts: Vec::new(),
            unfenced: None,
            published: 0,
            refused_for: None,
        },
        lines,
    ))
}

/// The segment, if it is (or was, when sealed) this owner's under this epoch.
pub(super) fn owned(
    tx: &Tx<'_>,
    incarnation: &str,
    key: SegmentKey,
    epoch: u32,
) -> Result<Option<SegmentRow>> {
    let params = named_params! { ":batch": key.batch, ":idx": key.index };
    let segment = tx.row(sql::SEGMENT, params, rows::segment)?;
    Ok(segment.filter(|s| s.owner.as_deref() == Some(incarnation) && s.epoch == epoch))
}

/// The same while it is open.
pub(super) fn open(
    tx: &Tx<'_>,
    incarnation: &str,
    key: SegmentKey,
    epoch: u32,
) -> Result<Option<SegmentRow>> {
    Ok(owned(tx, incarnation, key, epoch)?.filter(|segment| segment.open))
}

/// Once for an epoch: told again, it changes nothing.
pub(super) fn fence(
    tx: &Tx<'_>,
    incarnation: &str,
    key: SegmentKey,
    epoch: u32,
    cut: Cut,
) -> Result<bool> {
    let Some(segment) = open(tx, incarnation, key, epoch)? else {
        return Ok(false);
    };
    if segment.unfenced == Some(cut.epoch) {
        let cuts = with_cut(segment.cuts, cut)?;
        let params = named_params! { ":batch": key.batch, ":idx": key.index, ":cuts": cuts };
        tx.execute(sql::FENCE_SEGMENT, params)?;
    }
    Ok(true)
}

pub(super) fn let_go(tx: &Tx<'_>, incarnation: &str, key: SegmentKey, epoch: u32) -> Result<()> {
    let params = named_params! {
        ":batch": key.batch,
        ":idx": key.index,
        ":incarnation": incarnation,
        ":epoch": epoch,
    };
    tx.execute(sql::LET_GO_SEGMENT, params)?;
    Ok(())
}

/// As stored. An empty part needs no replay.
pub(super) fn with_cut(mut cuts: Vec<Cut>, cut: Cut) -> Result<String> {
    if cut.length > 0 {
        cuts.push(cut);
    }
    serde_json::to_string(&cuts).map_err(|e| Error::internal(format!("cuts: {e}")))
}

pub(super) fn seal(
    tx: &Tx<'_>,
    incarnation: &str,
    key: SegmentKey,
    epoch: u32,
    sealed: &Sealed,
) -> Result<SealOutcome> {
    let Some(segment) = open(tx, incarnation, key, epoch)? else {
        return Ok(SealOutcome::Fenced);
    };
    if segment.span != sealed.span || sealed.ended > sealed.errors {
        return Err(Error::internal(format!(
            "segment {key} cannot be sealed as {sealed:?}"
        )));
    }
    write_seal(tx, key, sealed)?;
    if !count_seal(tx, &segment, sealed)? {
        return Ok(SealOutcome::Sealed);
    }
    let life = tx.row(
        sql::BATCH_LIFE,
        named_params! { ":batch": key.batch },
        rows::life,
    )?;
    let life = life.ok_or_else(|| Error::internal(format!("batch {} is gone", key.batch)))?;
    finish::begin(tx, &life)?;
    Ok(SealOutcome::Last)
}

fn write_seal(tx: &Tx<'_>, key: SegmentKey, sealed: &Sealed) -> Result<()> {
    let params = named_params! {
        ":batch": key.batch,
        ":idx": key.index,
        ":answers": sealed.answers,
        ":errors": sealed.errors,
        ":ended": sealed.ended,
        ":answers_bytes": stored(sealed.answers_bytes),
        ":errors_bytes": stored(sealed.errors_bytes),
        ":usage_input": stored(sealed.usage.input),
        ":usage_cached": stored(sealed.usage.cached),
        ":usage_output": stored(sealed.usage.output),
        ":usage_reasoning": stored(sealed.usage.reasoning),
        ":usage_total": stored(sealed.usage.total),
    };
    tx.execute(sql::SEAL_SEGMENT, params)?;
    Ok(())
}

/// Whether it was the batch's last. The counts are those of the pieces: whatever was published
/// before, in the end they agree with the files.
fn count_seal(tx: &Tx<'_>, segment: &SegmentRow, sealed: &Sealed) -> Result<bool> {
    let failed = sealed.errors - sealed.ended;
    let params = named_params! {
        ":batch": segment.key.batch,
        ":completed": i64::from(sealed.answers) - i64::from(segment.published_answers),
        ":failed": i64::from(failed) - i64::from(segment.published_errors),
        ":usage_input": stored(sealed.usage.input),
        ":usage_cached": stored(sealed.usage.cached),
        ":usage_output": stored(sealed.usage.output),
        ":usage_reasoning": stored(sealed.usage.reasoning),
        ":usage_total": stored(sealed.usage.total),
        ":span": sealed.span,
        ":filler": segment.filler,
    };
    let last = tx.row(sql::SEAL_BATCH, params, |row| row.get("last"))?;
    last.ok_or_else(|| Error::internal(format!("batch {} is gone", segment.key.batch)))
}

pub(super) fn waiting(tx: &Tx<'_>, batch: i64) -> Result<Vec<WaitingSegment>> {
    let found = tx.rows(
        sql::WAITING_SEGMENTS,
        named_params! { ":batch": batch },
        rows::segment,
    )?;
    let waiting = found.into_iter().map(|segment| WaitingSegment {
        key: segment.key,
        cuts: segment.cuts,
        published: segment.published_answers + segment.published_errors,
    });
    Ok(waiting.collect())
}

/// Lines of a batch as clients count them: what an ending wrote is none.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sum {
    pub(super) answers: u64,
    pub(super) errors: u64,
}

/// Those in its sealed segments.
pub(super) fn sum(tx: &Tx<'_>, batch: i64) -> Result<Sum> {
    let sum = tx.row(sql::SUM_SEALED, named_params! { ":batch": batch }, |row| {
        Ok(Sum {
            answers: rows::count(row, "answers")?,
            errors: rows::count(row, "errors")?,
        })
    })?;
    Ok(sum.unwrap_or_default())
}

pub(super) fn sealed(tx: &Tx<'_>, batch: i64, from: u32, limit: u32) -> Result<Vec<SealedRow>> {
    let params = named_params! { ":batch": batch, ":from": from, ":limit": limit };
    tx.rows(sql::SEALED_SEGMENTS, params, rows::sealed)
}
