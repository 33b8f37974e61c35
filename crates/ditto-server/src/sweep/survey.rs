//! Looks through blobs and journal for what belongs to nobody.
//!
//! It lists a page first and asks the catalog then: ids come before bytes, so that what the catalog
//! does not know by then was never anybody's, or is nobody's any more. Stopped in between, nothing is
//! half done, and the next survey begins anew.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use futures_util::TryStreamExt;

use super::{Sweeper, names};
use crate::catalog::Named;
use crate::error::Result;
use crate::folder::{Found, Pages, Tally};
use crate::journal::PartName;
use crate::model::litter::{Claim, Due, unknown_may_go};

/// Unknown objects named in a report; the others are counted.
const FIRST: usize = 20;

/// What a survey does with what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// It only looks.
    Look,
    /// Litter goes; what is unknown is reported.
    Litter,
    /// What is unknown goes too, once it is older than a day.
    All,
}

/// What was found. What may go has gone, unless it was only looked at.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Survey {
    /// Bytes of what the sweeps before would take.
    pub(crate) due: BTreeMap<Due, Tally>,
    /// Of no use, as a row says.
    pub(crate) litter: Tally,
    /// Unknown, and older than a day.
    pub(crate) unknown: Tally,
    /// Unknown, and too young to go.
    pub(crate) young: Tally,
    /// Some of what is unknown, by name.
    pub(crate) first_unknown: Vec<String>,
    /// A backup copies: what may go is still there.
    pub(crate) put_off: bool,
}

/// Where something was found.
#[derive(Debug, Clone, Copy)]
enum Place {
    Blobs,
    Journal,
}

impl Place {
    fn named(self, path: &Path) -> Option<Named> {
        match self {
            Self::Blobs => names::of_blob(path),
            Self::Journal => names::of_part(path),
        }
    }

    fn shown(self, path: &Path) -> String {
        let folder = match self {
            Self::Blobs => "blobs",
            Self::Journal => "journal",
        };
        format!("{folder}/{}", path.display())
    }
}

impl Sweeper {
    /// Everything there is, a page at a time.
    pub(crate) async fn survey(&self, act: Act) -> Result<Survey> {
        let mut survey = Survey::default();
        let (blobs, journal) = (self.blobs.found_below("")?, self.journal.found());
        let now = self.blobs.now().await?;
        self.look_through(Place::Blobs, blobs, now, act, &mut survey)
            .await?;
        let now = self.journal.now().await?;
        self.look_through(Place::Journal, journal, now, act, &mut survey)
            .await?;
        Ok(survey)
    }

    /// Litter among the blobs of one prefix, which goes.
    pub(super) async fn survey_below(&self, prefix: &str) -> Result<()> {
        let found = self.blobs.found_below(prefix)?;
        self.take_litter(Place::Blobs, found).await.map(drop)
    }

    /// Litter in the journal, which goes. False: a backup copies, and some of it stays.
    pub(crate) async fn journal_litter(&self) -> Result<bool> {
        self.take_litter(Place::Journal, self.journal.found()).await
    }

    async fn take_litter(&self, place: Place, found: Pages) -> Result<bool> {
        // Litter is not looked at for its age.
        let now = SystemTime::UNIX_EPOCH;
        let mut survey = Survey::default();
        self.look_through(place, found, now, Act::Litter, &mut survey)
            .await?;
        Ok(!survey.put_off)
    }

    /// Sets parts aside that no lease of this catalog can have written. To be done before anything is
    /// leased: a lease may be given the name of a stray, and a crash before its first record would
    /// have the stray's records replayed.
    pub(crate) async fn set_strays_aside(&self) -> Result<()> {
        let mut pages = self.journal.found();
        while let Some(page) = pages.try_next().await? {
            let claims = self.claims(Place::Journal, &page).await?;
            let unknown = page.iter().zip(claims);
            let unknown = unknown.filter(|(_, claim)| *claim == Claim::Unknown);
            // What has no name of ours is in no lease's way.
            let strays: Vec<_> = unknown
                .filter_map(|(found, _)| PartName::parse(found.path.to_str()?))
                .collect();
            for part in &strays {
                tracing::warn!(%part, "this journal part is not of this catalog's history; it is kept under journal/strays");
            }
            self.journal.set_aside(&strays).await?;
        }
        Ok(())
    }

    async fn look_through(
        &self,
        place: Place,
        mut pages: Pages,
        now: SystemTime,
        act: Act,
        survey: &mut Survey,
    ) -> Result<()> {
        while let Some(page) = pages.try_next().await? {
            let pass = match act {
                Act::Look => None,
                Act::Litter | Act::All => self.hold.pass(),
            };
            survey.put_off |= act != Act::Look && pass.is_none();
            let claims = self.claims(place, &page).await?;
            for (found, claim) in page.iter().zip(claims) {
                let age = now.duration_since(found.modified).ok();
                let may_go = survey.count(place, found, claim, unknown_may_go(age));
                let goes = match act {
                    Act::Look => false,
                    Act::Litter => claim == Claim::Litter,
                    Act::All => may_go,
                };
                if goes && pass.is_some() {
                    self.remove(place, found).await?;
                }
            }
        }
        Ok(())
    }

    /// One for each, in order.
    async fn claims(&self, place: Place, page: &[Found]) -> Result<Vec<Claim>> {
        let named: Vec<_> = page.iter().map(|found| place.named(&found.path)).collect();
        let asked: Vec<_> = named.iter().flatten().cloned().collect();
        let mut known = self.catalog.claims(asked, self.keep).await?.into_iter();
        let claim = |named: Option<Named>| match named {
            None => Claim::Unknown,
            Some(_) => known.next().unwrap_or(Claim::Held),
        };
        Ok(named.into_iter().map(claim).collect())
    }

    async fn remove(&self, place: Place, found: &Found) -> Result<()> {
        tracing::debug!(object = place.shown(&found.path), "removed");
        match place {
            Place::Blobs => self.blobs.remove(found).await,
            Place::Journal => self.journal.discard(found).await,
        }
    }
}

impl Survey {
    /// Counts it where it belongs; whether this alone may take it away.
    fn count(&mut self, place: Place, found: &Found, claim: Claim, old: bool) -> bool {
        let tally = match claim {
            Claim::Held => return false,
            Claim::Due(due) => self.due.entry(due).or_default(),
            Claim::Litter => &mut self.litter,
            Claim::Unknown if old => &mut self.unknown,
            Claim::Unknown => &mut self.young,
        };
        tally.add(found.bytes);
        if claim == Claim::Unknown && self.first_unknown.len() < FIRST {
            self.first_unknown.push(place.shown(&found.path));
        }
        match claim {
            Claim::Litter => true,
            Claim::Unknown => old,
            Claim::Held | Claim::Due(_) => false,
        }
    }
}
