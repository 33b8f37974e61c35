//! Segments that nothing covers, found at the end of their batch: open again, once.

use rusqlite::named_params;

use super::super::{Cut, Gap};
use super::runner::Tx;
use super::segments::{self, Sum};
use super::{rows, sql};
use crate::error::{Error, Result};

pub(super) fn reopen(tx: &Tx<'_>, incarnation: &str, batch: i64, gaps: &[Gap]) -> Result<bool> {
    let sealed = segments::sum(tx, batch)?;
    let params = named_params! {
        ":batch": batch,
        ":incarnation": incarnation,
        ":gaps": rows::stored(gaps.len() as u64),
        ":answers": rows::stored(sealed.answers),
        ":errors": rows::stored(sealed.errors),
    };
    // What was counted beyond the sealed segments: those that are missing had published or sealed it.
    let surplus = tx.row(sql::REOPEN_BATCH, params, |row| {
        Ok(Sum {
            answers: rows::count(row, "answers")?,
            errors: rows::count(row, "errors")?,
        })
    })?;
    let Some(mut surplus) = surplus else {
        return Ok(false);
    };
    for gap in gaps {
        open(tx, batch, gap, share(&mut surplus, gap.requests))?;
    }
    Ok(true)
}

/// What a segment of so many requests can have had of it.
fn share(surplus: &mut Sum, requests: u32) -> (u32, u32) {
    let answers = u64::from(requests).min(surplus.answers);
    let errors = (u64::from(requests) - answers).min(surplus.errors);
    surplus.answers -= answers;
    surplus.errors -= errors;
    (answers as u32, errors as u32)
}

fn open(tx: &Tx<'_>, batch: i64, gap: &Gap, published: (u32, u32)) -> Result<()> {
    let cut = Cut {
        epoch: gap.epoch,
        length: gap.length,
    };
    let cuts: Vec<_> = (gap.length > 0).then_some(cut).into_iter().collect();
    let cuts = serde_json::to_string(&cuts).map_err(|e| Error::internal(format!("cuts: {e}")))?;
    let params = named_params! {
        ":batch": batch,
        ":idx": gap.index,
        ":epoch": gap.epoch,
        ":cuts": cuts,
        ":answers": published.0,
        ":errors": published.1,
    };
    tx.execute(sql::REOPEN_SEGMENT, params)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_is_shared_out_and_never_more_than_a_segment_has() {
        let mut surplus = Sum {
            answers: 15,
            errors: 4,
        };
        let shares = [10, 10, 2].map(|requests| share(&mut surplus, requests));
        assert_eq!(shares, [(10, 0), (5, 4), (0, 0)]);
        assert_eq!((surplus.answers, surplus.errors), (0, 0));
    }
}
