//! Who may read what this process writes: nobody else, but for the results that it hands to its
//! user, which get the user's own mode.

use std::fs::{File, Permissions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::umask;

static USERS: OnceLock<u32> = OnceLock::new();

/// From now on new files are 0600 and new folders 0700: prompts and answers are in them.
pub(crate) fn make_private() {
    let before = umask(Mode::RWXG | Mode::RWXO);
    // Called once; a second call would only see our own.
    let _ = USERS.set(before.bits());
}

/// Gives a result file the mode that the user's other files have.
pub(crate) fn hand_over(file: &File) -> io::Result<()> {
    let users = USERS.get().copied().unwrap_or(0o022);
    file.set_permissions(Permissions::from_mode(0o666 & !users))
}
