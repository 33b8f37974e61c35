//! A lane that looks for its limits by itself, in front of an upstream that follows a script, in wall
//! time: held against a perfect client that knows the script. The same is held on a manual clock in
//! `model/throttle/tests`, at many more latencies and limits.
//!
//! These are the only tests that sleep: how much is answered in a time is what they are about.

use std::time::{Duration, Instant};

use ditto_sim::{Faults, Sim, SimConfig};

use super::rig::{Rig, TENANT, line, lines, sim, until};
use crate::config::Concurrency;
use crate::model::lane::Pause;

/// Answers against the ideal.
const ENOUGH: f64 = 0.90;
/// 429 and 5xx among all answers.
const FEW: f64 = 0.01;
/// Where the search for a limit ends.
const MOST: usize = 1024;
/// A lane is held against its ideal when so many seconds are over.
const SETTLES: f64 = 10.0;
/// After an outage the first answer comes within so long.
const BACK_WITHIN: Duration = Duration::from_secs(5);

/// A lane with more lines than it can send, and what was counted of it.
struct Run {
    name: &'static str,
    rig: Rig,
    id: String,
    lines: usize,
    /// By upstreams that are gone.
    answered_before: u64,
    counted: Counted,
}

/// What came in the seconds that count, and what a perfect client would have been answered.
#[derive(Debug, Clone, Copy, Default)]
struct Counted {
    answered: u64,
    errors: u64,
    ideal: f64,
}

impl Run {
    async fn start(name: &'static str, change: impl FnOnce(&mut SimConfig)) -> Self {
        Self::start_with(name, &lines(30_000), change).await
    }

    /// Its clock runs from the first request on.
    async fn start_with(
        name: &'static str,
        input: &[u8],
        change: impl FnOnce(&mut SimConfig),
    ) -> Self {
        let rig = Rig::with(change, |config| {
            config.upstreams[0].concurrency = Concurrency::UpTo(MOST);
            // Charged once, in the belief that it is its own fault, a line is sent again; twice it is lost.
            config.sending.attempts = 2;
        })
        .await;
        let id = rig.submit(input).await;
        until(rig.service(), "it is asked", async || {
            (rig.sim.stats().requests > 0).then_some(())
        })
        .await;
        Self {
            name,
            rig,
            id,
            lines: memchr::memchr_iter(b'\n', input).count(),
            answered_before: 0,
            counted: Counted::default(),
        }
    }

    fn sim(&self) -> &Sim {
        &self.rig.sim
    }

    fn set_capacity(&self, capacity: &str) {
        self.sim().set_capacity(Some(capacity.parse().unwrap()));
    }

    /// Answers, and refusals and failures, of this upstream.
    fn seen(&self) -> [u64; 2] {
        let stats = self.sim().stats();
        let errors = stats.by_status.iter();
        let errors = errors.filter(|(status, _)| matches!(status, 429 | 500..));
        [stats.answered, errors.map(|(_, count)| count).sum()]
    }

    /// So many seconds that do not count.
    async fn pass(&self, seconds: f64) {
        tokio::time::sleep(Duration::from_secs_f64(seconds)).await;
    }

    /// So many seconds in which a perfect client is answered at this rate.
    async fn count(&mut self, seconds: f64, ideal_per_second: f64) {
        let (begun, before) = (Instant::now(), self.seen());
        self.pass(seconds).await;
        let now = self.seen();
        let counted = &mut self.counted;
        counted.answered += now[0] - before[0];
        counted.errors += now[1] - before[1];
        counted.ideal += ideal_per_second * begun.elapsed().as_secs_f64();
    }

    /// Waits for one more answer; how long that took.
    async fn first_answer(&self) -> Duration {
        let (begun, [before, _]) = (Instant::now(), self.seen());
        until(self.rig.service(), "it is answered", async || {
            (self.seen()[0] > before).then_some(())
        })
        .await;
        begun.elapsed()
    }

    /// The upstream dies, for so many seconds, and comes back at the same address.
    async fn is_dead(&mut self, seconds: f64, change: impl FnOnce(&mut SimConfig)) {
        let address = self.sim().addr();
        let dead = std::mem::replace(&mut self.rig.sim, sim(|_| {}));
        self.answered_before += dead.stats().answered;
        dead.stop().await;
        self.pass(seconds).await;
        self.shows(Pause::Fault);
        self.rig.sim = sim(|sim| {
            sim.listen = Some(address);
            change(sim);
        });
    }

