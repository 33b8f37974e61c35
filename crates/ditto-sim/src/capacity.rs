//! How many requests are worked on at once, and what becomes of the next one.

use std::fmt;
use std::str::FromStr;

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

/// The door of a running simulator: lets in as many as there is room for.
#[derive(Debug)]
pub(crate) struct Gate {
    room: Option<(Semaphore, Beyond)>,
}

/// One request's place; dropping it makes room.
pub(crate) type Place<'a> = Option<SemaphorePermit<'a>>;

/// There is no room, and waiting is not allowed.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct NoRoom;

impl Gate {
    pub(crate) fn new(capacity: Option<Capacity>) -> Self {
        let room = capacity.map(|c| (Semaphore::new(c.limit), c.beyond));
        Self { room }
    }

    pub(crate) async fn enter(&self) -> Result<Place<'_>, NoRoom> {
        let Some((room, beyond)) = &self.room else {
            return Ok(None);
        };
        match beyond {
            Beyond::Queue => Ok(Some(
                room.acquire().await.expect("the semaphore is never closed"),
            )),
            Beyond::Refuse => room.try_acquire().map(Some).map_err(|_| NoRoom),
        }
    }
}

#[cfg(test)]
mod tests {
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
}
