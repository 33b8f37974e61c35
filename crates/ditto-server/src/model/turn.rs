//! Whose line is next? Fair between tenants first, then between the batches of one tenant.
//!
//! Between tenants: the one that was served the least goes first, counted in lines. A tenant that
//! comes back after a pause begins where the others are; it has saved nothing up. Between the
//! batches of one tenant the turns alternate: one by deadline and age, one by fewest lines left,
//! so that ten lines never wait behind ten million of the same key.
//!
//! The same object decides at the lease, over rows of the catalog, and again when a permit is
//! given, over queues in memory.

use std::collections::BTreeMap;

/// Something that could have the next turn: a batch with lines to lease or to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candidate {
    /// Whose it is, as any number that tells tenants apart.
    pub tenant: u64,
    /// When its window ends, in milliseconds; `None`: never, and so after all that do.
    pub deadline: Option<i64>,
    /// Smaller is older: a row number or a time of creation.
    pub age: i64,
    /// Lines that have not had their turn yet.
    pub left: u64,
    /// For the caller to find it again.
    pub id: i64,
}

/// By what a tenant's next batch is chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum By {
    #[default]
    Deadline,
    FewestLeft,
}

/// What one tenant has had.
#[derive(Debug, Clone, Copy, Default)]
struct Share {
    /// Lines served, on the common scale of all tenants.
    served: u64,
    next: By,
}

/// Memory of who had how much. It is not stored: after a restart all tenants begin equal.
#[derive(Debug, Default)]
pub struct Turn {
    shares: BTreeMap<u64, Share>,
    /// What the last one to be picked had been served by then: who had less is brought up to it.
    level: u64,
}

/// Above this many tenants, those who are not ahead of the others are forgotten, which changes no
/// more for them than whether a turn by deadline or one by lines left comes next.
const REMEMBERED: usize = 4_096;

impl Turn {
    /// The place of the candidate whose turn it is; `None` only if there are none. Among tenants
    /// served equally the first in the list goes first, so a caller may rotate its list.
    pub fn pick(&mut self, candidates: &[Candidate]) -> Option<usize> {
        let served = |c: &Candidate| self.served(c.tenant);
        let tenant = candidates.iter().min_by_key(|c| served(c))?.tenant;
        self.level = self.level.max(self.served(tenant));
        let level = self.level;
        let share = self.shares.entry(tenant).or_default();
        share.served = share.served.max(level);
        let by = share.next;
        share.next = match by {
            By::Deadline => By::FewestLeft,
            By::FewestLeft => By::Deadline,
        };
        let own = candidates
            .iter()
            .enumerate()
            .filter(|(_, c)| c.tenant == tenant);
        own.min_by_key(|(_, c)| rank(by, c)).map(|(place, _)| place)
    }

    /// Puts lines on the tenant's account, once it is known how many its turn was good for.
    pub fn charge(&mut self, tenant: u64, lines: u64) {
        let level = self.level;
        let share = self.shares.entry(tenant).or_default();
        share.served = share.served.max(level).saturating_add(lines);
        if self.shares.len() > REMEMBERED {
            self.shares.retain(|_, share| share.served > level);
        }
    }

    /// On the common scale: nobody is further behind than [`Turn::level`].
    fn served(&self, tenant: u64) -> u64 {
        self.shares
            .get(&tenant)
            .map_or(0, |share| share.served)
            .max(self.level)
    }
}

