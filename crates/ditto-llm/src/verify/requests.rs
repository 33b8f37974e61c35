//! The input side of the proof: which lines ask, and under which id.

use std::{io, path::Path};

use crate::{
    check::{BareIds, Envelope, TakenNames},
    ids::{IdHasher, Parts, Record},
    jsonl::{Content, Line},
};

/// Two bytes for each line of the input, so that ten million lines take 20 MB: four marks, and
/// 12 bits of the hash of the id.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Mark(u16);

impl Mark {
    const REQUEST: u16 = 1;
    const HAS_RESULT: u16 = 2;
    const HAS_ID: u16 = 4;
    const BARE: u16 = 8;
    const TAG_SHIFT: u32 = 4;

    pub(super) fn is_request(self) -> bool {
        self.0 & Self::REQUEST != 0
    }

    pub(super) fn has_result(self) -> bool {
        self.0 & Self::HAS_RESULT != 0
    }

    pub(super) fn lacks_result(self) -> bool {
        self.is_request() && !self.has_result()
    }

    pub(super) fn set_has_result(&mut self) {
        self.0 |= Self::HAS_RESULT;
    }

    /// Whether the line is a request that shows no id.
    pub(super) fn is_unnamed(self) -> bool {
        self.0 & (Self::REQUEST | Self::HAS_ID | Self::BARE) == Self::REQUEST
    }

    fn is_bare(self) -> bool {
        self.0 & Self::BARE != 0
    }

    /// Whether an id with this hash may be the id of the line. One in 4,096 wrong ones passes;
    /// results that are mixed up are more than one.
    pub(super) fn may_have_id(self, hash: u128) -> bool {
        self.0 & Self::HAS_ID == 0 || self.0 >> Self::TAG_SHIFT == Self::tag(hash)
    }

    fn tag(hash: u128) -> u16 {
        hash as u16 >> Self::TAG_SHIFT
    }

    fn with_id(hash: u128) -> Self {
        Self(Self::REQUEST | Self::HAS_ID | Self::tag(hash) << Self::TAG_SHIFT)
    }
}

/// The requests of an input file.
#[derive(Debug)]
pub(super) struct Requests {
    pub(super) count: u64,
    /// Those among them that show no id and are not bare bodies.
    pub(super) unnamed: u64,
    /// By physical line; blank ones included, line 1 first.
    pub(super) marks: Vec<Mark>,
    /// Every id with its line.
    pub(super) ids: Parts,
    pub(super) hasher: IdHasher,
    taken: TakenNames,
}

impl Requests {
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            count: 0,
            unnamed: 0,
            marks: Vec::new(),
            ids: Parts::new(dir),
            hasher: IdHasher::new(),
            taken: TakenNames::default(),
        }
    }

    pub(super) fn add(&mut self, line: &Line<'_>) -> io::Result<()> {
        let mark = self.mark(line)?;
        self.marks.push(mark);
        self.count += u64::from(mark.is_request());
        self.unnamed += u64::from(mark.is_unnamed());
        Ok(())
    }

    fn mark(&mut self, line: &Line<'_>) -> io::Result<Mark> {
        if line.is_blank() {
            return Ok(Mark::default());
        }
        let Content::Bytes(bytes) = line.content else {
            return Ok(Mark(Mark::REQUEST));
        };
        let mut envelope = Envelope::default();
        let json = envelope.read(bytes).is_ok();
        if json && envelope.is_bare() {
            return Ok(Mark(Mark::REQUEST | Mark::BARE));
        }
        let id = envelope.custom_id.and_then(|id| id.text());
        let Some(id) = id else {
            return Ok(Mark(Mark::REQUEST));
        };
        self.taken.note(&id);
        let key = self.hasher.hash(id.as_bytes());
        self.ids.push_by_key(Record {
            key,
            number: line.number,
        })?;
        Ok(Mark::with_id(key))
    }

    /// Gives bare bodies the ids that `run` gave them. Only now is the suffix known.
    pub(super) fn name_bare_lines(&mut self) -> io::Result<()> {
        let names = BareIds {
            suffix: self.taken.suffix(),
        };
        for (number, mark) in (1..).zip(&self.marks) {
            if mark.is_bare() {
                let key = self.hasher.hash(names.plain_id(number).as_bytes());
                self.ids.push_by_key(Record { key, number })?;
            }
        }
        Ok(())
    }
}
