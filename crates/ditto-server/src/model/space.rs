//! How much may be stored: on the disk as a whole, and for one tenant.

/// What a line of a batch may leave behind at least, answered or not: the error line of a cancel with
/// its ids. So much is set aside for each line when a batch is made, so that batches that are made and
/// cancelled again and again cannot fill a disk.
const LINE_BYTES: u64 = 300;

/// A disk as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Bytes of the whole.
    pub size: u64,
    /// Bytes that may still be written.
    pub free: u64,
}

/// What new work has to leave free. Running work may use it.
///
/// Of two bounds the smaller one counts: a tenth of a small disk is enough for what is running, and a
/// tenth of a large one would lie idle for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Floor {
    /// Of the disk, in hundredths.
    pub percent: Option<u8>,
    /// In bytes.
    pub bytes: Option<u64>,
}

impl Floor {
    /// Nothing has to be left, and nothing is measured.
    pub const NONE: Self = Self {
        percent: None,
        bytes: None,
    };
    /// 10 % or 5 GB.
    pub const SHIPPED: Self = Self {
        percent: Some(10),
        bytes: Some(5_000_000_000),
    };

    /// Whether there is anything to measure.
    pub fn is_none(self) -> bool {
        self == Self::NONE
    }

    /// In bytes, on a disk of this size.
    pub fn of(self, size: u64) -> u64 {
        let share = self.percent.map(|percent| size / 100 * u64::from(percent));
        match (share, self.bytes) {
            (Some(share), Some(bytes)) => share.min(bytes),
            (share, bytes) => share.or(bytes).unwrap_or(0),
        }
    }
}

/// Bytes that may be set aside for open batches; `None`: nothing new may come.
pub fn spare(disk: Disk, floor: Floor, promised: u64) -> Option<u64> {
    let spare = disk.free.checked_sub(floor.of(disk.size))?;
    (promised <= spare).then_some(spare)
}

/// What is set aside for a batch over a file of so many lines.
pub fn reservation(lines: u64) -> u64 {
    lines.saturating_mul(LINE_BYTES)
}

/// Whether so much more stays within a limit.
pub fn fits(held: u64, more: u64, limit: u64) -> bool {
    held.checked_add(more).is_some_and(|sum| sum <= limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    const GB: u64 = 1_000_000_000;

    fn disk(size: u64, free: u64) -> Disk {
        Disk { size, free }
    }

    #[test]
    fn the_smaller_bound_is_the_floor() {
        let only = |percent, bytes| Floor { percent, bytes };
        let table = [
            ("a small disk", Floor::SHIPPED, 20 * GB, 2 * GB),
            ("where both are the same", Floor::SHIPPED, 50 * GB, 5 * GB),
            ("a large disk", Floor::SHIPPED, 4_000 * GB, 5 * GB),
            ("a share alone", only(Some(10), None), 4_000 * GB, 400 * GB),
            ("bytes alone", only(None, Some(5 * GB)), 20 * GB, 5 * GB),
            ("a share of nothing", only(Some(0), None), 20 * GB, 0),
            ("nothing", Floor::NONE, 20 * GB, 0),
        ];
        for (what, floor, size, expected) in table {
            assert_eq!(floor.of(size), expected, "{what}");
        }
    }

    #[test]
    fn new_work_comes_in_while_what_is_free_holds_the_floor_and_what_is_promised() {
        let table = [
            ("plenty", 100 * GB, 0, Some(95 * GB)),
            ("just the floor", 5 * GB, 0, Some(0)),
            ("below the floor", 5 * GB - 1, 0, None),
            ("promised to the last byte", 8 * GB, 3 * GB, Some(3 * GB)),
            ("promised beyond it", 8 * GB, 3 * GB + 1, None),
            ("nothing free", 0, 0, None),
        ];
        for (what, free, promised, expected) in table {
            let spare = spare(disk(1_000 * GB, free), Floor::SHIPPED, promised);
            assert_eq!(spare, expected, "{what}");
        }
    }

    #[test]
    fn a_limit_holds_to_the_byte_and_no_sum_wraps() {
        assert!(fits(90, 10, 100));
        assert!(!fits(90, 11, 100));
        assert!(fits(100, 0, 100));
        assert!(!fits(101, 0, 100));
        assert!(!fits(1, u64::MAX, u64::MAX));
        assert_eq!(reservation(10), 3_000);
        assert_eq!(reservation(u64::MAX), u64::MAX);
    }
}