    /// The lane is paused, and says why.
    #[track_caller]
    fn shows(&self, pause: Pause) {
        let lanes = self.rig.service().lanes();
        let [lane] = &lanes[..] else {
            panic!("one lane: {lanes:?}")
        };
        assert_eq!(lane.pause, Some(pause), "{lane:?}");
        assert_eq!(lane.paused, Some(pause.reason()));
    }

    /// Enough answers, few errors, and each line has what it was answered or was never sent.
    async fn ends_full(self) {
        let Counted {
            answered,
            errors,
            ideal,
        } = self.counted;
        let share = answered as f64 / ideal;
        let error_share = errors as f64 / (answered + errors).max(1) as f64;
        let (name, lanes) = (self.name, self.rig.service().lanes());
        eprintln!("{name}: {share:.3} of ideal, {error_share:.4} errors");
        self.loses_nothing().await;
        assert!(share >= ENOUGH, "{share:.3} of ideal: {lanes:?}");
        assert!(error_share < FEW, "{error_share:.4} errors: {lanes:?}");
    }

    async fn loses_nothing(self) {
        let service = self.rig.service();
        service.cancel_batch(TENANT, &self.id).await.unwrap();
        let left = self.rig.ended(&self.id).await;
        left.is_conserved(self.lines);
        let lost: Vec<_> = (left.codes().into_iter())
            .filter(|code| code != "batch_cancelled")
            .collect();
        assert!(lost.is_empty(), "{lost:?}");
        let answered = self.answered_before + self.sim().stats().answered;
        assert_eq!(left.output.len() as u64, answered, "what was paid is kept");
        assert_eq!(self.sim().stats().answered_more_than_once, 0);
    }
}

fn thirty_seven(sim: &mut SimConfig) {
    sim.latency = "200ms".parse().unwrap();
    sim.capacity = Some("37:queue".parse().unwrap());
}

