//! Lanes against scripted upstreams, each held against a perfect client that knows the script.

use std::time::Duration;

use super::world::{Beyond, Kind, Quota, SETTLED, Script, Seen, ms, run, run_lines, secs};
use crate::model::allowance::{Allowance, Left};
use crate::model::knee::{Load, Trip, Why};
use crate::model::lane::Pause;
use crate::model::throttle::{Room, Signal, Throttle};

/// As far as the search goes.
const MOST: usize = 1024;
/// Answers against the ideal.
const ENOUGH: f64 = 0.90;
/// Refusals and failures among all that came back.
const FEW: f64 = 0.01;

fn search() -> Throttle {
    Throttle::up_to(MOST)
}

/// After the first ten seconds: enough answers, few errors, and no line at fault.
#[track_caller]
fn assert_full(seen: &Seen, long: Duration, ideal: fn(Duration) -> f64) {
    let share = seen.of_ideal(SETTLED, long, ideal);
    let errors = seen.error_share(SETTLED, long);
    assert!(share >= ENOUGH, "{share:.3} of ideal: {:?}", seen.limits);
    assert!(errors < FEW, "{errors:.4} errors: {:?}", seen.limits);
    assert_eq!((seen.lost, seen.charged), (0, 0));
}

#[test]
fn a_hidden_capacity_with_a_queue_is_found() {
    for varies in [0.0, 0.3, 0.8] {
        let script = Script {
            varies,
            ..Script::new(|_| 37, |_| ms(200))
        };
        let seen = run(&script, search(), secs(120));
        assert_full(&seen, secs(120), |_| 37.0 / 0.2);
        let (_, last) = seen.limits.last().unwrap();
        assert!((34..=90).contains(last), "{last} in flight");
    }
}

#[test]
fn a_hidden_capacity_that_refuses_is_found() {
    for varies in [0.0, 0.5] {
        let script = Script {
            beyond: Beyond::IsRefused,
            varies,
            ..Script::new(|_| 37, |_| ms(200))
        };
        let seen = run(&script, search(), secs(120));
        assert_full(&seen, secs(120), |_| 37.0 / 0.2);
    }
}

fn drops_and_returns(now: Duration) -> usize {
    match now.as_secs() {
        30..60 => 12,
        _ => 37,
    }
}

#[test]
fn a_capacity_that_drops_and_returns_is_followed() {
    for varies in [0.0, 0.5] {
        let script = Script {
            varies,
            ..Script::new(drops_and_returns, |_| ms(200))
        };
        let seen = run(&script, search(), secs(120));
        assert_full(&seen, secs(120), |now| drops_and_returns(now) as f64 / 0.2);
    }
}

#[test]
fn a_capacity_that_drops_and_returns_and_refuses_is_followed() {
    let script = Script {
        beyond: Beyond::IsRefused,
        ..Script::new(drops_and_returns, |_| ms(200))
    };
    let seen = run(&script, search(), secs(120));
    assert_full(&seen, secs(120), |now| drops_and_returns(now) as f64 / 0.2);
}

fn with_quota(kind: Kind, is_named: bool, work: fn(usize) -> Duration) -> Script {
    Script {
        quota: Some(Quota {
            kind,
            is_named,
            is_told: false,
        }),
        ..Script::new(|_| 1_000, work)
    }
}

#[test]
fn twenty_requests_a_second_are_kept_to() {
    for burst in [1.0, 2.0, 5.0, 20.0] {
        let kind = Kind::Bucket {
            burst,
            per_second: 20.0,
        };
        for is_named in [false, true] {
            for work in [(|_| ms(20)) as fn(usize) -> Duration, |_| ms(400)] {
                let script = with_quota(kind, is_named, work);
                let seen = run(&script, search(), secs(240));
                assert_full(&seen, secs(240), |_| 20.0);
            }
        }
    }
}

#[test]
fn a_quota_of_a_minute_is_spread_over_it() {
    // 120,000 tokens a minute, 200 a request. All that was saved is spent at first, at any speed.
    for is_named in [true, false] {
        for work in [(|_| ms(150)) as fn(usize) -> Duration, |_| ms(300)] {
            let bucket = Kind::Bucket {
                burst: 600.0,
                per_second: 10.0,
            };
            let mut script = with_quota(bucket, is_named, work);
            script.varies = 0.1;
            let seen = run(&script, search(), secs(180));
            assert_full(&seen, secs(180), |_| 10.0);
        }
    }
    let window = Kind::Window {
        requests: 600,
        length: secs(60),
    };
    let seen = run(&with_quota(window, true, |_| ms(300)), search(), secs(600));
    assert_full(&seen, secs(600), |_| 10.0);
}

