//! Requests under one key, one after the other: whose bytes take a while to come would otherwise be
//! stored twice before either is known.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Mutex as Gate, OwnedMutexGuard};

use crate::catalog::Route;

/// Whose key it is, for which call, and the key.
type Name = (String, Route, String);

/// Who is at work under which key. There are never more than requests.
#[derive(Debug, Clone, Default)]
pub(crate) struct AtWork(Arc<Mutex<BTreeMap<Name, Arc<Gate<()>>>>>);

/// The right to be the one at work under a key, until it is dropped.
#[derive(Debug)]
pub(crate) struct Working {
    _guard: OwnedMutexGuard<()>,
    // Behind the guard: what the guard holds is given back before it is counted.
    _place: Place,
}

/// A place in the queue, or at its head.
#[derive(Debug)]
struct Place {
    at_work: AtWork,
    name: Name,
    gate: Arc<Gate<()>>,
}

impl AtWork {
    /// Waits until nobody else is at work under this key.
    pub(crate) async fn wait(&self, tenant: &str, route: Route, key: &str) -> Working {
        let place = self.place((tenant.to_owned(), route, key.to_owned()));
        Working {
            _guard: Arc::clone(&place.gate).lock_owned().await,
            _place: place,
        }
    }

    fn place(&self, name: Name) -> Place {
        let mut gates = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let gate = Arc::clone(gates.entry(name.clone()).or_default());
        Place {
            at_work: self.clone(),
            name,
            gate,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut gates = self
            .at_work
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // The map's and ours: places are made under its lock, so that nobody is on the way to it.
        if Arc::strong_count(&self.gate) == 2 {
            gates.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::poll;

    use super::*;

    #[tokio::test]
    async fn the_second_under_a_key_waits_for_the_first_and_nobody_else_does() {
        let at_work = AtWork::default();
        let first = at_work.wait("a", Route::Files, "k").await;
        let mut second = Box::pin(at_work.wait("a", Route::Files, "k"));
        assert!(poll!(second.as_mut()).is_pending());
        drop(at_work.wait("b", Route::Files, "k").await);
        drop(at_work.wait("a", Route::Batches, "k").await);
        drop(at_work.wait("a", Route::Files, "l").await);
        assert!(poll!(second.as_mut()).is_pending());
        drop(first);
        drop(second.await);
    }

    #[tokio::test]
    async fn nothing_is_left_of_who_has_gone() {
        let at_work = AtWork::default();
        let first = at_work.wait("a", Route::Files, "k").await;
        let mut gave_up = Box::pin(at_work.wait("a", Route::Files, "k"));
        assert!(poll!(gave_up.as_mut()).is_pending());
        drop(first);
        drop(gave_up);
        drop(at_work.wait("a", Route::Files, "k").await);
        assert_eq!(at_work.0.lock().unwrap().len(), 0);
    }
}
