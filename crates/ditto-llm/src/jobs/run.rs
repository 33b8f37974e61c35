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
use super::stop::Stop;
use super::turn::{self, Hopeless, Room, Standing, Turn, Verdict};
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
    /// A batch was past its window and was cancelled; lines without an answer go out again.
    Cancelled {
        /// Whose it is.
        shard: &'a Shard,
        /// The batch.
        batch: &'a str,
    },
    /// The provider says why a batch has failed as a whole, why there is none, or why its results cannot
    /// be had.
    Refused {
        /// Whose it is.
        shard: &'a Shard,
        /// A code and a sentence, as far as there are any.
        why: &'a str,
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
    /// Whether these shards have batches that will end cannot be found out: look at the provider's, then
    /// [`Job::adopt`] or [`Job::create_again`]. Or their batches have ended, and the results are gone: get
    /// them back and run again, or [`Job::create_again`]. All others are settled.
    NeedsDecision(Vec<u32>),
    /// Of [`Job::advance`] and [`Job::collect`]: now only waiting helps.
    Underway,
    /// Of [`Job::collect`]: nothing is under way at the provider; whether lines are left is told by
    /// [`Summary::unfinished`](super::Summary::unfinished).
    Idle,
    /// Somebody asked it to stop.
    Stopped,
}

/// How far a run goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reach {
    /// Until every line has its result.
    End,
    /// As far as it gets without waiting for batches.
    NoWait,
    /// The same, and nothing is sent.
    Collect,
}

/// What is known of a shard only as long as the process lives.
#[derive(Debug, Default)]
pub(super) struct Pace {
    pub(super) not_before: i64,
    pub(super) failures: u32,
    pub(super) looks: Vec<Look>,
    /// Since when what does not agree is looked at again.
    pub(super) disagrees_since: Option<i64>,
    /// When the window of its batch ended, which has not.
    pub(super) window_ended: Option<i64>,
    /// When its batch was first cancelled for that.
    pub(super) cancelled_at: Option<i64>,
    /// Its results are gone: a person decides, and this run leaves it alone.
    is_left: bool,
}

pub(super) struct Runner<'a, F> {
    pub(super) job: &'a mut Job,
    pub(super) provider: &'a Provider,
    pub(super) observer: F,
    pub(super) paces: BTreeMap<u32, Pace>,
    pub(super) full_until: i64,
    /// When the provider was last heard.
    pub(super) heard: i64,
    /// Since when calls have failed, if the last one did.
    away_since: Option<i64>,
    reach: Reach,
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
        self.run_to(Reach::End, provider, observer).await
    }

    /// As [`Job::run`], as far as it gets without waiting for batches: each is looked at once, what has
    /// ended is fetched, and what the provider has room for is sent.
    ///
    /// # Errors
    ///
    /// As [`Job::run`].
    pub async fn advance(
        &mut self,
        provider: &Provider,
        observer: impl FnMut(&Event<'_>),
    ) -> Result<Ended> {
        self.run_to(Reach::NoWait, provider, observer).await
    }

    /// Looks at each open batch once and fetches what has ended. Nothing is sent.
    ///
    /// # Errors
    ///
    /// As [`Job::run`].
    pub async fn collect(
        &mut self,
        provider: &Provider,
        observer: impl FnMut(&Event<'_>),
    ) -> Result<Ended> {
        self.run_to(Reach::Collect, provider, observer).await
    }

    async fn run_to(
        &mut self,
        reach: Reach,
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
            away_since: None,
            reach,
        };
        runner.run().await
    }
}

