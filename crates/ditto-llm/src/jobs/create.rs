//! The step that costs money, and what is done when nobody knows whether it was taken.

use super::error::{JobError, Result};
use super::look::{Listed, Look, METADATA_KEY, Resolution, Wanted};
use super::plan::Shard;
use super::provider::Provider;
use super::run::{Event, PATIENCE, Runner};
use super::state::{State, Step};
use super::turn::{self, Refusal};
use crate::batches::{BatchCreateRequest, CreateOptions};
use crate::error::DittoError;
use crate::wire::Batch;

/// Pages of a list that are read to find one batch: a hundred thousand batches are nobody's.
const MAX_PAGES: usize = 1_000;

impl<F: FnMut(&Event<'_>)> Runner<'_, F> {
    /// What the shard's batch is known by. One that failed before anything ran is left behind with
    /// its key.
    fn key(&self, shard: u32) -> String {
        let attempt = self.job.ledger.spent(shard).len();
        format!("{}-{shard}-{attempt}", self.job.plan.key)
    }

    /// The step that costs money. If we stop after the intent, the next run looks for the batch.
    pub(super) async fn create(&mut self, number: u32) -> Result<()> {
        let shard = self.shard(number);
        let State::Uploaded { file } = self.job.ledger.state(number).clone() else {
            return Ok(());
        };
        let (plan, key) = (&self.job.plan, self.key(number));
        let metadata = plan
            .profile
            .metadata
            .then(|| [(METADATA_KEY.to_owned(), key.clone())].into());
        let request = BatchCreateRequest {
            input_file_id: file,
            endpoint: plan.profile.spelled(&plan.endpoint),
            completion_window: plan.window.clone(),
            metadata,
            provider_options: None,
        };
        let options = match plan.profile.idempotency {
            true => CreateOptions::default().idempotency_key(key),
            false => CreateOptions::default(),
        };
        let at = self.now();
        self.step(&shard, Step::Create { at })?;
        self.paces.entry(number).or_default().looks.clear();
        match self.provider.batches.create_with(request, options).await {
            Ok(created) => {
                self.heard(number);
                let (batch, at) = (created.batch.id, self.now());
                self.step(&shard, Step::Created { batch, at })?;
                self.rest(
                    number,
                    turn::poll_pause(&self.job.plan.profile, 0, fastrand::f64()),
                );
                Ok(())
            }
            Err(error) => self.not_created(&shard, error),
        }
    }

    fn not_created(&mut self, shard: &Shard, error: DittoError) -> Result<()> {
        let why = error
            .to_string()
            .lines()
            .next()
            .unwrap_or_default()
            .to_owned();
        match turn::refusal(&error) {
            // The ledger has the intent; the next turn looks.
            Refusal::Unknown => {
                (self.observer)(&Event::Weather {
                    what: "cannot tell whether a batch was created",
                    error: &error,
                });
                Ok(())
            }
            Refusal::Over { why, limit } if turn::has_another_way(shard, limit) => {
                self.refused(shard, &why);
                self.step(shard, Step::NotCreated { why })?;
                self.over(shard, limit)
            }
            Refusal::Passing(asked) => {
                let failures = self
                    .paces
                    .get(&shard.number)
                    .map_or(0, |pace| pace.failures);
                self.step(shard, Step::NotCreated { why })?;
                let pause = turn::weather_pause(&self.job.plan.profile, failures, asked);
                self.rest(shard.number, pause);
                self.paces.entry(shard.number).or_default().failures = failures + 1;
                (self.observer)(&Event::Weather {
                    what: "cannot create a batch",
                    error: &error,
                });
                match self.now() - self.heard > PATIENCE {
                    true => Err(JobError::provider("cannot create a batch", error)),
                    false => Ok(()),
                }
            }
            Refusal::FileGone => self.step(shard, Step::FileGone),
            Refusal::Final | Refusal::Over { .. } => {
                self.step(shard, Step::NotCreated { why })?;
                Err(JobError::provider("cannot create a batch", error))
            }
        }
    }

    /// There was an intent, and no answer was recorded.
    pub(super) async fn look(&mut self, number: u32) -> Result<()> {
        let shard = self.shard(number);
        let State::Creating { file, at } = self.job.ledger.state(number).clone() else {
            return Ok(());
        };
        let profile = &self.job.plan.profile;
        if profile.idempotency {
            let why = "the provider gives the same batch for the same key".to_owned();
            return self.step(&shard, Step::NotCreated { why });
        }
        let key = self.key(number);
        let wanted = Wanted {
            key: &key,
            file: &file,
            intent_at: at,
            lists_new_at_once: profile.lists_new_at_once,
            appears_seconds: profile.appears_seconds,
        };
        let looks = self.paces.get(&number).map_or(&[][..], |pace| &pace.looks);
        match wanted.resolve(looks) {
            Resolution::Adopt(batch) => {
                let at = self.now();
                self.step(&shard, Step::Adopted { batch, at })
            }
            Resolution::Lost => {
                let times: Vec<_> = looks.iter().map(|look| format!("{look:?}")).collect();
                let why = format!("it is in no list: {}", times.join(", "));
                self.step(&shard, Step::NotCreated { why })
            }
            Resolution::CannotTell(why) => self.step(&shard, Step::Stuck { why }),
            Resolution::LookAt(time) if time > self.now() => {
                let seconds = time - self.now();
                self.rest(number, seconds);
                Ok(())
            }
            Resolution::LookAt(_) => self.take_look(number, &wanted).await,
        }
    }

    async fn take_look(&mut self, number: u32, wanted: &Wanted<'_>) -> Result<()> {
        let at = self.now();
        let spent = self.job.ledger.spent(number).to_vec();
        let lists = self.job.plan.profile.lists;
        let look = match find(self.provider, lists, &spent, wanted).await {
            Ok(found) => Look::Complete { at, found },
            Err(error) if matches!(error.status(), Some(404 | 405 | 501)) => Look::Impossible {
                why: format!("the provider does not list its batches: {error}"),
            },
            Err(error @ DittoError::InvalidResponse(_)) => Look::Impossible {
                why: format!("the provider's list cannot be read: {error}"),
            },
            Err(error) => return self.weather(number, "cannot list the batches", error),
        };
        self.heard(number);
        self.paces.entry(number).or_default().looks.push(look);
        Ok(())
    }
}

/// Looks for a batch on all pages back to before its intent, past those that are `spent`.
async fn find(
    provider: &Provider,
    lists: bool,
    spent: &[String],
    wanted: &Wanted<'_>,
) -> Result<Option<String>, DittoError> {
    let unreadable = |why: &str| Err(DittoError::InvalidResponse(why.to_owned()));
    if !lists {
        return unreadable("its profile says so");
    }
    let (mut first, mut after) = (None, None);
    for _ in 0..MAX_PAGES {
        let page = provider.batches.list(Some(100), after.clone()).await?;
        let listed: Vec<_> = page.batches.iter().map(listed).collect();
        let fresh = |listed: &&Listed| wanted.matches(listed) && !spent.contains(&listed.id);
        if let Some(found) = listed.iter().find(fresh) {
            return Ok(Some(found.id.clone()));
        }
        first = first.or_else(|| listed.first().cloned());
        let is_past = match (&first, listed.last()) {
            (Some(first), Some(last)) => wanted.is_past(first, last),
            _ => false,
        };
        match page.after {
            Some(next) if !is_past && after.as_ref() != Some(&next) => after = Some(next),
            Some(_) if !is_past => return unreadable("the list does not go on"),
            Some(_) | None => return Ok(None),
        }
    }
    unreadable("the list has no end")
}

fn listed(batch: &Batch) -> Listed {
    let kept = batch.metadata.as_ref();
    Listed {
        id: batch.id.clone(),
        created_at: batch.created_at,
        key: kept.and_then(|kept| kept.get(METADATA_KEY).cloned()),
        input_file: batch.input_file_id.clone(),
    }
}
