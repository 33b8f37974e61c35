//! Exit codes, stable: scripts depend on them.

/// Every line answered, nothing wrong.
pub(crate) const DONE: u8 = 0;
/// Something that should not happen.
pub(crate) const UNEXPECTED: u8 = 1;
/// The command line is wrong.
pub(crate) const USAGE: u8 = 2;
/// No such file, batch or model.
pub(crate) const NOT_FOUND: u8 = 3;
/// Key, quota or rights.
pub(crate) const NOT_ALLOWED: u8 = 4;
/// Something changed, is in use, or would be overwritten.
pub(crate) const CONFLICT: u8 = 5;
/// Provider, upstream or network away.
pub(crate) const AWAY: u8 = 6;
/// The local disk refuses.
pub(crate) const LOCAL_IO: u8 = 8;
/// Finished; some lines failed for good.
pub(crate) const SOME_FAILED: u8 = 9;
/// Stopped before the end; the same command goes on.
pub(crate) const NOT_FINISHED: u8 = 10;
/// The input is refused.
pub(crate) const REFUSED: u8 = 12;
/// Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;