#[test]
fn a_quota_that_each_answer_tells_is_kept_to_without_a_refusal() {
    let window = Kind::Window {
        requests: 1_200,
        length: secs(60),
    };
    let bucket = Kind::Bucket {
        burst: 60.0,
        per_second: 20.0,
    };
    for kind in [window, bucket] {
        for work in [(|_| ms(20)) as fn(usize) -> Duration, |_| ms(1_500)] {
            let mut script = with_quota(kind, false, work);
            script.quota = script.quota.map(|quota| Quota {
                is_told: true,
                ..quota
            });
            let seen = run(&script, search(), secs(600));
            let share = seen.of_ideal(SETTLED, secs(600), |_| 20.0);
            let errors = seen.errors_in(SETTLED, secs(600));
            assert!(share >= ENOUGH, "{share:.3} of ideal");
            assert!(errors == 0.0, "{errors} refusals");
        }
    }
}

#[test]
fn a_latency_that_grows_with_the_load_is_borne_while_it_pays() {
    for varies in [0.0, 0.3] {
        let script = Script {
            varies,
            ..Script::new(|_| 10_000, |load| ms(100) + ms(5) * load as u32)
        };
        let seen = run(&script, search(), secs(120));
        assert_full(&seen, secs(120), |_| 1024.0 / 5.22);
    }
}

#[test]
fn a_cold_start_of_a_minute_burns_nothing() {
    let script = Script {
        away: |now| (now < secs(60)).then_some(503),
        ..Script::new(|_| 37, |_| ms(200))
    };
    let seen = run(&script, search(), secs(120));
    let first = seen.answered[0];
    assert!(first <= secs(65), "first answer at {first:?}");
    assert!(seen.errors.len() < 60, "{} probes", seen.errors.len());
    assert!(seen.pauses.iter().all(|(_, pause)| *pause == Pause::Fault));
    let share = seen.of_ideal(secs(70), secs(120), |_| 37.0 / 0.2);
    assert!(share >= ENOUGH, "{share:.3} of ideal");
    assert_eq!((seen.lost, seen.charged), (0, 0));
    assert_eq!(seen.error_share(secs(65), secs(120)), 0.0);
}

#[test]
fn a_dead_upstream_burns_nothing_and_is_back_within_five_seconds() {
    let script = Script {
        away: |now| (secs(30)..secs(90)).contains(&now).then_some(0),
        ..Script::new(|_| 37, |_| ms(200))
    };
    let seen = run(&script, search(), secs(150));
    let back = seen.answered.iter().find(|at| **at > secs(90)).unwrap();
    assert!(*back <= secs(95), "back at {back:?}");
    assert!(seen.pauses.iter().all(|(_, pause)| *pause == Pause::Fault));
    let share = seen.of_ideal(secs(100), secs(150), |_| 37.0 / 0.2);
    assert!(share >= ENOUGH, "{share:.3} of ideal");
    // Only what was in flight when it died, and each once.
    assert!(
        seen.lost == 0 && seen.charged < 64,
        "{} charged",
        seen.charged
    );
}

#[test]
fn a_key_that_is_not_accepted_pauses_the_lane() {
    let script = Script {
        away: |_| Some(401),
        ..Script::new(|_| 37, |_| ms(200))
    };
    let seen = run(&script, search(), secs(120));
    assert!(
        seen.pauses
            .iter()
            .all(|(_, pause)| *pause == Pause::NotAllowed)
    );
    assert!(seen.errors.len() < 30, "{} asked", seen.errors.len());
    assert_eq!((seen.answered.len(), seen.lost, seen.charged), (0, 0, 0));
}

#[test]
fn sixty_four_at_once_are_found_within_a_tenth_of_the_time() {
    let script = Script::new(|_| 64, |_| ms(50));
    let seen = run_lines(&script, search(), 20_000, secs(600));
    let took = seen.answered.last().unwrap().as_secs_f64();
    let ideal = 20_000.0 * 0.05 / 64.0;
    assert!(
        took * 0.95 <= ideal,
        "{took} s, ideal {ideal} s: {:?}",
        seen.limits
    );
}

#[test]
fn a_limit_that_is_given_is_kept_and_one_that_bounds_is_not_exceeded() {
    let script = Script::new(|_| 37, |_| ms(200));
    let seen = run(&script, Throttle::given(5), secs(20));
    assert_eq!(seen.limits, [(ms(0), 5)]);
    let seen = run(&script, Throttle::up_to(16), secs(20));
    assert_eq!(seen.limits.last().unwrap().1, 16);
    assert_eq!(Throttle::given(5).why(), Why::Given);
}

