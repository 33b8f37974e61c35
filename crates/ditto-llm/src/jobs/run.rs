//! The loop: one step at a time, each in the ledger before anything follows from it.
//!
//! It may be stopped at any await and run again. What was under way then is found in the ledger: an
//! upload is made again, a create is looked for, everything else is read anew.

use std::collections::BTreeMap;
use std::time::Duration;

use super::class::Class;
use super::clock::{Clock, unix_seconds};
use super::error::{JobError, JobErrorKind, Result};
use super::join::{self, Source};
use super::look::Look;
use super::plan::Shard;
use super::provider::Provider;
use super::spool::{self, Outgoing};
use super::state::{End, RawFile, State, Step};
use super::turn::{self, Room, Standing, Turn, Verdict};
use super::{Job, rounds};
use crate::error::DittoError;
use crate::upload::FileUpload;
use crate::wire::{Batch, FileObject};

/// For so long the provider may be away before the job stops, in seconds. Batches go on without us.
pub(super) const PATIENCE: i64 = 24 * 3600;

/// A file that the provider still works on is waited for so often, ten seconds apart.
const MAX_PENDING: u32 = 60;

/// What happens, for whoever watches.
#[derive(Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A shard has gone a step further.
    Stepped {
        /// Which.
        shard: &'a Shard,
        /// How far it is now.
        state: &'a State,
    },
    /// The provider told how a batch stands.
    Polled {
        /// Whose it is.
        shard: &'a Shard,
        /// How it stands.
        batch: &'a Batch,
    },
    /// A call failed in passing and is tried again.
    Weather {
        /// What was tried.
        what: &'a str,
        /// Why it failed.
        error: &'a DittoError,
    },
    /// Nothing can be done for so long.
    Waiting {
        /// How long.
        time: Duration,
        /// Why.
        why: &'a str,
    },
    /// Lines go into another round.
    Round {
        /// Its number.
        number: u32,
        /// Its lines.
        lines: u64,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Every line has its result.
    Settled,
    /// Whether these shards have batches cannot be found out: look at the provider's, then
    /// [`Job::adopt`] or [`Job::create_again`]. All others are settled.
    NeedsDecision(Vec<u32>),
}

/// What is known of a shard only as long as the process lives.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pub(super) not_before: i64,
    pub(super) failures: u32,
    pub(super) looks: Vec<Look>,
    /// Since when what does not agree is looked at again.
    disagrees_since: Option<i64>,
}

pub(super) struct Runner<'a, F> {
    pub(super) job: &'a mut Job,
    pub(super) provider: &'a Provider,
    pub(super) observer: F,
    pub(super) paces: BTreeMap<u32, Pace>,
    pub(super) full_until: i64,
    /// When the provider was last heard.
    pub(super) heard: i64,
}

