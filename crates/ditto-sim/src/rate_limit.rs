//! How many requests, and how many tokens, may come in a time.

use std::fmt;
use std::str::FromStr;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};
use serde::{Deserialize, Serialize};

use crate::setting::{BadSetting, span, spell_span, spelt_in_serde};

/// How many requests and tokens may come in a time, spelt `requests:20/1s,tokens:120000/60s`, and
/// with `:told` behind it if each answer tells what is left. Each is a bucket that holds the whole
/// count and is filled again by and by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RateLimits {
    requests: Option<Rate>,
    /// Of prompts and answers together.
    tokens: Option<Rate>,
    is_told: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    /// At least one.
    count: u64,
    /// More than none.
    per: Duration,
}

impl FromStr for RateLimits {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        let (rates, is_told) = match text.strip_suffix(":told") {
            Some(rates) => (rates, true),
            None => (text, false),
        };
        let mut limits = Self {
            is_told,
            ..Self::default()
        };
        for part in rates.split(',').filter(|part| !part.is_empty()) {
            let bad = || {
                BadSetting::new(format!(
                    "`{part}` is no limit; write requests:20/1s or tokens:120000/60s"
                ))
            };
            let (kind, rate) = part.split_once(':').ok_or_else(bad)?;
            let of_kind = match kind.trim() {
                "requests" => &mut limits.requests,
                "tokens" => &mut limits.tokens,
                _ => return Err(bad()),
            };
            if of_kind.is_some() {
                return Err(BadSetting::new(format!(
                    "`{part}` is a second limit of {kind}"
                )));
            }
            *of_kind = Some(Rate::read(rate).ok_or_else(bad)?);
        }
        if is_told && limits.is_none() {
            return Err(BadSetting::new(format!(
                "`{text}` names no limit to tell of"
            )));
        }
        Ok(limits)
    }
}

impl RateLimits {
    fn is_none(&self) -> bool {
        self.requests.is_none() && self.tokens.is_none()
    }
}

impl Rate {
    fn read(text: &str) -> Option<Self> {
        let (count, per) = text.split_once('/')?;
        let (count, per) = (count.parse().ok()?, span(per).ok()?);
        (count > 0 && !per.is_zero()).then_some(Self { count, per })
    }

    fn per_second(self) -> f64 {
        self.count as f64 / self.per.as_secs_f64()
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.count, spell_span(self.per))
    }
}

impl fmt::Display for RateLimits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kinds = [("requests", self.requests), ("tokens", self.tokens)];
        let kinds = kinds
            .into_iter()
            .filter_map(|(kind, rate)| Some((kind, rate?)));
        for (at, (kind, rate)) in kinds.enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{kind}:{rate}")?;
        }
        f.write_str(if self.is_told { ":told" } else { "" })
    }
}

spelt_in_serde!(RateLimits);

/// The limits of a running simulator, and what was spent of them.
#[derive(Debug)]
pub(crate) struct Meter {
    limits: RateLimits,
    spent: Mutex<Spent>,
}

#[derive(Debug)]
struct Spent {
    requests: Bucket,
    tokens: Bucket,
    at: Instant,
}

#[derive(Debug, Clone, Copy, Default)]
struct Bucket(f64);

/// What a limit says to one request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Metered {
    pub(crate) is_over: bool,
    /// Headers that come with the answer, whatever it is.
    pub(crate) told: HeaderMap,
}

impl Meter {
    pub(crate) fn new(limits: RateLimits) -> Self {
        let spent = Spent {
            requests: Bucket::default(),
            tokens: Bucket::default(),
            at: Instant::now(),
        };
        Self {
            limits,
            spent: Mutex::new(spent),
        }
    }

    /// Spends one request of so many tokens. One that is over a limit spends nothing.
    pub(crate) fn spend(&self, tokens: u64, now: Instant) -> Metered {
        let limits = &self.limits;
        if limits.is_none() {
            return Metered {
                is_over: false,
                told: HeaderMap::new(),
            };
        }
        let mut spent = self.spent.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = now.saturating_duration_since(spent.at).as_secs_f64();
        spent.at = spent.at.max(now);
        let tokens = tokens as f64;
        spent.requests.refill(limits.requests, passed);
        spent.tokens.refill(limits.tokens, passed);
        let has_room =
            spent.requests.holds(limits.requests, 1.0) && spent.tokens.holds(limits.tokens, tokens);
        if has_room {
            spent.requests.0 += 1.0;
            spent.tokens.0 += tokens;
        }
        let mut told = HeaderMap::new();
        if limits.is_told {
            spent.requests.tell(limits.requests, &REQUESTS, &mut told);
            spent.tokens.tell(limits.tokens, &TOKENS, &mut told);
        }
        Metered {
            is_over: !has_room,
            told,
        }
    }
}

/// What is lost in the sum of many small parts.
const ROUNDING: f64 = 1e-9;

/// Names of a limit, of what is left, and of the time until all of it is there again.
type Names = [HeaderName; 3];

