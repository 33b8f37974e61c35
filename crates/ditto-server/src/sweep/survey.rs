//! Looks through blobs and journal for what belongs to nobody.
//!
//! It lists a page first and asks the catalog then: ids come before bytes, so that what the catalog
//! does not know by then was never anybody's, or is nobody's any more. Stopped in between, nothing is
//! half done, and the next survey begins anew.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use futures_util::TryStreamExt;

use super::notice::Notified;
use super::{Sweeper, names};
use crate::catalog::Named;
use crate::error::Result;
use crate::folder::{Found, Pages, Tally};
use crate::journal::PartName;
use crate::model::litter::{Claim, Due, notice_is_over, unknown_is_old};

/// Unknown objects named in a report; the others are counted.
const FIRST: usize = 20;

/// What a survey does with what it finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Act {
    /// It only looks.
    Look,
    /// Litter goes.
    Litter,
    /// What is unknown is named, and goes too once it has been for long enough and is older than a
    /// day.
    Round,
    /// What is unknown goes once it is older than a day: a person asked for it.
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
    /// Of what is unknown, how many objects have gone.
    pub(crate) unknown_gone: u64,
    /// Some of what is unknown, by name.
    pub(crate) first_unknown: Vec<String>,
    /// A backup copies: what may go is still there.
    pub(crate) put_off: bool,
    notified: Notified,
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
        if act == Act::Round {
            // Small, and once a day: here and now, as its writing below.
            survey.notified = self.notice.read();
        }
        let (blobs, journal) = (self.blobs.found_below("")?, self.journal.found());
        let now = self.blobs.now().await?;
        let of_blobs = self.look_through(Place::Blobs, blobs, now, act, &mut survey);
        let of_blobs = of_blobs.await?;
        let now = self.journal.now().await?;
        let of_journal = self.look_through(Place::Journal, journal, now, act, &mut survey);
        let of_journal = of_journal.await?;
        if act == Act::Round {
            self.notice.write(&survey.notified)?;
        }
        of_blobs.and(of_journal)?;
        Ok(survey)
    }

    /// Litter among these blobs, which goes.
    pub(super) async fn blob_litter(&self, found: Pages) -> Result<()> {
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
            .await??;
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

    /// An error is that of a look which did not come to its end. Inside of it is that of an object
    /// which would not go: it holds up no other.
    async fn look_through(
        &self,
        place: Place,
        mut pages: Pages,
        now: SystemTime,
        act: Act,
        survey: &mut Survey,
    ) -> Result<Result<()>> {
        let mut refused = Ok(());
        while let Some(page) = pages.try_next().await? {
            let pass = match act {
                Act::Look => None,
                Act::Litter | Act::Round | Act::All => self.hold.pass(),
            };
            survey.put_off |= act != Act::Look && pass.is_none();
            let claims = self.claims(place, &page).await?;
            for (found, claim) in page.iter().zip(claims) {
                let may_go = survey.sees(act, place, found, claim, now);
                if !may_go || pass.is_none() {
                    continue;
                }
                match self.remove(place, found).await {
                    Ok(()) => survey.has_gone(place, found, claim),
                    Err(error) => refused = Err(error),
                }
            }
        }
        Ok(refused)
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
    /// Counts and names it; whether it may go.
    fn sees(
        &mut self,
        act: Act,
        place: Place,
        found: &Found,
        claim: Claim,
        now: SystemTime,
    ) -> bool {
        let is_old = unknown_is_old(now.duration_since(found.modified).ok());
        self.count(place, found, claim, is_old);
        match (act, claim) {
            (_, Claim::Held | Claim::Due(_)) | (Act::Look, _) => false,
            (Act::Litter | Act::Round | Act::All, Claim::Litter) => true,
            (Act::Litter, Claim::Unknown) => false,
            (Act::Round, Claim::Unknown) => self.notice_is_over(place, found, now) && is_old,
            (Act::All, Claim::Unknown) => is_old,
        }
    }

    /// Counts it where it belongs.
    fn count(&mut self, place: Place, found: &Found, claim: Claim, old: bool) {
        let tally = match claim {
            Claim::Held => return,
            Claim::Due(due) => self.due.entry(due).or_default(),
            Claim::Litter => &mut self.litter,
            Claim::Unknown if old => &mut self.unknown,
            Claim::Unknown => &mut self.young,
        };
        tally.add(found.bytes);
        if claim == Claim::Unknown && self.first_unknown.len() < FIRST {
            self.first_unknown.push(place.shown(&found.path));
        }
    }

    /// Names what is unknown; whether that was done long enough ago.
    fn notice_is_over(&mut self, place: Place, found: &Found, now: SystemTime) -> bool {
        // Two names that are no text may look the same.
        let is_text = found.path.to_str().is_some();
        is_text && notice_is_over(self.notified.name(&place.shown(&found.path), now))
    }

    fn has_gone(&mut self, place: Place, found: &Found, claim: Claim) {
        if claim == Claim::Unknown {
            self.unknown_gone += 1;
            self.notified.forget(&place.shown(&found.path));
        }
    }
}