impl<F: FnMut(&Event<'_>)> Runner<'_, F> {
    async fn run(mut self) -> Result<Ended> {
        let stop = self.job.stop.clone();
        loop {
            let turn = self.turn();
            if stop.is_asked() {
                return Ok(Ended::Stopped);
            }
            match turn {
                Turn::WaitUntil(_) if !self.waits() => return Ok(Ended::Underway),
                Turn::RoundOver if self.reach == Reach::Collect => {
                    return Ok(self.ended_as(Ended::Idle));
                }
                Turn::RoundOver => {
                    if !self.next_round()? {
                        return Ok(self.end(&stop).await);
                    }
                }
                // What costs money is not broken off: its outcome would have to be looked for.
                Turn::Create(_) | Turn::Join(_) => self.take(turn).await?,
                Turn::Upload(_)
                | Turn::Look(_)
                | Turn::Poll(_)
                | Turn::Fetch(_)
                | Turn::WaitUntil(_) => {
                    tokio::select! {
                        biased;
                        () = stop.asked() => return Ok(Ended::Stopped),
                        done = self.take(turn) => done?,
                    }
                }
            }
            // Whoever reads the events as a stream holds no more of them than one turn tells.
            tokio::task::yield_now().await;
        }
    }

    async fn take(&mut self, turn: Turn) -> Result<()> {
        match turn {
            Turn::Upload(shard) => self.upload(shard).await?,
            Turn::Create(shard) => self.create(shard).await?,
            Turn::Look(shard) => self.look(shard).await?,
            Turn::Poll(shard) => self.poll(shard).await?,
            Turn::Fetch(shard) => self.fetch(shard).await?,
            Turn::Join(shard) => self.join(shard).await?,
            Turn::WaitUntil(time) => self.wait_until(time).await,
            // The end of a round is no shard's.
            Turn::RoundOver => {}
        }
        Ok(())
    }

    /// Whether anything is waited for: batches only by a run to the end, what does not agree after
    /// the end of a batch by everybody, since only time tells.
    fn waits(&self) -> bool {
        let disagrees = |one: &Standing<'_>| {
            let pace = self.paces.get(&one.shard.number);
            !one.state.is_at_rest() && pace.is_some_and(|pace| pace.disagrees_since.is_some())
        };
        self.reach == Reach::End || self.standings().iter().any(disagrees)
    }

    pub(super) fn now(&self) -> i64 {
        unix_seconds(&*self.job.clock)
    }

    fn turn(&self) -> Turn {
        turn::next(&self.standings(), &self.room(), self.now())
    }

    fn standings(&self) -> Vec<Standing<'_>> {
        let round = self.job.rounds.last().expect("a job has a round");
        // A shard that was stuck in an earlier round goes on where it stopped.
        let shards = self.job.rounds.iter().flat_map(|one| &one.shards);
        shards
            .map(|shard| Standing {
                shard,
                state: self.job.ledger.state(shard.number),
                not_before: self
                    .paces
                    .get(&shard.number)
                    .map_or(0, |pace| pace.not_before),
            })
            .filter(|one| one.shard.round == round.number || !one.state.is_at_rest())
            .filter(|one| self.sends() || one.state.is_sent())
            .filter(|one| !self.is_left(one.shard.number))
            .collect()
    }

    /// Whether anything is done at the provider but looking and fetching.
    pub(super) fn sends(&self) -> bool {
        self.reach != Reach::Collect
    }

    fn is_left(&self, shard: u32) -> bool {
        self.paces.get(&shard).is_some_and(|pace| pace.is_left)
    }

    /// Nothing more is done with the shard by this run; the others go on.
    pub(super) fn leave(&mut self, shard: u32) {
        self.paces.entry(shard).or_default().is_left = true;
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

    pub(super) fn refused(&mut self, shard: &Shard, why: &str) {
        (self.observer)(&Event::Refused { shard, why });
    }

    pub(super) fn rest(&mut self, shard: u32, seconds: i64) {
        let until = self.now() + seconds;
        self.paces.entry(shard).or_default().not_before = until;
    }

    pub(super) fn heard(&mut self, shard: u32) {
        self.heard = self.now();
        self.away_since = None;
        self.paces.entry(shard).or_default().failures = 0;
    }

    /// A call failed: it is tried again if it passes, and the job stops if it does not.
    pub(super) fn weather(&mut self, shard: u32, what: &str, error: DittoError) -> Result<()> {
        let now = self.now();
        self.away_since.get_or_insert(now);
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
        let away_for = self.away_since.map(|since| self.now() - since);
        let why = turn::why_waiting(&self.standings(), &self.room(), self.now(), away_for);
        let why = match self.about_late() {
            Some(late) => format!("{why}; {late}"),
            None => why,
        };
        (self.observer)(&Event::Waiting { time, why: &why });
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
            Verdict::Wait => self.goes_on(&shard, &batch, since).await,
            Verdict::Over { end, limit } if turn::has_another_way(&shard, limit) => {
                let why = end.message.unwrap_or_default();
                self.refused(&shard, &why);
                self.step(&shard, Step::Full { why })?;
                self.over(&shard, limit)
            }
            Verdict::LookAgain(_) if self.still_disagrees(number, now) => {
                self.rest(number, turn::second_look_pause(&self.job.plan.profile));
                Ok(())
            }
            Verdict::LookAgain(end) | Verdict::Ended(end) | Verdict::Over { end, .. } => {
                // What has ended makes room.
                self.full_until = 0;
                if let Some(why) = end.failed_for() {
                    self.refused(&shard, why);
                }
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
        self.stop_at_a_hopeless_batch(&end)?;
        self.stop_at_a_bad_canary(&shard, &end)
    }

    /// Its lines would come back as they went, round after round. What else is under way is fetched by
    /// the next run.
    fn stop_at_a_hopeless_batch(&self, end: &End) -> Result<()> {
        // Only some lines: those are told by the file of errors.
        if !end.faults.is_empty() {
            return Ok(());
        }
        let (kind, what, next) = match turn::hopeless(end) {
            Some(Hopeless::Model) if self.job.plan.models.len() == 1 => (
                JobErrorKind::Refused,
                "the provider does not take the model",
                "name a model of the provider's in a new input, or wait until it has this one and run again",
            ),
            Some(Hopeless::Account) => (
                JobErrorKind::NotAllowed,
                "the account has no quota left",
                "look at the account's limits and bills, then run again",
            ),
            Some(Hopeless::Model) | None => return Ok(()),
        };
        let said = end.message.as_deref().unwrap_or_default();
        Err(JobError::new(kind, format!("{what}: {said}")).hint(format!(
            "nothing of this batch was bought, and all results are kept; {next}"
        )))
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
        let next = rounds::plan_next(
            &job.folder,
            &job.plan,
            &job.rounds,
            &job.ledger,
            &job.retries,
            job.max_enqueued_tokens,
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

    async fn end(self, stop: &Stop) -> Ended {
        let ended = self.ended_as(Ended::Settled);
        if ended == Ended::Settled {
            tokio::select! {
                () = stop.asked() => {}
                () = self.job.delete_inputs(self.provider) => {}
            }
        }
        ended
    }

    /// This end, unless a person must decide first.
    fn ended_as(&self, ended: Ended) -> Ended {
        let is_open = |shard: &&Shard| {
            self.is_left(shard.number) || matches!(self.job.state(shard), State::Stuck { .. })
        };
        let open = self.job.shards().filter(is_open);
        let open: Vec<u32> = open.map(|shard| shard.number).collect();
        match open.is_empty() {
            true => ended,
            false => Ended::NeedsDecision(open),
        }
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
