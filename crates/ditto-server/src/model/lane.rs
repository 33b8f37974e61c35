//! May a lane send? The state of one (upstream, model), and what each outcome does to it.

use std::time::Duration;

use super::policy::FIRST_REFUSALS;

/// Why a lane does not send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pause {
    /// Nothing succeeds: time-outs, lost connections, 502, 503, 504, 529.
    Fault,
    /// 401 or 407: the key is not accepted.
    NotAllowed,
    /// 402: somebody has to pay first.
    Unpaid,
    /// 3xx: the API is somewhere else. It is not followed: the key would go along.
    Redirected,
    /// 403, 404, 405, 410 or 501 from something that is not the API.
    WrongAddress,
    /// 429 that names quota or billing.
    Quota,
    /// The API refused all of its first lines.
    Refused,
}

impl Pause {
    /// A sentence for people: what is wrong and what to look at.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Fault => "the upstream does not answer; lines wait and nothing is charged",
            Self::NotAllowed => "the upstream does not accept the key (401 or 407)",
            Self::Unpaid => "the upstream wants to be paid first (402)",
            Self::Redirected => {
                "the upstream redirects elsewhere (3xx); give the address that it redirects to"
            }
            Self::WrongAddress => {
                "what answers at this address is not the API; check the base URL and any proxy"
            }
            Self::Quota => "the upstream's quota or budget is used up; lines wait",
            Self::Refused => {
                "the API refused every one of the first lines; check the model name and the key's rights"
            }
        }
    }

    /// Waiting alone will hardly end it: somebody has to look at a key, an address or an account.
    pub fn needs_person(self) -> bool {
        match self {
            Self::Fault => false,
            Self::NotAllowed
            | Self::Unpaid
            | Self::Redirected
            | Self::WrongAddress
            | Self::Quota
            | Self::Refused => true,
        }
    }
}

/// What `policy` needs to know of a lane.
#[derive(Debug, Clone, Copy)]
pub struct LaneView {
    /// When a line last succeeded.
    pub last_success: Option<Duration>,
    /// Since when nothing has succeeded.
    pub fault_since: Option<Duration>,
    /// How long that may be so before lines are charged for it.
    pub patience: Duration,
    /// Refusals by the API so far.
    pub refusals: u32,
    /// Successes so far.
    pub successes: u64,
    /// The line's batch is large enough for a pattern to show.
    pub large_batch: bool,
    /// The lane has answered lines, now or in an earlier life of the batch: it can work.
    pub proven: bool,
    /// Another lane of its pool is open and has answered lines.
    pub another_is_well: bool,
}

impl LaneView {
    /// How long nothing has succeeded.
    pub fn at_fault_for(&self, now: Duration) -> Duration {
        self.fault_since
            .map_or(Duration::ZERO, |since| now.saturating_sub(since))
    }

    /// The lane was at fault for so long that its lines are charged again.
    pub fn out_of_patience(&self, now: Duration) -> bool {
        self.fault_since
            .is_some_and(|since| now.saturating_sub(since) > self.patience)
    }

    /// All answers so far were refusals, and there were enough of them to tell. Where another lane works
    /// one is enough: that one has the last word on the line.
    pub fn only_refusals(&self) -> bool {
        let enough = self.large_batch && self.refusals + 1 >= FIRST_REFUSALS;
        self.successes == 0 && (enough || self.another_is_well)
    }
}

/// First pause of a lane at fault, doubled each time up to [`PAUSE_CAP`].
const PAUSE_BASE: Duration = Duration::from_millis(250);
/// So that a lane is back within five seconds of its upstream, the time of an answer among them.
const PAUSE_CAP: Duration = Duration::from_secs(4);
/// A refused key or an empty account does not come back by itself within seconds.
const CLOSED_CAP: Duration = Duration::from_secs(60);

/// The changing state of a lane.
#[derive(Debug, Clone, Default)]
pub struct LaneState {
    last_success: Option<Duration>,
    fault_since: Option<Duration>,
    paused: Option<Paused>,
    refusals: u32,
    successes: u64,
    /// Failures since something was answered.
    failures: u32,
}

/// A pause under way.
#[derive(Debug, Clone, Copy)]
pub struct Paused {
    /// Why.
    pub pause: Pause,
    /// Then one line is sent as a probe.
    pub until: Duration,
    /// Pauses in a row.
    pub count: u32,
}