/// Smallest goes first; age breaks every tie.
fn rank(by: By, candidate: &Candidate) -> (u64, i64) {
    let first = match by {
        By::Deadline => candidate
            .deadline
            .map_or(u64::MAX, |at| at.max(0).unsigned_abs()),
        By::FewestLeft => candidate.left,
    };
    (first, candidate.age)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn candidate(tenant: u64, id: i64, left: u64) -> Candidate {
        Candidate {
            tenant,
            deadline: None,
            age: id,
            left,
            id,
        }
    }

    /// Lines that each tenant gets in this many turns of 32 lines, all with work for ever.
    fn serve(turn: &mut Turn, candidates: &[Candidate], turns: usize) -> BTreeMap<u64, u64> {
        let mut got = BTreeMap::new();
        for _ in 0..turns {
            let picked = candidates[turn.pick(candidates).expect("there are candidates")];
            turn.charge(picked.tenant, 32);
            *got.entry(picked.tenant).or_default() += 32;
        }
        got
    }

    #[test]
    fn without_candidates_nobody_has_a_turn() {
        assert_eq!(Turn::default().pick(&[]), None);
    }

    #[test]
    fn ten_lines_do_not_wait_behind_ten_million_of_the_same_tenant() {
        let mut turn = Turn::default();
        let queue = [candidate(1, 1, 10_000_000), candidate(1, 2, 10)];
        let picked: Vec<_> = (0..4).filter_map(|_| turn.pick(&queue)).collect();
        assert_eq!(picked, [0, 1, 0, 1]);
    }

    #[test]
    fn a_deadline_goes_before_age_and_no_deadline_comes_last() {
        let mut turn = Turn::default();
        let soon = Candidate {
            deadline: Some(5_000),
            ..candidate(1, 3, 100)
        };
        let late = Candidate {
            deadline: Some(9_000),
            ..candidate(1, 2, 100)
        };
        let queue = [candidate(1, 1, 100), late, soon];
        assert_eq!(turn.pick(&queue), Some(2));
    }

    #[test]
    fn a_tenant_with_a_thousand_batches_gets_no_more_than_one_with_a_single_batch() {
        let mut queue: Vec<_> = (0..1_000).map(|id| candidate(1, id, 1_000_000)).collect();
        queue.push(candidate(2, 1_000, 1_000_000));
        let got = serve(&mut Turn::default(), &queue, 1_000);
        assert_eq!(got[&1], got[&2]);
    }

    #[test]
    fn who_comes_late_gets_its_share_from_then_on_and_nothing_for_the_past() {
        let mut turn = Turn::default();
        serve(&mut turn, &[candidate(1, 1, 9)], 1_000);
        let got = serve(&mut turn, &[candidate(1, 1, 9), candidate(2, 2, 9)], 100);
        assert!(got[&1].abs_diff(got[&2]) <= 32, "{got:?}");
    }

    #[test]
    fn a_hundred_thousand_tenants_do_not_stay_in_memory() {
        let mut turn = Turn::default();
        for tenant in 0..100_000 {
            serve(
                &mut turn,
                &[candidate(tenant, 0, 9), candidate(tenant + 1, 1, 9)],
                2,
            );
        }
        assert!(turn.shares.len() <= REMEMBERED + 1, "{}", turn.shares.len());
    }

    proptest! {
        /// Costs differ by tenant and turn; between two picks of a waiting tenant the others get
        /// at most what one turn can cost, each.
        #[test]
        fn no_tenant_starves(costs in prop::collection::vec(1u64..2_000, 400), tenants in 2u64..8) {
            let queue: Vec<_> =
                (0..tenants).map(|t| candidate(t, t.cast_signed(), 1 << 40)).collect();
            let mut turn = Turn::default();
            let mut got = vec![0u64; queue.len()];
            for cost in costs {
                let place = turn.pick(&queue).expect("there are candidates");
                turn.charge(queue[place].tenant, cost);
                got[place] += cost;
                let (least, most) = (got.iter().min(), got.iter().max());
                prop_assert!(most.zip(least).is_some_and(|(m, l)| m - l <= 2_000), "{got:?}");
            }
        }

        #[test]
        fn the_smallest_batch_of_a_tenant_has_at_least_every_second_of_its_turns(
            lefts in prop::collection::vec(1_000u64..1 << 40, 1..50),
            small in 1u64..1_000,
            costs in prop::collection::vec(1u64..2_000, 2..40),
        ) {
            let mut queue: Vec<_> =
                lefts.iter().zip(0..).map(|(left, id)| candidate(7, id, *left)).collect();
            queue.push(candidate(7, 1 << 20, small));
            queue.push(Candidate { deadline: Some(1), ..candidate(8, 1 << 21, 5) });
            let mut turn = Turn::default();
            let mut since = 0;
            for cost in costs {
                let picked = queue[turn.pick(&queue).expect("there are candidates")];
                turn.charge(picked.tenant, cost);
                if picked.tenant == 7 {
                    since = if picked.left == small { 0 } else { since + 1 };
                }
                prop_assert!(since < 2);
            }
        }
    }
}
