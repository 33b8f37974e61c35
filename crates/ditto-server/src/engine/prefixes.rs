//! The order of lines that share a long prefix: an upstream that keeps the beginnings of prompts answers
//! them sooner and cheaper if they come one behind the other.
//!
//! What is compared is the text of the body's messages (or instructions and input, or prompt), block by
//! block, each block's hash with those before it in it. The order of results is untouched.

use std::collections::BTreeMap;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use ditto_llm::json;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::Inner;
use super::pool::Pool;
use super::queue::TURN_LINES;
use super::segment::LineJob;
use crate::catalog::SegmentKey;

/// Blocks of so many bytes are compared. Upstreams keep 16 to 128 tokens at a time, and save nothing
/// below.
const BLOCK: usize = 256;
/// So far into a prompt: what lines share beyond it, they share before.
const BLOCKS: usize = 64;
/// Lines that share a prefix and follow each other. A batch's turn is as long.
const RUN: usize = TURN_LINES as usize;

impl Inner {
    /// Brings the lines that wait for a slot into the order of their prefixes: they came before anybody
    /// knew that it pays.
    pub(crate) async fn arrange_waiting(self: &Arc<Self>, pool: &Arc<Pool>) {
        let mut segments: BTreeMap<SegmentKey, Vec<LineJob>> = BTreeMap::new();
        for job in pool.take_ready() {
            segments.entry(job.segment.key).or_default().push(job);
        }
        let bodies: Vec<Vec<Bytes>> = segments
            .values()
            .map(|lines| lines.iter().map(|line| line.body.clone()).collect())
            .collect();
        // Megabytes of JSON are parsed.
        let find = async move {
            Ok(bodies
                .iter()
                .map(|bodies| order_of(bodies))
                .collect::<Vec<_>>())
        };
        let orders = self.host.compute(find).await.unwrap_or_default();
        for (place, lines) in segments.into_values().enumerate() {
            let work = lines.first().map(|line| Arc::clone(&line.segment.work));
            let lines = match orders.get(place) {
                Some(order) => put(lines, order),
                None => lines,
            };
            self.dispatch(pool, lines);
            // The ending may have emptied the lanes while these lines were in our hand.
            if let Some(work) = work.filter(|work| work.ending().is_some()) {
                self.end_waiting_lines(work.row.key);
            }
        }
    }
}

/// The lines of one segment, those with a long common prefix together.
pub(crate) fn arrange(lines: Vec<LineJob>) -> Vec<LineJob> {
    let bodies: Vec<_> = lines.iter().map(|line| line.body.clone()).collect();
    let order = order_of(&bodies);
    put(lines, &order)
}

/// The lines at these places.
fn put(lines: Vec<LineJob>, order: &[usize]) -> Vec<LineJob> {
    let mut lines: Vec<_> = lines.into_iter().map(Some).collect();
    order
        .iter()
        .filter_map(|place| lines[*place].take())
        .collect()
}

/// The order of requests with these bodies.
fn order_of(bodies: &[Bytes]) -> Vec<usize> {
    let chains: Vec<_> = bodies.iter().map(|body| chain(body)).collect();
    order(&groups(&chains))
}

/// The hashes of a prompt's whole blocks, each with all before it.
fn chain(body: &[u8]) -> Vec<u64> {
    // As they stand before each other in a prompt.
    let mut parts: [&[u8]; 4] = [b""; 4];
    let read = json::members(body, |name, value| match name {
        b"instructions" => parts[0] = value,
        b"messages" => parts[1] = value,
        b"input" => parts[2] = value,
        b"prompt" => parts[3] = value,
        _ => {}
    });
    // Of a body that cannot be read nothing is known.
    if read.is_err() {
        return Vec::new();
    }
    let mut chain = Vec::new();
    let mut before = 0;
    for part in parts {
        // What is shorter than a block is a part of all that comes behind it.
        let (blocks, rest) = part.as_chunks::<BLOCK>();
        for block in blocks.iter().take(BLOCKS.saturating_sub(chain.len())) {
            before = xxh3_64_with_seed(block, before);
            chain.push(before);
        }
        before = xxh3_64_with_seed(rest, before);
    }
    chain
}

