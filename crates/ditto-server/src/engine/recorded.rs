//! What is recorded of open segments, for a reader who does not wait for the seal.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::segment::{OpenSegment, Settled};
use super::{Engine, Inner, lock};
use crate::catalog::WaitingSegment;
use crate::error::Result;
use crate::journal::PartName;
use crate::model::cursor::{Cursor, Had};

/// Some results of a segment.
#[derive(Debug)]
pub(crate) struct Recorded {
    /// Place in the plan.
    pub(crate) index: u32,
    /// Results that the reader has with these: the first so many.
    pub(crate) count: u32,
    /// Whole lines.
    pub(crate) bytes: Bytes,
}

impl Engine {
    /// What is recorded of this batch's open segments and not had yet, about so many bytes: at least
    /// one result, if there is any. A segment that is sealed meanwhile is left out.
    pub(crate) async fn recorded(
        &self,
        batch: i64,
        cursor: &Cursor,
        room: u64,
    ) -> Result<Vec<Recorded>> {
        let inner = &self.0;
        let mut found = Vec::new();
        let mut room = room;
        let open: Vec<_> = lock(&inner.segments).values().cloned().collect();
        for segment in open.iter().filter(|s| s.key.batch == batch) {
            inner
                .take_open(segment, cursor, &mut room, &mut found)
                .await;
        }
        // What is open here is waiting nowhere.
        let open: BTreeSet<_> = open.iter().map(|segment| segment.key).collect();
        for waiting in inner.catalog.waiting_segments(batch).await? {
            if !open.contains(&waiting.key) && room > 0 {
                inner
                    .take_waiting(&waiting, cursor, &mut room, &mut found)
                    .await?;
            }
        }
        Ok(found)
    }
}

impl Inner {
    async fn take_open(
        &self,
        segment: &Arc<OpenSegment>,
        cursor: &Cursor,
        room: &mut u64,
        found: &mut Vec<Recorded>,
    ) {
        let Had::First(had) = cursor.had(segment.key.index) else {
            return;
        };
        let new = segment.recorded_from(had);
        let taken = self.take(segment.key, had, &new, room).await;
        // Its parts go when it is sealed: then its results are in the blob, for the next look.
        if let Ok(Some(recorded)) = taken {
            found.push(recorded);
        }
    }

    /// A segment that nobody holds: its parts are read to their cuts.
    async fn take_waiting(
        &self,
        waiting: &WaitingSegment,
        cursor: &Cursor,
        room: &mut u64,
        found: &mut Vec<Recorded>,
    ) -> Result<()> {
        let Had::First(had) = cursor.had(waiting.key.index) else {
            return Ok(());
        };
        if had >= waiting.published {
            return Ok(());
        }
        let mut seen = BTreeSet::new();
        let mut new = Vec::new();
        for cut in &waiting.cuts {
            let name = PartName {
                segment: waiting.key,
                epoch: cut.epoch,
            };
            for (record, place) in self.journal.replay(name, cut.length).await? {
                // The first one of a line wins, as in every replay.
                if seen.insert(record.ordinal) && seen.len() > had as usize {
                    new.push(Settled {
                        epoch: cut.epoch,
                        place,
                        kind: record.kind,
                    });
                }
            }
        }
        found.extend(self.take(waiting.key, had, &new, room).await?);
        Ok(())
    }

    /// Reads the first of these results, as many as there is room for.
    async fn take(
        &self,
        segment: crate::catalog::SegmentKey,
        had: u32,
        new: &[Settled],
        room: &mut u64,
    ) -> Result<Option<Recorded>> {
        let mut bytes = Vec::new();
        let mut count = had;
        for settled in new {
            if *room == 0 {
                break;
            }
            let part = PartName {
                segment,
                epoch: settled.epoch,
            };
            let range =
                settled.place.offset..settled.place.offset + u64::from(settled.place.length);
            bytes.extend_from_slice(&self.journal.read(part, range).await?);
            *room = room.saturating_sub(u64::from(settled.place.length));
            count += 1;
        }
        Ok((count > had).then(|| Recorded {
            index: segment.index,
            count,
            bytes: Bytes::from(bytes),
        }))
    }
}
