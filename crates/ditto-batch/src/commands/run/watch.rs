//! Watches the engine until the job has ended, has to stop, or is stopped.

use std::time::{Duration, Instant};

use ditto_llm::wire::{Batch, BatchStatus};
use ditto_server::model::lane::Pause;
use ditto_server::{BatchRequest, LaneReport, Progress as BatchProgress, Server, Service};
use tokio::sync::oneshot;

use super::export;
use super::input::{Input, Reading};
use super::job::Job;
use super::progress::Progress;
use super::settings::Settings;
use super::summary::Summary;
use crate::exit;
use crate::failure::{Failure, MAKE_SPACE, Result};
use crate::signals::{Signal, Signals};

/// Everything in the job's folder belongs to one tenant.
pub(crate) const TENANT: &str = "local";
/// How often the bar moves.
const LOOK: Duration = Duration::from_millis(50);
/// A disk that refuses for this long will not be waited for.
const DISK_PATIENCE: Duration = Duration::from_secs(3);
/// So few lines may all be at fault themselves.
const FEW: usize = 20;

/// Results stay in the job's folder until they are exported, whenever that is: a job may be left for
/// a year between its last answer and the command that writes them out.
const RESULTS_STAY: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

/// Why the engine is stopped.
enum Stop {
    Ended(Box<BatchProgress>),
    Because(Failure),
}

/// Runs the job's batch in this process and exports what it gave.
pub(crate) async fn until_the_end(
    server: Server,
    job: &mut Job,
    input: &Input,
    mut reading: Reading<'_>,
) -> Result<Summary> {
    let started = Instant::now();
    let service = server.service();
    let (stop, stopped) = oneshot::channel::<()>();
    let (hand_over, handed_over) = oneshot::channel();
    let engine = server.run_engine(async {
        // A dropped sender means that watching is over, too.
        let _ = stopped.await;
    });
    let watched = async {
        let outcome = watch(&service, input, &mut reading).await;
        let progress = reading.progress;
        // Before anything is said: whoever reads that it stops may send the next one at once, and
        // two that come together are heard as one.
        let again = Again::after(&outcome)?;
        // Nobody takes it: then all this is over.
        let _ = hand_over.send(again);
        let ended = match outcome {
            Ok(Stop::Ended(ended)) => match reading.unchanged(job) {
                Ok(()) => {
                    progress.say("writing the results");
                    export::results(&service, &ended, job, reading.settings, started).await
                }
                Err(changed) => Err(changed),
            },
            Ok(Stop::Because(failure)) | Err(failure) => {
                if is_interruption(&failure) {
                    progress.say("stopping: lines in flight may finish; again to stop at once");
                }
                Err(failure)
            }
        };
        drop(stop);
        ended
    };
    let (drained, ended) = tokio::select! {
        both = async { tokio::join!(engine, watched) } => both,
        signal = at_once(handed_over) => return Err(interrupted(signal)),
    };
    let summary = ended.inspect_err(|failure| {
        if failure.exit == exit::REFUSED {
            job.discard();
        }
    })?;
    drained?;
    export::drop_data(job);
    Ok(summary)
}

