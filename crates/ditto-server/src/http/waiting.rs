//! Connections on which no request is under way: which of them goes when another needs its place.
//!
//! Whoever holds a connection and asks nothing on it loses nothing by its end, and HTTP lets a server end
//! it at any time. So a crowd of connections that send nothing, or a byte now and then, keeps nobody
//! out. A connection with a request is never ended for another's sake.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

/// All of them, by how long they have waited.
#[derive(Debug, Default)]
pub(super) struct Waiting(Mutex<Seats>);

#[derive(Debug, Default)]
struct Seats {
    next: u64,
    taken: BTreeMap<Place, CancellationToken>,
}

/// In the order in which they go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Place {
    /// Nothing is answered there any more.
    Over(u64),
    Waits(u64),
}

/// One connection's part in it.
#[derive(Debug, Clone)]
pub(super) struct Seat(Arc<Connection>);

#[derive(Debug)]
struct Connection {
    waiting: Arc<Waiting>,
    sent_away: CancellationToken,
    state: Mutex<State>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waits(Place),
    Busy,
    Ended,
}

/// A request is under way; dropped when its answer has gone out.
#[derive(Debug)]
pub(super) struct Busy(Seat);

impl Waiting {
    /// For a connection that was just made.
    pub(super) fn seat(self: &Arc<Self>) -> Seat {
        let sent_away = CancellationToken::new();
        let place = self.lock().take(Place::Waits, &sent_away);
        Seat(Arc::new(Connection {
            waiting: Arc::clone(self),
            sent_away,
            state: Mutex::new(State::Waits(place)),
        }))
    }

    /// Sends away whoever has waited longest; nothing if nobody waits.
    pub(super) fn send_one_away(&self) {
        if let Some((_, sent_away)) = self.lock().taken.pop_first() {
            sent_away.cancel();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Seats> {
        lock(&self.0)
    }
}

impl Seats {
    fn take(&mut self, kind: fn(u64) -> Place, sent_away: &CancellationToken) -> Place {
        let place = kind(self.next);
        self.next += 1;
        self.taken.insert(place, sent_away.clone());
        place
    }
}

impl Seat {
    /// Ends when the connection has to.
    pub(super) async fn sent_away(&self) {
        self.0.sent_away.cancelled().await;
    }

    /// A request has come. `None` if the connection is about to end: nothing of it may begin then.
    pub(super) fn rise(&self) -> Option<Busy> {
        let mut state = lock(&self.0.state);
        let State::Waits(place) = *state else {
            return None;
        };
        self.0.waiting.lock().taken.remove(&place)?;
        *state = State::Busy;
        Some(Busy(self.clone()))
    }

    /// Nothing more is answered on the connection: it goes before all others.
    pub(super) fn goes_first(&self) {
        let mut state = lock(&self.0.state);
        let mut seats = self.0.waiting.lock();
        // One that was sent away a moment ago is so.
        if let State::Waits(place) = *state
            && seats.taken.remove(&place).is_some()
        {
            *state = State::Waits(seats.take(Place::Over, &self.0.sent_away));
        }
    }

    /// The connection has ended by itself.
    pub(super) fn leave(&self) {
        let mut state = lock(&self.0.state);
        if let State::Waits(place) = *state {
            self.0.waiting.lock().taken.remove(&place);
        }
        *state = State::Ended;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        let connection = &self.0.0;
        let mut state = lock(&connection.state);
        if *state == State::Busy {
            let mut seats = connection.waiting.lock();
            *state = State::Waits(seats.take(Place::Waits, &connection.sent_away));
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing in here panics half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_sent_away(seat: &Seat) -> bool {
        seat.0.sent_away.is_cancelled()
    }

    #[test]
    fn who_has_waited_longest_goes_first_and_nobody_with_a_request() {
        let waiting = Arc::new(Waiting::default());
        let seats = [(); 3].map(|()| waiting.seat());
        let busy = seats[0].rise().unwrap();
        waiting.send_one_away();
        assert_eq!(seats.each_ref().map(is_sent_away), [false, true, false]);
        // From here on the first waits, after the third.
        drop(busy);
        waiting.send_one_away();
        assert_eq!(seats.each_ref().map(is_sent_away), [false, true, true]);
        waiting.send_one_away();
        waiting.send_one_away();
        assert!(is_sent_away(&seats[0]));
    }

    #[test]
    fn what_is_over_goes_before_who_waits() {
        let waiting = Arc::new(Waiting::default());
        let seats = [(); 3].map(|()| waiting.seat());
        seats[2].goes_first();
        waiting.send_one_away();
        assert_eq!(seats.each_ref().map(is_sent_away), [false, false, true]);
        waiting.send_one_away();
        assert_eq!(seats.each_ref().map(is_sent_away), [true, false, true]);
        // Too late for it to be anything else.
        seats[0].goes_first();
        waiting.send_one_away();
        assert!(is_sent_away(&seats[1]));
    }

    #[test]
    fn a_request_that_comes_too_late_does_not_begin() {
        let waiting = Arc::new(Waiting::default());
        let seat = waiting.seat();
        waiting.send_one_away();
        assert!(seat.rise().is_none());
    }

    #[test]
    fn who_has_left_takes_no_place() {
        let waiting = Arc::new(Waiting::default());
        let (first, second) = (waiting.seat(), waiting.seat());
        let busy = first.rise().unwrap();
        first.leave();
        second.leave();
        // The answer's body outlived its connection.
        drop(busy);
        assert!(waiting.lock().taken.is_empty());
    }
}
