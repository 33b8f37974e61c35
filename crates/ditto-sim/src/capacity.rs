//! How many requests are worked on at once, and what becomes of the next one.

use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use serde::{Deserialize, Serialize};
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::setting::{BadSetting, spelt_in_serde};

/// Requests at once, spelt `37` or `37:queue` (the others wait) or `37:429` (they are refused).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Capacity {
    /// Requests worked on at once; at least one.
    pub limit: usize,
    /// What becomes of the requests beyond the limit.
    pub beyond: Beyond,
}

/// What becomes of a request beyond the capacity.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Beyond {
    /// It waits its turn, first come, first served. (The queue is as long as there are connections.)
    Queue,
    /// It is answered 429 with `Retry-After`, at once.
    Refuse,
}

impl FromStr for Capacity {
    type Err = BadSetting;

    fn from_str(text: &str) -> Result<Self, BadSetting> {
        let bad = || BadSetting::new(format!("`{text}` is no capacity; write 37:queue or 37:429"));
        let (limit, beyond) = match text.split_once(':') {
            None => (text, Beyond::Queue),
            Some((limit, "queue")) => (limit, Beyond::Queue),
            Some((limit, "429")) => (limit, Beyond::Refuse),
            Some(_) => return Err(bad()),
        };
        let limit = limit.parse().map_err(|_| bad())?;
        if limit == 0 || limit > Semaphore::MAX_PERMITS {
            return Err(bad());
        }
        Ok(Self { limit, beyond })
    }
}

impl fmt::Display for Capacity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.beyond {
            Beyond::Queue => write!(f, "{}:queue", self.limit),
            Beyond::Refuse => write!(f, "{}:429", self.limit),
        }
    }
}

spelt_in_serde!(Capacity);

/// The door of a running simulator: lets in as many as there is room for, which may change.
#[derive(Debug)]
pub(crate) struct Gate {
    room: Semaphore,
    /// Places that were taken away while somebody had them: who leaves gives them up.
    owed: AtomicUsize,
    refuses: AtomicBool,
    working: AtomicUsize,
    /// How many places there are. Changed by one at a time.
    limit: Mutex<usize>,
}

/// One request's place; dropping it makes room.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    gate: &'a Gate,
    permit: Option<SemaphorePermit<'a>>,
    /// Requests that were worked on when it was taken, this one among them.
    pub(crate) crowd: usize,
}

/// There is no room, and waiting is not allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

/// So many places as nobody can take.
const UNLIMITED: usize = Semaphore::MAX_PERMITS;

impl Gate {
    pub(crate) fn new(capacity: Option<Capacity>) -> Self {
        let limit = capacity.map_or(UNLIMITED, |capacity| capacity.limit);
        let refuses = capacity.is_some_and(|capacity| capacity.beyond == Beyond::Refuse);
        Self {
            room: Semaphore::new(limit),
            owed: AtomicUsize::new(0),
            refuses: AtomicBool::new(refuses),
            working: AtomicUsize::new(0),
            limit: Mutex::new(limit),
        }
    }

    /// Another capacity from now on. Who is in stays in, and who waits comes in as there is room.
    pub(crate) fn set(&self, capacity: Option<Capacity>) {
        let mut limit = self.limit.lock().unwrap_or_else(PoisonError::into_inner);
        let wanted = capacity.map_or(UNLIMITED, |capacity| capacity.limit);
        let refuses = capacity.is_some_and(|capacity| capacity.beyond == Beyond::Refuse);
        self.refuses.store(refuses, Relaxed);
        if wanted < *limit {
            let fewer = *limit - wanted;
            let taken = self.room.forget_permits(fewer);
            self.owed.fetch_add(fewer - taken, Relaxed);
        } else {
            let more = wanted - *limit;
            let forgiven = self.forgive(more);
            self.room.add_permits(more - forgiven);
        }
        *limit = wanted;
    }

    /// Takes up to so many off what is owed; how many there were.
    fn forgive(&self, most: usize) -> usize {
        let less = |owed: usize| Some(owed - owed.min(most));
        let owed = self.owed.fetch_update(Relaxed, Relaxed, less);
        owed.map_or(0, |owed| owed.min(most))
    }

    pub(crate) async fn enter(&self) -> Result<Place<'_>, NoRoom> {
        let permit = match self.refuses.load(Relaxed) {
            true => self.room.try_acquire().map_err(|_| NoRoom)?,
            false => (self.room.acquire().await).expect("the semaphore is never closed"),
        };
        Ok(Place {
            gate: self,
            permit: Some(permit),
            crowd: self.working.fetch_add(1, Relaxed) + 1,
        })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.gate.working.fetch_sub(1, Relaxed);
        if self.gate.owed.load(Relaxed) > 0
            && self.gate.forgive(1) == 1
            && let Some(permit) = self.permit.take()
        {
            permit.forget();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[test]
    fn spellings_read_back() {
        for text in ["37:queue", "37:429"] {
            assert_eq!(text.parse::<Capacity>().unwrap().to_string(), text);
        }
        assert_eq!("37".parse::<Capacity>().unwrap().beyond, Beyond::Queue);
        for text in ["", "0", "x", "3:500", "3:"] {
            assert!(text.parse::<Capacity>().is_err(), "{text}");
        }
    }

    fn gate(capacity: &str) -> Gate {
        Gate::new(Some(capacity.parse().unwrap()))
    }

    /// As many as come in without a wait.
    fn fill(gate: &Gate) -> Vec<Place<'_>> {
        std::iter::from_fn(|| gate.enter().now_or_never()?.ok()).collect()
    }

    #[test]
    fn a_capacity_that_shrinks_lets_nobody_in_before_enough_have_left() {
        for capacity in ["5:429", "5:queue"] {
            let gate = gate(capacity);
            let mut inside = fill(&gate);
            assert_eq!(inside.len(), 5);
            gate.set(Some(capacity.replace('5', "2").parse().unwrap()));
            inside.truncate(2);
            assert_eq!(fill(&gate).len(), 0);
            inside.clear();
            assert_eq!(fill(&gate).len(), 2);
        }
    }

    #[test]
    fn who_waits_comes_in_in_turn_when_the_capacity_grows() {
        let gate = gate("2:queue");
        let inside = fill(&gate);
        gate.set(Some("1:queue".parse().unwrap()));
        let mut waiting: Vec<_> = (0..3).map(|_| Box::pin(gate.enter())).collect();
        let mut came_in =
            || -> Vec<_> { waiting.iter_mut().map(FutureExt::now_or_never).collect() };
        assert!(came_in().iter().all(Option::is_none));
        gate.set(Some("4:queue".parse().unwrap()));
        let second = came_in();
        let are_in: Vec<_> = second.iter().map(Option::is_some).collect();
        assert_eq!(are_in, [true, true, false]);
        drop(inside);
    }

    #[test]
    fn no_limit_and_back_again() {
        let gate = gate("3:429");
        gate.set(None);
        let many: Vec<_> = (0..100)
            .filter_map(|_| gate.enter().now_or_never())
            .collect();
        assert_eq!(many.iter().filter(|place| place.is_ok()).count(), 100);
        gate.set(Some("3:429".parse().unwrap()));
        assert_eq!(fill(&gate).len(), 0);
        drop(many);
        assert_eq!(fill(&gate).len(), 3);
    }
}
