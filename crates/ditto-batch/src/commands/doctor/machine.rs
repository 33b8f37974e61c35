//! The machine: its clock, and how many files a process may have open.

use ditto_server::CONNECTIONS;

use super::finding::Finding;
use crate::exit;
use crate::printer::grouped;

/// Segments that a server holds open, each with a file.
const SEGMENTS: u64 = 256;
/// The catalog, the log, blobs that are read at the moment.
const OTHERS: u64 = 64;
/// The beginning of 2025 and of 2100: no clock that was ever set is outside.
const PLAUSIBLE: std::ops::Range<i64> = 1_735_689_600..4_102_444_800;

/// The limit of open files, which this process has raised as far as a server would, held against what a
/// server may need for so many requests in flight.
pub(super) fn open_files(in_flight: u64) -> Finding {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    judge_open_files(limit, in_flight)
}

fn judge_open_files(limit: Option<u64>, in_flight: u64) -> Finding {
    // Half of what it may have is for connections of clients.
    let needed = 2 * (CONNECTIONS as u64).max(SEGMENTS + OTHERS + in_flight);
    let check = "open files";
    let Some(limit) = limit else {
        return Finding::ok(check, "no limit");
    };
    let said = format!(
        "a process may have {}, a server takes up to {}",
        grouped(limit),
        grouped(needed)
    );
    let hint = format!(
        "with fewer it takes fewer connections: `ulimit -Hn {}`, or LimitNOFILE= of its unit",
        needed.next_power_of_two()
    );
    if limit < SEGMENTS + OTHERS {
        return Finding::bad(check, exit::LOCAL_IO, said, hint);
    }
    if limit < needed {
        return Finding::warn(check, said, hint);
    }
    Finding::ok(check, said)
}

/// Whether this can be the time of day, in seconds since the epoch.
pub(super) fn judge_clock(now: i64) -> Finding {
    if PLAUSIBLE.contains(&now) {
        return Finding::ok("clock", "it shows a year that can be");
    }
    Finding::bad(
        "clock",
        exit::LOCAL_IO,
        format!(
            "it shows {now} seconds since 1970, which cannot be: windows and lifetimes would be wrong"
        ),
        "set the clock, or let NTP do it",
    )
}

#[cfg(test)]
mod tests {
    use super::super::finding::Verdict::{Bad, Ok as Fine, Warn};
    use super::*;

    #[test]
    fn a_limit_of_open_files_is_held_against_what_may_be_open() {
        let table = [
            (None, 32, Fine),
            (Some(8192), 32, Fine),
            (Some(8192), 5000, Warn),
            (Some(1024), 32, Warn),
            (Some(256), 32, Bad),
        ];
        for (limit, in_flight, verdict) in table {
            assert_eq!(
                judge_open_files(limit, in_flight).verdict,
                verdict,
                "{limit:?}"
            );
        }
    }

    #[test]
    fn a_clock_that_was_never_set_is_bad() {
        let table = [
            (0, Bad),
            (1_700_000_000, Bad),
            (1_800_000_000, Fine),
            (5_000_000_000, Bad),
        ];
        for (now, verdict) in table {
            assert_eq!(judge_clock(now).verdict, verdict, "{now}");
        }
    }
}