/// The group of each line. It is that of the prefix with which the lines that share it save most; a line
/// that shares none is alone.
fn groups(chains: &[Vec<u64>]) -> Vec<Option<u64>> {
    let mut shared: HashMap<u64, usize> = HashMap::new();
    for block in chains.iter().flatten() {
        *shared.entry(*block).or_default() += 1;
    }
    let group = |chain: &Vec<u64>| {
        let able = chain
            .iter()
            .zip(1..)
            .filter(|(block, _)| shared[*block] > 1);
        let most = able.max_by_key(|(block, depth)| shared[*block] * depth);
        most.map(|(block, _)| *block)
    };
    chains.iter().map(group).collect()
}

/// Places in the order of sending: groups by their first line, and of each a run at a time.
fn order(groups: &[Option<u64>]) -> Vec<usize> {
    let mut members: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    let mut firsts: HashMap<u64, usize> = HashMap::new();
    for (place, group) in groups.iter().enumerate() {
        let first = match group.map(|group| firsts.entry(group)) {
            None => place,
            Some(Entry::Occupied(known)) => *known.get(),
            Some(Entry::Vacant(new)) => *new.insert(place),
        };
        members.entry(first).or_default().push(place);
    }
    let mut order = Vec::with_capacity(groups.len());
    let mut turn = 0;
    while order.len() < groups.len() {
        let runs = members.values();
        let runs = runs.filter_map(|places| places.get(turn * RUN..));
        order.extend(runs.flat_map(|rest| rest.iter().take(RUN)));
        turn += 1;
    }
    order
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// The order of chats with these system prompts, each with a question of its own.
    fn ordered(prompts: &[&str]) -> Vec<usize> {
        let chat = |(number, prompt): (usize, &&str)| {
            let system = json!({"role": "system", "content": prompt.repeat(BLOCK)});
            let user = json!({"role": "user", "content": format!("question {number}")});
            json!({"model": "m", "messages": [system, user]}).to_string()
        };
        let bodies: Vec<_> = prompts.iter().enumerate().map(chat).collect();
        let chains: Vec<_> = bodies.iter().map(|body| chain(body.as_bytes())).collect();
        order(&groups(&chains))
    }

    #[test]
    fn lines_with_one_beginning_follow_each_other() {
        assert_eq!(ordered(&["a", "b", "a", "c", "b", "a"]), [0, 2, 5, 1, 4, 3]);
    }

    #[test]
    fn lines_that_share_nothing_stay_as_they_are() {
        assert_eq!(ordered(&["a", "b", "c", "d"]), [0, 1, 2, 3]);
        assert!(chain(b"{\"model\":\"m\",\"input\":\"short\"}").is_empty());
        assert!(chain(b"no json").is_empty());
    }

    #[test]
    fn a_run_has_an_end_and_each_line_comes_once() {
        let groups: Vec<_> = (0..100).map(|n| Some(n % 2)).collect();
        let order = order(&groups);
        let first: Vec<_> = order[..RUN].iter().map(|place| place % 2).collect();
        assert_eq!(first, [0; RUN]);
        assert_eq!(order[RUN] % 2, 1);
        let mut places = order.clone();
        places.sort_unstable();
        assert_eq!(places, (0..100).collect::<Vec<_>>());
    }

    #[test]
    fn a_pair_does_not_leave_the_many_with_whom_it_shares_less() {
        let (common, more) = ([1, 2, 3, 4], [1, 2, 3, 4, 5, 6]);
        let mut chains: Vec<Vec<u64>> = vec![common.to_vec(); 10];
        chains.extend([more.to_vec(), more.to_vec()]);
        assert_eq!(groups(&chains), [Some(4); 12]);
    }

    #[test]
    fn what_stands_before_is_a_part_of_the_prefix() {
        let body = |instructions: &str| {
            let input = "x".repeat(2 * BLOCK);
            chain(
                json!({"instructions": instructions, "input": input})
                    .to_string()
                    .as_bytes(),
            )
        };
        assert_eq!(body("one"), body("one"));
        assert!(body("one").iter().zip(&body("two")).all(|(a, b)| a != b));
    }
}
