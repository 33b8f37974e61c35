//! What upstreams say of their load, asked for where a lane searches for its limit.

use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;

use super::Inner;
use super::lane::Lane;

/// How often an upstream is asked.
const LOOK: Duration = Duration::from_secs(1);

impl Inner {
    /// Duty: asks, and tells the lanes.
    pub(crate) async fn watch_loads(self: Arc<Self>) {
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            let asked = join_all(
                self.lanes
                    .searching()
                    .into_iter()
                    .map(|of_one| self.ask(of_one)),
            );
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return,
                _ = asked => {}
            }
        }
    }

    /// Asks the upstream of these lanes.
    async fn ask(&self, lanes: Vec<Arc<Lane>>) {
        let Some(first) = lanes.first() else { return };
        let Some(said) = first.upstream.load().await else {
            return;
        };
        let now = self.host.now();
        for lane in &lanes {
            if let Some(load) = said.of(lane.model()) {
                lane.bears(load, now);
            }
        }
    }
}