/// What a lane allows right now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gate {
    /// Up to its limit.
    Open,
    /// One line, to see whether the upstream is back.
    Probe,
    /// Nothing before this time.
    ClosedUntil(Duration),
}

impl LaneState {
    /// What the lane allows.
    pub fn gate(&self, now: Duration) -> Gate {
        match self.paused {
            None => Gate::Open,
            Some(paused) if now >= paused.until => Gate::Probe,
            Some(paused) => Gate::ClosedUntil(paused.until),
        }
    }

    /// The pause under way, if any.
    pub fn paused(&self) -> Option<Paused> {
        self.paused
    }

    /// Since when nothing has succeeded.
    pub fn fault_since(&self) -> Option<Duration> {
        self.fault_since
    }

    /// Answers that went to the output file so far.
    pub fn successes(&self) -> u64 {
        self.successes
    }

    /// For [`super::policy::decide`].
    pub fn view(&self, patience: Duration, large_batch: bool, worked_before: bool) -> LaneView {
        LaneView {
            last_success: self.last_success,
            fault_since: self.fault_since,
            patience,
            refusals: self.refusals,
            successes: self.successes,
            large_batch,
            proven: worked_before || self.successes > 0,
            another_is_well: false,
        }
    }

    /// A line was answered: the lane is well, whatever it was before.
    pub fn succeeded(&mut self, now: Duration) {
        self.last_success = Some(now);
        self.fault_since = None;
        self.paused = None;
        self.successes += 1;
        self.failures = 0;
    }

    /// A line failed in a way that may be the lane's.
    pub fn failed(&mut self) {
        self.failures = self.failures.saturating_add(1);
    }

    /// How many did since something was answered.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// The API answered, if only with an error of the line: the lane is up.
    pub fn answered(&mut self) {
        self.fault_since = None;
        self.paused = None;
        self.failures = 0;
    }

    /// The API refused a line in a way that may mean all lines.
    pub fn refused(&mut self) {
        self.refusals += 1;
        self.answered();
    }

    /// Pauses the lane. Lines in flight together fail together: they are one pause. Whether it is a
    /// new one.
    pub fn pause(&mut self, pause: Pause, sent: Duration, now: Duration) -> bool {
        self.fault_since.get_or_insert(now);
        let count = match self.paused {
            Some(paused) if sent < paused.until => return false,
            Some(paused) => paused.count + 1,
            None => 0,
        };
        let cap = match pause {
            Pause::Fault => PAUSE_CAP,
            Pause::NotAllowed
            | Pause::Unpaid
            | Pause::Redirected
            | Pause::WrongAddress
            | Pause::Quota
            | Pause::Refused => CLOSED_CAP,
        };
        let length = PAUSE_BASE.saturating_mul(1 << count.min(16)).min(cap);
        self.paused = Some(Paused {
            pause,
            until: now + length,
            count,
        });
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn lines_that_fail_together_are_one_pause() {
        let mut lane = LaneState::default();
        for _ in 0..32 {
            lane.pause(Pause::Fault, at(0), at(100));
        }
        assert_eq!(lane.gate(at(100)), Gate::ClosedUntil(at(350)));
        assert_eq!(lane.gate(at(350)), Gate::Probe);
    }

    #[test]
    fn pauses_grow_to_their_cap_and_a_success_ends_them() {
        let mut lane = LaneState::default();
        let mut now = at(0);
        for _ in 0..20 {
            lane.pause(Pause::Fault, now, now);
            let until = lane.paused().unwrap().until;
            assert!(until - now <= PAUSE_CAP);
            now = until;
        }
        assert_eq!(lane.fault_since(), Some(at(0)));
        lane.succeeded(now);
        assert_eq!(lane.gate(now), Gate::Open);
        assert_eq!(lane.fault_since(), None);
    }

    #[test]
    fn patience_is_counted_from_the_first_fault() {
        let mut lane = LaneState::default();
        lane.pause(Pause::Fault, at(0), at(1_000));
        let view = lane.view(at(5_000), false, false);
        assert!(!view.out_of_patience(at(6_000)));
        assert!(view.out_of_patience(at(6_001)));
    }
}
