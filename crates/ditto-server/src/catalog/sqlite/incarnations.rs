//! Incarnations: lives of workers, their leases, and what their renewals publish.

use std::time::Duration;

use rusqlite::named_params;

use super::super::{Publication, Renewal, SegmentKey};
use super::runner::Tx;
use super::segments::owned;
use super::{rows, sql};
use crate::error::Result;

/// After this long without a renewal a worker is not coming back, and its row goes.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

pub(super) fn register(tx: &Tx<'_>, incarnation: &str, lease: Duration) -> Result<()> {
    let before = tx
        .now_ms
        .saturating_sub_unsigned(REMEMBERED.as_secs() * 1_000);
    for dead in ids(
        tx,
        sql::DEAD_INCARNATIONS,
        named_params! { ":before": before },
    )? {
        forget(tx, &dead)?;
    }
    let params = named_params! { ":incarnation": incarnation, ":until": tx.later(lease) };
    tx.execute(sql::REGISTER, params)?;
    Ok(())
}

pub(super) fn void_others(tx: &Tx<'_>, incarnation: &str) -> Result<()> {
    let params = named_params! { ":incarnation": incarnation };
    for other in ids(tx, sql::OTHER_INCARNATIONS, params)? {
        forget(tx, &other)?;
    }
    Ok(())
}

fn ids(
    tx: &Tx<'_>,
    statement: &str,
    params: &[(&str, &dyn rusqlite::ToSql)],
) -> Result<Vec<String>> {
    tx.rows(statement, params, |row| row.get("id"))
}

/// Ends a life: what it held waits for the next owner, and its renewals are refused.
pub(super) fn forget(tx: &Tx<'_>, incarnation: &str) -> Result<()> {
    let params = named_params! { ":incarnation": incarnation };
    tx.execute(sql::RELEASE_OWNED, params)?;
    tx.execute(sql::RELEASE_HELD, params)?;
    tx.execute(sql::FORGET_INCARNATION, params)?;
    Ok(())
}

pub(super) fn is_live(tx: &Tx<'_>, incarnation: &str) -> Result<bool> {
    let params = named_params! { ":incarnation": incarnation, ":now": tx.now_ms };
    Ok(tx
        .row(sql::INCARNATION_IS_LIVE, params, |_| Ok(()))?
        .is_some())
}

pub(super) fn renew(
    tx: &Tx<'_>,
    incarnation: &str,
    lease: Duration,
    publications: &[Publication],
) -> Result<Renewal> {
    let params = named_params! { ":incarnation": incarnation, ":until": tx.later(lease) };
    if tx.execute(sql::RENEW_INCARNATION, params)? == 0 {
        return Ok(Renewal::default());
    }
    for publication in publications {
        publish(tx, incarnation, publication)?;
    }
    let params = named_params! { ":incarnation": incarnation };
    let owned = tx.rows(sql::OWNED_SEGMENTS, params, |row| {
        let key = SegmentKey {
            batch: row.get("batch")?,
            index: row.get("idx")?,
        };
        Ok((key, row.get("epoch")?))
    })?;
    let params = named_params! { ":incarnation": incarnation };
    let endings = tx.rows(sql::ENDINGS, params, |row| {
        Ok((row.get("key")?, rows::ending(row)?))
    })?;
    let endings = endings
        .into_iter()
        .filter_map(|(key, ending)| Some((key, ending?)))
        .collect();
    Ok(Renewal {
        held: true,
        owned,
        endings,
    })
}

/// Of a segment that is another's by now nothing is published.
pub(super) fn publish(tx: &Tx<'_>, incarnation: &str, publication: &Publication) -> Result<()> {
    let Publication {
        key,
        epoch,
        answers,
        errors,
    } = *publication;
    let Some(segment) = owned(tx, incarnation, key, epoch)? else {
        return Ok(());
    };
    // A takeover replays from the start and must not be seen to have less than was told before.
    let (answers, errors) = (
        answers.max(segment.published_answers),
        errors.max(segment.published_errors),
    );
    let new_answers = answers - segment.published_answers;
    let new_errors = errors - segment.published_errors;
    if !segment.open || (new_answers, new_errors) == (0, 0) {
        return Ok(());
    }
    let params = named_params! {
        ":batch": key.batch, ":idx": key.index, ":answers": answers, ":errors": errors,
    };
    tx.execute(sql::PUBLISH_SEGMENT, params)?;
    let params = named_params! {
        ":batch": key.batch, ":completed": new_answers, ":failed": new_errors,
    };
    tx.execute(sql::PUBLISH_BATCH, params)?;
    Ok(())
}