impl Job {
    /// Runs until every line has its result, or nothing more can be done. The future may be dropped
    /// at any time; batches at the provider go on, and the next run finds them.
    ///
    /// # Errors
    ///
    /// What the provider refuses for good, an input that has changed, a disk that refuses. What was
    /// recorded is kept; run again.
    pub async fn run(
        &mut self,
        provider: &Provider,
        observer: impl FnMut(&Event<'_>),
    ) -> Result<Ended> {
        let heard = unix_seconds(&*self.clock);
        let runner = Runner {
            job: self,
            provider,
            observer,
            paces: BTreeMap::new(),
            full_until: 0,
            heard,
        };
        runner.run().await
    }
}

impl<F: FnMut(&Event<'_>)> Runner<'_, F> {
    async fn run(mut self) -> Result<Ended> {
        loop {
            match self.turn() {
                Turn::Upload(shard) => self.upload(shard).await?,
                Turn::Create(shard) => self.create(shard).await?,
                Turn::Look(shard) => self.look(shard).await?,
                Turn::Poll(shard) => self.poll(shard).await?,
                Turn::Fetch(shard) => self.fetch(shard).await?,
                Turn::Join(shard) => self.join(shard).await?,
                Turn::WaitUntil(time) => self.wait_until(time).await,
                Turn::RoundOver => {
                    if !self.next_round()? {
                        return self.end().await;
                    }
                }
            }
        }
    }

    pub(super) fn now(&self) -> i64 {
        unix_seconds(&*self.job.clock)
    }

    fn turn(&self) -> Turn {
        let round = self.job.rounds.last().expect("a job has a round");
        // A shard that was stuck in an earlier round goes on where it stopped.
        let shards = self.job.rounds.iter().flat_map(|one| &one.shards);
        let all: Vec<_> = shards
            .map(|shard| Standing {
                shard,
                state: self.job.ledger.state(shard.number),
                not_before: self
                    .paces
                    .get(&shard.number)
                    .map_or(0, |pace| pace.not_before),
            })
            .filter(|one| one.shard.round == round.number || !one.state.is_at_rest())
            .collect();
        turn::next(&all, &self.room(), self.now())
    }

    fn room(&self) -> Room {
        Room {
            max_open: self.job.plan.profile.max_open_batches,
            max_tokens: self.max_tokens(),
            full_until: self.full_until,
        }
    }

    fn max_tokens(&self) -> Option<u64> {
        [
            self.job.plan.profile.max_enqueued_tokens,
            self.job.max_enqueued_tokens,
            self.job.ledger.learned().max_enqueued_tokens,
        ]
        .into_iter()
        .flatten()
        .min()
    }

    pub(super) fn shard(&self, number: u32) -> Shard {
        let mut shards = self.job.rounds.iter().flat_map(|round| &round.shards);
        let shard = shards.find(|shard| shard.number == number);
        shard.expect("turns are about shards of the job").clone()
    }

    pub(super) fn step(&mut self, shard: &Shard, step: Step) -> Result<()> {
        self.job.ledger.step(shard.number, step)?;
        let state = self.job.ledger.state(shard.number);
        (self.observer)(&Event::Stepped { shard, state });
        let pace = self.paces.entry(shard.number).or_default();
        (pace.not_before, pace.failures) = (0, 0);
        Ok(())
    }

    pub(super) fn rest(&mut self, shard: u32, seconds: i64) {
        let until = self.now() + seconds;
        self.paces.entry(shard).or_default().not_before = until;
    }

    pub(super) fn heard(&mut self, shard: u32) {
        self.heard = self.now();
        self.paces.entry(shard).or_default().failures = 0;
    }

    /// A call failed: it is tried again if it passes, and the job stops if it does not.
    pub(super) fn weather(&mut self, shard: u32, what: &str, error: DittoError) -> Result<()> {
        let now = self.now();
        let failures = self.paces.get(&shard).map_or(0, |pace| pace.failures);
        if !turn::may_pass(&error, failures) || now - self.heard > PATIENCE {
            return Err(JobError::provider(what, error));
        }
        (self.observer)(&Event::Weather {
            what,
            error: &error,
        });
        let profile = &self.job.plan.profile;
        let pace = self.paces.entry(shard).or_default();
        pace.not_before = now + turn::weather_pause(profile, pace.failures, error.retry_after());
        pace.failures += 1;
        Ok(())
    }

    async fn wait_until(&mut self, time: i64) {
        let seconds = (time - self.now()).max(1).unsigned_abs();
        let time = Duration::from_secs(seconds);
        let why = match self.full_until > self.now() {
            true => "the provider is full",
            false => "batches are running",
        };
        (self.observer)(&Event::Waiting { time, why });
        self.job.clock.sleep(time).await;
    }

    /// If we stop in here, the file may be there twice. It costs nothing, and goes by itself.
    async fn upload(&mut self, number: u32) -> Result<()> {
        let shard = self.shard(number);
        let outgoing = {
            let (plan, folder, shard) = (
                self.job.plan.clone(),
                self.job.folder.clone(),
                shard.clone(),
            );
            blocking(move || spool::prepare(&plan, &shard, &folder)).await?
        };
        self.step(&shard, Step::Upload)?;
        let profile = &self.job.plan.profile;
        let upload = match outgoing {
            Outgoing::Input(parts) => FileUpload::from_parts(&self.job.plan.input.path, parts),
            Outgoing::Copy => FileUpload::from_path(shard.spool_path(&self.job.folder)),
        };
        let name = format!("{}-{number:06}.jsonl", self.job.plan.key);
        let upload = upload.filename(name).purpose(&profile.purpose);
        match self.provider.files.upload(upload).await {
            Ok(file) => {
                self.heard(number);
                let id = file.id.clone();
                until_processed(self.provider, &*self.job.clock, file).await?;
                self.step(&shard, Step::Uploaded { file: id })
            }
            Err(error) => self.weather(number, "cannot upload a shard", error),
        }
    }

    async fn poll(&mut self, number: u32) -> Result<()> {
        let shard = self.shard(number);
        let State::Open { batch, since, .. } = self.job.ledger.state(number).clone() else {
            return Ok(());
        };
        let now = self.now();
        let open_for = now - since;
        let batch = match self.provider.batches.retrieve(&batch).await {
            Ok(answer) => answer.batch,
            // One that was just created, or a look that went to a part which does not know it yet.
            Err(error) if error.status() == Some(404) && self.still_disagrees(number, now) => {
                self.rest(number, turn::second_look_pause(&self.job.plan.profile));
                return Ok(());
            }
            Err(error) => return self.weather(number, "cannot look at a batch", error),
        };
        self.heard(number);
        (self.observer)(&Event::Polled {
            shard: &shard,
            batch: &batch,
        });
        match turn::judge(&batch, &self.job.plan.profile, now) {
            Verdict::Wait => {
                let pause = turn::poll_pause(&self.job.plan.profile, open_for, fastrand::f64());
                self.rest(number, pause);
                self.paces.entry(number).or_default().disagrees_since = None;
                Ok(())
            }
            Verdict::Full { why, limit } => {
                self.step(&shard, Step::Full { why })?;
                self.full(&shard, limit)
            }
            Verdict::LookAgain(_) if self.still_disagrees(number, now) => {
                self.rest(number, turn::second_look_pause(&self.job.plan.profile));
                Ok(())
            }
            Verdict::LookAgain(end) | Verdict::Ended(end) => {
                // What has ended makes room.
                self.full_until = 0;
                self.step(&shard, Step::Ended { end })
            }
        }
    }

    pub(super) fn still_disagrees(&mut self, shard: u32, now: i64) -> bool {
        let grace = self.job.plan.profile.grace_seconds.cast_signed();
        let pace = self.paces.entry(shard).or_default();
        now - *pace.disagrees_since.get_or_insert(now) < grace
    }

    async fn join(&mut self, number: u32) -> Result<()> {
        let shard = self.shard(number);
        let State::Fetched { end, raw, .. } = self.job.ledger.state(number).clone() else {
            return Ok(());
        };
        let source = |raw: &RawFile| Source {
            kind: raw.kind,
            path: shard.raw_path(&self.job.folder, raw.kind.name()),
        };
        let sources: Vec<_> = raw.iter().map(source).collect();
        let absent = match end.status.as_str() {
            "expired" => Class::Expired,
            "cancelled" | "failed" => Class::Cancelled,
            _ => Class::Missing,
        };
        let joined = {
            let (plan, folder, shard) = (
                self.job.plan.clone(),
                self.job.folder.clone(),
                shard.clone(),
            );
            blocking(move || join::join(&plan, &shard, &folder, &sources, absent)).await?
        };
        self.step(&shard, Step::Joined { joined })?;
        // A copy of the lines is of no more use; the runs are.
        let _ = std::fs::remove_file(shard.spool_path(&self.job.folder));
        self.stop_at_a_bad_canary(&shard, &end)
    }

    fn stop_at_a_bad_canary(&self, shard: &Shard, end: &End) -> Result<()> {
        let State::Joined { joined, .. } = self.job.ledger.state(shard.number) else {
            return Ok(());
        };
        if !shard.canary || self.job.canary_is_fine || joined.answered() * 2 >= shard.lines {
            return Ok(());
        }
        let mut classes: Vec<_> = joined
            .classes
            .iter()
            .filter(|(class, _)| !class.is_answer())
            .collect();
        classes.sort_by_key(|(_, lines)| std::cmp::Reverse(**lines));
        let most = classes.first().map_or("", |(class, _)| class.as_str());
        let why = end
            .message
            .as_ref()
            .map_or(String::new(), |why| format!("; the provider says: {why}"));
        Err(JobError::new(
            JobErrorKind::Refused,
            format!(
                "{} of the first {} lines were answered, most of the others are {most}{why}",
                joined.answered(),
                shard.lines
            ),
        )
        .hint("only these lines were sent; mend the input under another name, or go on if that is as it should be"))
    }

    /// Plans another round; false if there is nothing to send again.
    fn next_round(&mut self) -> Result<bool> {
        for shard in self.job.rounds.iter().flat_map(|round| &round.shards) {
            if let State::Joined { end, .. } = self.job.ledger.state(shard.number) {
                self.stop_at_a_bad_canary(shard, &end.clone())?;
            }
        }
        let job = &mut *self.job;
        let max_tokens = [
            job.max_enqueued_tokens,
            job.ledger.learned().max_enqueued_tokens,
        ];
        let next = rounds::plan_next(
            &job.folder,
            &job.plan,
            &job.rounds,
            &job.ledger,
            &job.retries,
            max_tokens.into_iter().flatten().min(),
        )?;
        let Some(round) = next else { return Ok(false) };
        let lines = round.shards.iter().map(|shard| shard.lines).sum();
        (self.observer)(&Event::Round {
            number: round.number,
            lines,
        });
        job.rounds.push(round);
        Ok(true)
    }

    async fn end(self) -> Result<Ended> {
        let shards: Vec<Shard> = self
            .job
            .rounds
            .iter()
            .flat_map(|round| round.shards.clone())
            .collect();
        let stuck: Vec<u32> = shards
            .iter()
            .filter(|shard| matches!(self.job.ledger.state(shard.number), State::Stuck { .. }))
            .map(|shard| shard.number)
            .collect();
        if !stuck.is_empty() {
            return Ok(Ended::NeedsDecision(stuck));
        }
        for shard in &shards {
            if let State::Joined { file, .. } = self.job.ledger.state(shard.number)
                && self.job.plan.profile.keeps_input
            {
                // Ours, and of no more use. One that stays expires by itself.
                let _ = self.provider.files.delete(file).await;
            }
        }
        Ok(Ended::Settled)
    }
}

/// Some providers look at a file before it can be used.
async fn until_processed(
    provider: &Provider,
    clock: &dyn Clock,
    mut file: FileObject,
) -> Result<()> {
    for _ in 0..MAX_PENDING {
        if !matches!(file.status.as_deref(), Some("pending" | "running")) {
            return Ok(());
        }
        clock.sleep(Duration::from_secs(10)).await;
        match provider.files.retrieve(&file.id).await {
            Ok(now) => file = now,
            Err(error) if error.is_transient() => {}
            Err(error) => return Err(JobError::provider("cannot look at an uploaded file", error)),
        }
    }
    Ok(())
}

/// Work on files, beside the threads that wait for the network.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(e) => Err(JobError::new(
            JobErrorKind::Unexpected,
            format!("a task failed: {e}"),
        )),
    }
}
