//! Where the lines of a batch are sent, as our own server tells it.

use ditto_llm::Batch;
use ditto_llm::wire::BatchLane;

use crate::printer::{counted, grouped};

/// What each lane does, without the numbers that change all the time.
pub(super) fn states(batch: &Batch) -> impl Iterator<Item = String> {
    lanes(batch).map(|lane| match &lane.paused {
        Some(reason) => format!("  {}: waiting: {reason}", of(lane)),
        None => format!("  {}: {}", of(lane), lane.why),
    })
}

/// What each lane does at this moment.
pub(super) fn moments(batch: &Batch) -> impl Iterator<Item = String> {
    lanes(batch).map(|lane| {
        let in_flight = grouped(lane.in_flight);
        match &lane.paused {
            Some(reason) => format!("  {}: {in_flight} in flight; waiting: {reason}", of(lane)),
            None => format!("  {}: {in_flight} in flight; {}", of(lane), bounds(lane)),
        }
    })
}

fn lanes(batch: &Batch) -> impl Iterator<Item = &BatchLane> {
    batch.ditto.iter().flat_map(|ditto| &ditto.lanes)
}

fn of(lane: &BatchLane) -> String {
    format!("{} at {}", lane.model, lane.upstream)
}

fn bounds(lane: &BatchLane) -> String {
    let at_once = counted(lane.limit, "request");
    let pace = match lane.requests_per_minute {
        Some(pace) => format!(", {} a minute", grouped(pace)),
        None => String::new(),
    };
    format!("up to {at_once} at once{pace} ({})", lane.why)
}

#[cfg(test)]
mod tests {
    use ditto_llm::wire::BatchExtension;

    use super::*;

    #[test]
    fn a_lane_says_how_much_it_sends_and_why_or_why_it_waits() {
        let open = BatchLane {
            upstream: "gpu".to_owned(),
            model: "m".to_owned(),
            limit: 1_024,
            why: "more is being tried".to_owned(),
            in_flight: 7,
            requests_per_minute: Some(1_200),
            ..BatchLane::default()
        };
        let paused = BatchLane {
            upstream: "rest".to_owned(),
            paused: Some("the upstream does not answer".to_owned()),
            at_fault_seconds: Some(12),
            ..open.clone()
        };
        let batch = Batch {
            ditto: Some(BatchExtension {
                lanes: vec![open, paused],
                ..BatchExtension::default()
            }),
            ..Batch::default()
        };
        let wanted = [
            "  m at gpu: 7 in flight; up to 1,024 requests at once, 1,200 a minute (more is being tried)",
            "  m at rest: 7 in flight; waiting: the upstream does not answer",
        ];
        assert_eq!(moments(&batch).collect::<Vec<_>>(), wanted);
        let wanted = [
            "  m at gpu: more is being tried",
            "  m at rest: waiting: the upstream does not answer",
        ];
        assert_eq!(states(&batch).collect::<Vec<_>>(), wanted);
    }
}
