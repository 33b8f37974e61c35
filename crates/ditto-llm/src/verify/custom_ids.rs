//! Requests and results that are known by `custom_id` only, as two multisets.

use std::{collections::HashMap, io};

use super::{
    report::{OffenceKind, Offences, VerifiedFile},
    requests::Requests,
};
use crate::ids::PARTS;

/// Holds requests and results of the same id against each other, first with first. They are counted
/// and not gathered, so that an id which every line has takes no more memory than any other.
pub(super) fn match_custom_ids(requests: &mut Requests, offences: &mut Offences) -> io::Result<()> {
    for part in 0..PARTS {
        for pass in requests.ids.passes(part) {
            let mut balances: HashMap<u128, Balance> = HashMap::new();
            requests.ids.for_each_in_pass(part, pass, |record| {
                let balance = balances.entry(record.key).or_default();
                balance.count(Origin::from_number(record.number).file);
            })?;
            balances.retain(|_, balance| balance.asked != balance.given);
            if balances.is_empty() {
                continue;
            }
            requests.ids.for_each_in_pass(part, pass, |record| {
                let origin = Origin::from_number(record.number);
                let balance = balances.get_mut(&record.key);
                if let Some(kind) = balance.and_then(|balance| balance.surplus(origin.file)) {
                    offences.add(origin.file, origin.line, kind);
                }
            })?;
        }
    }
    Ok(())
}

/// How often one id is asked for and given.
#[derive(Debug, Default)]
struct Balance {
    asked: u64,
    given: u64,
    asked_seen: u64,
    given_seen: u64,
}

impl Balance {
    fn count(&mut self, file: VerifiedFile) {
        match file {
            VerifiedFile::Input => self.asked += 1,
            VerifiedFile::Output | VerifiedFile::Errors => self.given += 1,
        }
    }

    /// The next one of them, once all are counted: what is wrong with it, if it has no other half.
    fn surplus(&mut self, file: VerifiedFile) -> Option<OffenceKind> {
        let (seen, others, kind) = match file {
            VerifiedFile::Input => (&mut self.asked_seen, self.given, OffenceKind::Missing),
            VerifiedFile::Output | VerifiedFile::Errors if self.asked == 0 => {
                (&mut self.given_seen, 0, OffenceKind::Unknown)
            }
            VerifiedFile::Output | VerifiedFile::Errors => {
                (&mut self.given_seen, self.asked, OffenceKind::Repeated)
            }
        };
        *seen += 1;
        (*seen > others).then_some(kind)
    }
}

/// A line of one of the files, as the number of a record: the file in the top two bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Origin {
    pub(super) file: VerifiedFile,
    pub(super) line: u64,
}

impl Origin {
    pub(super) fn to_number(self) -> u64 {
        let file = match self.file {
            VerifiedFile::Input => 0,
            VerifiedFile::Output => 1,
            VerifiedFile::Errors => 2,
        };
        file << 62 | self.line
    }

    fn from_number(number: u64) -> Self {
        let file = match number >> 62 {
            0 => VerifiedFile::Input,
            1 => VerifiedFile::Output,
            _ => VerifiedFile::Errors,
        };
        Self {
            file,
            line: number & (u64::MAX >> 2),
        }
    }
}