async fn watch(service: &Service, input: &Input, reading: &mut Reading<'_>) -> Result<Stop> {
    let Reading {
        settings,
        progress,
        signals,
    } = reading;
    let batch = batch(service, input, settings, progress).await?;
    let mut patience = Patience::default();
    loop {
        let now = service.progress(TENANT, &batch.id).await?;
        let lanes = service.lanes();
        progress.show(&now, &lanes);
        if now.ended {
            return ended(now);
        }
        if let Some(trouble) = service.trouble() {
            let code = if trouble.input_changed {
                exit::CONFLICT
            } else {
                exit::UNEXPECTED
            };
            return Ok(Stop::Because(Failure::new(code, trouble.sentence)));
        }
        if let Some(reason) = service.stuck().into_iter().next() {
            return Ok(Stop::Because(Failure::new(exit::LOCAL_IO, reason)));
        }
        let answered = now
            .batch
            .request_counts
            .as_ref()
            .map_or(0, |counts| counts.completed);
        if let Some(failure) = patience.lost(service, &lanes, answered > 0, settings).await {
            return Ok(Stop::Because(failure));
        }
        tokio::select! {
            signal = signals.next() => return Ok(Stop::Because(interrupted(signal))),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// The job's batch: the one that its folder holds, else a new one. The folder is ours alone, so a
/// batch that a crash kept from being noted down is found by looking.
async fn batch(
    service: &Service,
    input: &Input,
    settings: &Settings,
    progress: &Progress,
) -> Result<Batch> {
    let listed = service.batches(TENANT, 1, None).await?;
    if let Some(batch) = listed.data.into_iter().next() {
        progress.say("resuming");
        refuse_another_deadline(&batch, settings.deadline)?;
        return Ok(batch);
    }
    let file = service
        .file_in_place(TENANT, &input.name, input.bytes)
        .await?;
    let endpoint = settings.endpoint_of(input)?;
    let request = BatchRequest {
        input_file_id: file.id,
        endpoint: endpoint.clone(),
        completion_window: "24h".to_owned(),
        lenient: Some(true),
        fill_model: settings.model.clone(),
        fill_endpoint: Some(endpoint),
        bare_lines: true,
        deadline: settings.deadline,
        output_expires_after: Some(RESULTS_STAY),
        ..BatchRequest::default()
    };
    Ok(service.create_batch(TENANT, request).await?)
}

/// The deadline counts from the job's beginning. Left out, it stays as it was.
fn refuse_another_deadline(batch: &Batch, given: Option<Duration>) -> Result<()> {
    let began = batch.created_at.unwrap_or_default();
    let before = batch.expires_at.map(|end| (end - began).unsigned_abs());
    let Some(now) = given.map(|given| given.as_secs()) else {
        return Ok(());
    };
    match before {
        Some(before) if before == now => Ok(()),
        Some(before) => Err(Failure::usage(format!(
            "this job began with --deadline {before}s and cannot get {now}s now"
        ))),
        None => Err(Failure::usage(
            "this job began without --deadline and cannot get one now",
        )),
    }
    .map_err(|failure| {
        failure.hint(
            "nothing was sent; leave it out to go on as the job began, or stop with Ctrl-C when you want: what is recorded is kept",
        )
    })
}

fn ended(now: BatchProgress) -> Result<Stop> {
    if now.batch.status != BatchStatus::Failed {
        return Ok(Stop::Ended(Box::new(now)));
    }
    let errors = now
        .batch
        .errors
        .map(|errors| errors.data)
        .unwrap_or_default();
    let broken = errors
        .iter()
        .any(|e| e.code.as_deref() == Some("internal_inconsistency"));
    let sentences: Vec<_> = errors
        .into_iter()
        .filter_map(|error| error.message)
        .collect();
    let code = if broken {
        exit::UNEXPECTED
    } else {
        exit::REFUSED
    };
    Ok(Stop::Because(
        Failure::new(
            code,
            format!("the input is refused: {}", sentences.join(" ")),
        )
        .hint("`ditto-batch check` names every fault; nothing was sent"),
    ))
}

/// What was recorded stays, whatever was under way.
pub(crate) fn interrupted(signal: Signal) -> Failure {
    let code = match signal {
        Signal::Interrupt => exit::INTERRUPTED,
        Signal::Terminate => exit::NOT_FINISHED,
    };
    Failure::new(code, "stopped before the end")
        .hint("what was recorded is kept; the same command goes on from here")
}

/// What a job waits for, and for how long.
#[derive(Debug, Default)]
struct Patience {
    disk_since: Option<Instant>,
}

impl Patience {
    /// Why waiting any longer makes no sense, if so.
    async fn lost(
        &mut self,
        service: &Service,
        lanes: &[LaneReport],
        begun: bool,
        settings: &Settings,
    ) -> Option<Failure> {
        if let Err(error) = service.ready().await {
            let since = *self.disk_since.get_or_insert_with(Instant::now);
            if since.elapsed() > DISK_PATIENCE {
                return Some(Failure::new(exit::LOCAL_IO, error.to_string()).hint(MAKE_SPACE));
            }
        } else {
            self.disk_since = None;
        }
        lanes
            .iter()
            .find_map(|lane| lane_lost(lane, begun, settings))
    }
}

fn lane_lost(lane: &LaneReport, begun: bool, settings: &Settings) -> Option<Failure> {
    let pause = lane.pause?;
    let given_up = lane
        .at_fault_for
        .is_some_and(|long| long > settings.give_up_after);
    let code = match pause {
        Pause::Fault | Pause::WrongAddress | Pause::Redirected => exit::AWAY,
        Pause::NotAllowed | Pause::Unpaid | Pause::Quota | Pause::Refused => exit::NOT_ALLOWED,
    };
    // A key that never worked will not begin to; one that did may come back. Of a few last lines
    // of a job it is they that may be at fault: the engine finds out.
    let hopeless = pause.needs_person() && lane.successes == 0 && !(begun && lane.waiting < FEW);
    (given_up || hopeless).then(|| {
        Failure::new(code, format!("model {}: {}", lane.model, pause.reason()))
            .hint(match pause {
                Pause::Refused => "the first lines were refused for good and will be in the error file; the others were not sent: mend it and run the same command again",
                _ => "no line was charged for it; mend it and run the same command again",
            })
    })
}

fn is_interruption(failure: &Failure) -> bool {
    [exit::INTERRUPTED, exit::NOT_FINISHED].contains(&failure.exit)
}

/// What ends the command at once, from the end of watching on.
struct Again {
    signals: Signals,
    /// The first signal drains, the second one ends at once.
    left: u8,
}

impl Again {
    fn after(outcome: &Result<Stop>) -> Result<Self> {
        let drains = match outcome {
            Ok(Stop::Because(failure)) | Err(failure) => is_interruption(failure),
            Ok(Stop::Ended(_)) => false,
        };
        Ok(Self {
            signals: Signals::new()?,
            left: if drains { 1 } else { 2 },
        })
    }
}

async fn at_once(handed_over: oneshot::Receiver<Again>) -> Signal {
    let Ok(Again { mut signals, left }) = handed_over.await else {
        return std::future::pending().await;
    };
    for _ in 1..left {
        signals.next().await;
    }
    signals.next().await
}