const REQUESTS: Names = [
    HeaderName::from_static("x-ratelimit-limit-requests"),
    HeaderName::from_static("x-ratelimit-remaining-requests"),
    HeaderName::from_static("x-ratelimit-reset-requests"),
];
const TOKENS: Names = [
    HeaderName::from_static("x-ratelimit-limit-tokens"),
    HeaderName::from_static("x-ratelimit-remaining-tokens"),
    HeaderName::from_static("x-ratelimit-reset-tokens"),
];

impl Bucket {
    fn refill(&mut self, rate: Option<Rate>, seconds: f64) {
        let per_second = rate.map_or(0.0, Rate::per_second);
        self.0 = (self.0 - seconds * per_second).max(0.0);
    }

    fn holds(self, rate: Option<Rate>, more: f64) -> bool {
        rate.is_none_or(|rate| self.0 + more <= rate.count as f64 + ROUNDING)
    }

    fn tell(self, rate: Option<Rate>, names: &Names, told: &mut HeaderMap) {
        let Some(rate) = rate else { return };
        let left = (rate.count as f64 - self.0).max(0.0) as u64;
        let until_full = Duration::from_secs_f64(self.0 / rate.per_second());
        let reset = HeaderValue::try_from(spell_reset(until_full));
        let [limit, remaining, resets] = names.clone();
        told.insert(limit, rate.count.into());
        told.insert(remaining, left.into());
        told.insert(resets, reset.expect("digits and units suit a header"));
    }
}

/// As OpenAI spells it: `17ms`, `1s`, `1.5s`, `6m0s`. Rounded up, so that nobody comes too soon.
fn spell_reset(span: Duration) -> String {
    let ms = span.as_nanos().div_ceil(1_000_000);
    if ms > 0 && ms < 1_000 {
        return format!("{ms}ms");
    }
    let (minutes, seconds) = (ms / 60_000, (ms % 60_000) as f64 / 1e3);
    match (minutes / 60, minutes % 60) {
        (0, 0) => format!("{seconds}s"),
        (0, minutes) => format!("{minutes}m{seconds}s"),
        (hours, minutes) => format!("{hours}h{minutes}m{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn meter(limits: &str) -> Meter {
        Meter::new(limits.parse().unwrap())
    }

    #[test]
    fn spellings_read_back_and_bad_ones_are_refused() {
        for text in [
            "",
            "requests:20/1s",
            "tokens:120000/60s:told",
            "requests:20/1s,tokens:120000/60s:told",
        ] {
            assert_eq!(text.parse::<RateLimits>().unwrap().to_string(), text);
        }
        for text in [
            ":told",
            "requests:20",
            "requests:0/1s",
            "requests:1/0",
            "words:1/1s",
            "requests:1/1s,requests:2/1s",
        ] {
            assert!(text.parse::<RateLimits>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_bucket_holds_the_whole_count_and_is_filled_by_and_by() {
        let meter = meter("requests:20/1s");
        let start = Instant::now();
        let taken = |ms: u64| {
            let now = start + Duration::from_millis(ms);
            (0..50).filter(|_| !meter.spend(7, now).is_over).count()
        };
        assert_eq!([taken(0), taken(0), taken(100), taken(149)], [20, 0, 2, 0]);
        assert_eq!(taken(60_000), 20);
    }

    #[test]
    fn what_is_over_one_limit_spends_nothing_of_the_other() {
        let meter = meter("requests:3/1h,tokens:100/1h");
        let now = Instant::now();
        let over = [60, 60, 40, 1].map(|tokens| meter.spend(tokens, now).is_over);
        assert_eq!(over, [false, true, false, true]);
        assert!(!meter.spend(0, now).is_over);
        assert!(meter.spend(0, now).is_over);
    }

    #[test]
    fn what_is_left_is_told_with_the_answer_and_with_the_refusal() {
        let meter = meter("requests:2/12m,tokens:1000/1s:told");
        let now = Instant::now();
        let told = |metered: &Metered| {
            let headers = metered.told.iter();
            let mut all: Vec<_> = headers
                .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap()))
                .collect();
            all.sort();
            all
        };
        assert_eq!(
            told(&meter.spend(17, now)),
            [
                "x-ratelimit-limit-requests: 2",
                "x-ratelimit-limit-tokens: 1000",
                "x-ratelimit-remaining-requests: 1",
                "x-ratelimit-remaining-tokens: 983",
                "x-ratelimit-reset-requests: 6m0s",
                "x-ratelimit-reset-tokens: 17ms",
            ]
        );
        meter.spend(17, now);
        let refused = meter.spend(17, now);
        assert!(refused.is_over);
        assert_eq!(refused.told["x-ratelimit-remaining-requests"], "0");
        assert_eq!(refused.told["x-ratelimit-reset-requests"], "12m0s");
    }

    #[test]
    fn times_are_spelt_as_they_are_elsewhere() {
        let table = [
            (0, "0s"),
            (17, "17ms"),
            (1_000, "1s"),
            (1_500, "1.5s"),
            (360_000, "6m0s"),
            (3_723_500, "1h2m3.5s"),
        ];
        for (ms, text) in table {
            assert_eq!(spell_reset(Duration::from_millis(ms)), text);
        }
        assert_eq!(spell_reset(Duration::from_micros(10)), "1ms");
    }
}