#[test]
fn an_upstream_that_says_that_many_wait_gets_fewer_and_its_places_are_kept_to() {
    let load = |waiting, places| Load { waiting, places };
    let mut throttle = Throttle::up_to(MOST);
    let mut trips = Vec::new();
    // Answers in no time: it climbs.
    for n in 0..400u32 {
        let now = ms(20) * n;
        let in_flight = throttle.limit();
        trips.extend((1..=in_flight).map(|crowd| throttle.sent(crowd, now)));
        for trip in trips.drain(..) {
            throttle.back(trip, Signal::Answered, 0, now + ms(10));
        }
    }
    let high = throttle.limit();
    assert!(high > 256, "{high}");
    throttle.bears(load(high / 8, None), secs(9));
    assert_eq!(throttle.limit(), high, "a few may wait");
    throttle.bears(load(high / 2, None), secs(9));
    assert_eq!(throttle.why(), Why::Waits);
    assert!((high / 2..=high * 3 / 4).contains(&throttle.limit()));
    throttle.bears(load(0, Some(4)), secs(19));
    assert_eq!((throttle.limit(), throttle.why()), (5, Why::Places));
    assert_eq!(Throttle::given(64).limit(), 64);
}

#[test]
fn a_pause_that_the_upstream_means_is_kept_whatever_is_tried() {
    let mut throttle = Throttle::up_to(MOST);
    let trips: Vec<Trip> = (1..=8)
        .map(|crowd| throttle.sent(crowd, ms(crowd as u64)))
        .collect();
    throttle.back(trips[7], Signal::Refused(Some(secs(30))), 7, ms(20));
    // Sent before, and another machine of theirs names nothing: that would begin a trial.
    for (at, trip) in trips[..7].iter().enumerate() {
        let now = ms(21 + at as u64);
        throttle.back(*trip, Signal::Refused(None), 6 - at, now);
        assert_eq!(throttle.room(0, now), Room::At(ms(30_020)), "after {at}");
    }
    assert_eq!(throttle.room(0, secs(31)), Room::Now);
    // A pause of the lane for another reason probes.
    throttle.paused();
    assert_ne!(throttle.room(0, secs(10)), Room::At(ms(30_020)));
}

#[test]
fn a_trial_lowers_no_limit_and_goes_no_slower_than_one_a_second() {
    let mut throttle = Throttle::up_to(MOST);
    let told = Allowance {
        requests: Some(Left {
            count: 1,
            resets_in: secs(600),
        }),
        ..Allowance::default()
    };
    // The last line of a batch, refused by chance.
    let trip = throttle.sent(1, ms(0));
    throttle.told(told, 1, ms(1));
    throttle.back(trip, Signal::Refused(None), 0, ms(10));
    assert!(throttle.limit() >= 4, "{}", throttle.limit());
    let mut now = ms(10);
    for sent in 0..20 {
        if let Room::At(next) = throttle.room(0, now) {
            assert!(next <= now + secs(1), "{sent}: {next:?} at {now:?}");
            now = next;
        }
        let trip = throttle.sent(1, now);
        throttle.back(trip, Signal::Answered, 0, now + ms(5));
        now += ms(5);
    }
    // Hours later nothing of a trial is left that was not ended.
    let trip = throttle.sent(1, now);
    throttle.back(trip, Signal::Refused(None), 0, now);
    assert!(throttle.limit() >= 4, "{}", throttle.limit());
}

/// Refused by chance.
const BY_CHANCE: [fn(Duration) -> f64; 4] = [|_| 0.01, |_| 0.05, |_| 0.1, |_| 0.2];

#[test]
fn refusals_by_chance_do_not_slow_a_lane() {
    for by_chance in BY_CHANCE {
        for names in [None, Some(secs(1))] {
            let script = |work| Script {
                by_chance,
                names,
                ..Script::new(|_| 64, work)
            };
            let quick = run(&script(|_| ms(20)), search(), secs(60));
            let slow = run(&script(|_| ms(500)), search(), secs(120));
            let shares = [
                quick.of_ideal(secs(2), secs(60), |_| 64.0 / 0.02),
                slow.of_ideal(secs(15), secs(120), |_| 64.0 / 0.5),
            ];
            assert!(shares.iter().all(|share| *share >= 0.95), "{shares:?}");
            assert_eq!((quick.lost, quick.charged), (0, 0));
        }
    }
}

#[test]
fn a_capacity_that_refuses_is_found_where_others_are_refused_by_chance() {
    for by_chance in BY_CHANCE {
        for work in [(|_| ms(20)) as fn(usize) -> Duration, |_| ms(200)] {
            let script = Script {
                beyond: Beyond::IsRefused,
                by_chance,
                ..Script::new(|_| 37, work)
            };
            let seen = run(&script, search(), secs(120));
            let per_second = 37.0 / work(1).as_secs_f64();
            let share = seen.answered_in(SETTLED, secs(120)) / (per_second * 110.0);
            assert!(share >= 0.8, "{share:.3} of ideal: {:?}", seen.limits);
            let errors = seen.error_share(SETTLED, secs(120)) - by_chance(SETTLED);
            assert!(errors < 0.25, "{errors:.4} errors");
        }
    }
}
