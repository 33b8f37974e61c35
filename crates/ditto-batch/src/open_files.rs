//! How many files this process may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Far more than connections, journals and requests in flight come to; a limit of millions makes other
/// programs that we would start slow to begin.
const ENOUGH: u64 = 65_536;

/// Raises the soft limit, which shells set low for the sake of old programs, as far as we may and is of
/// use. A system that refuses leaves it as it was: then there are fewer connections.
pub(crate) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    if let Some(wanted) = wanted(limit.current, limit.maximum) {
        let raised = Rlimit {
            current: Some(wanted),
            ..limit
        };
        let _ = setrlimit(Resource::Nofile, raised);
    }
}

/// `None`: it is enough as it is.
fn wanted(current: Option<u64>, maximum: Option<u64>) -> Option<u64> {
    let may = maximum.unwrap_or(ENOUGH).min(ENOUGH);
    current.filter(|current| *current < may).map(|_| may)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_as_far_as_it_may_and_is_of_use() {
        let table = [
            (Some(1024), Some(4096), Some(4096)),
            (Some(1024), Some(1_048_576), Some(65_536)),
            (Some(1024), None, Some(65_536)),
            (Some(1024), Some(1024), None),
            (Some(100_000), None, None),
            (None, None, None),
        ];
        for (current, maximum, expected) in table {
            assert_eq!(
                wanted(current, maximum),
                expected,
                "{current:?} {maximum:?}"
            );
        }
    }
}