const OF_37: f64 = 37.0 / 0.2;
const OF_12: f64 = 12.0 / 0.2;

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form: a minute"]
async fn a_hidden_capacity_with_a_queue_is_found() {
    let mut run = Run::start("capacity 37", thirty_seven).await;
    run.pass(SETTLES).await;
    run.count(60.0, OF_37).await;
    run.ends_full().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form: a hundred seconds"]
async fn a_capacity_that_drops_and_returns_is_followed() {
    let mut run = Run::start("capacity 37, 12, 37", thirty_seven).await;
    run.pass(SETTLES).await;
    run.count(20.0, OF_37).await;
    run.set_capacity("12:queue");
    run.count(30.0, OF_12).await;
    run.set_capacity("37:queue");
    run.count(40.0, OF_37).await;
    run.ends_full().await;
}

/// Runs against a limit for so long.
async fn within(name: &'static str, limits: &str, input: &[u8], seconds: f64, ideal: f64) {
    let mut run = Run::start_with(name, input, |sim| {
        sim.latency = "200ms".parse().unwrap();
        sim.limits = limits.parse().unwrap();
    })
    .await;
    run.pass(SETTLES).await;
    run.count(seconds, ideal).await;
    run.ends_full().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form: three minutes"]
async fn twenty_requests_a_second_are_kept_to() {
    let input = lines(8_000);
    within("20 requests/s", "requests:20/1s", &input, 170.0, 20.0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form: a minute"]
async fn twenty_requests_a_second_that_each_answer_tells_are_kept_to() {
    let (input, limits) = (lines(8_000), "requests:20/1s:told");
    within("20 requests/s, told", limits, &input, 60.0, 20.0).await;
}

/// Requests of 200 tokens, those of their answers among them.
fn of_200_tokens(count: usize) -> Vec<u8> {
    let prompts = (1..=count).map(|number| line(number, &format!("{number:0>708}")));
    prompts.collect::<String>().into_bytes()
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form: three minutes"]
async fn tokens_of_a_minute_are_spread_over_it() {
    let input = of_200_tokens(8_000);
    within(
        "120,000 tokens/min",
        "tokens:120000/60s",
        &input,
        170.0,
        10.0,
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form: three minutes"]
async fn tokens_of_a_minute_that_each_answer_tells_are_spread_over_it() {
    let (input, limits) = (of_200_tokens(8_000), "tokens:120000/60s:told");
    within("120,000 tokens/min, told", limits, &input, 170.0, 10.0).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form: a minute and a half"]
async fn a_latency_that_grows_with_the_load_is_borne_while_it_pays() {
    let grows = |sim: &mut SimConfig| sim.latency = "load:100ms:5ms".parse().unwrap();
    let mut run = Run::start("latency 100 ms + 5 ms each", grows).await;
    run.pass(SETTLES).await;
    // A perfect client has as many in flight as it may.
    let most = MOST as f64;
    run.count(80.0, most / (0.1 + 0.005 * most)).await;
    run.ends_full().await;
}

/// A minute where somebody asks for it: what is learned of the lane is the same.
fn cold_start_seconds() -> f64 {
    let seconds = std::env::var("DITTO_COLD_START_SECONDS");
    seconds.map_or(20.0, |seconds| seconds.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form: a minute"]
async fn a_cold_start_of_nothing_but_503_burns_nothing() {
    let mut run = Run::start("cold start", |sim| {
        thirty_seven(sim);
        sim.faults = "503:1".parse().unwrap();
    })
    .await;
    run.pass(cold_start_seconds()).await;
    run.shows(Pause::Fault);
    let asked = run.sim().stats().requests;
    assert!(asked < 60, "{asked} requests");
    run.sim().set_faults(Faults::default());
    let first = run.first_answer().await;
    assert!(first < BACK_WITHIN, "first answer after {first:?}");
    run.pass(SETTLES).await;
    run.count(30.0, OF_37).await;
    run.ends_full().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form: a minute and a half"]
async fn a_dead_upstream_burns_nothing_and_is_back_within_five_seconds() {
    let mut run = Run::start("dead for 20 s", thirty_seven).await;
    run.pass(SETTLES).await;
    run.count(10.0, OF_37).await;
    run.is_dead(20.0, thirty_seven).await;
    let first = run.first_answer().await;
    assert!(first < BACK_WITHIN, "first answer after {first:?}");
    run.pass(SETTLES).await;
    run.count(30.0, OF_37).await;
    run.ends_full().await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form: a minute and a half"]
async fn a_key_that_is_not_accepted_pauses_the_lane_until_it_is() {
    let mut run = Run::start("401", |sim| {
        thirty_seven(sim);
        sim.faults = "401:1".parse().unwrap();
    })
    .await;
    run.pass(10.0).await;
    run.shows(Pause::NotAllowed);
    let asked = run.sim().stats().requests;
    assert!(asked < 30, "{asked} requests");
    run.sim().set_faults(Faults::default());
    run.first_answer().await;
    run.pass(SETTLES).await;
    run.count(30.0, OF_37).await;
    run.ends_full().await;
}

/// How long 20,000 lines of 20 ms take of which one in twenty is refused by chance, whatever is sent.
async fn refused_by_chance(concurrency: Concurrency) -> f64 {
    const LINES: usize = 20_000;
    let rig = Rig::with(
        |sim| {
            sim.latency = "20ms".parse().unwrap();
            sim.faults = "429:0.05".parse().unwrap();
        },
        |config| config.upstreams[0].concurrency = concurrency,
    )
    .await;
    let begun = Instant::now();
    let id = rig.submit(&lines(LINES)).await;
    let left = rig.ended(&id).await;
    let took = begun.elapsed().as_secs_f64();
    left.is_conserved(LINES);
    assert_eq!(left.output.len(), LINES);
    took
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "long form: a minute"]
async fn refusals_by_chance_hardly_slow_a_lane() {
    // The number that was shipped while they took a search down to one in flight.
    let fixed = refused_by_chance(Concurrency::Fixed(32)).await;
    let found = refused_by_chance(Concurrency::UpTo(MOST)).await;
    eprintln!("5 % refused by chance: {found:.1} s, {fixed:.1} s with 32 in flight");
    assert!(
        found < fixed * 1.3,
        "{found} s, {fixed} s with 32 in flight"
    );
}
