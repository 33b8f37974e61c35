//! The decisions of the server, as pure functions: no clock, no disk, no network.
//!
//! Each file answers one question: [`batch`]: what state comes next? [`plan`]: where do segments
//! begin? [`policy`]: what becomes of a line? [`lane`]: may a lane send? [`turn`]: whose line is next?
//! [`litter`]: are bytes that were found still somebody's? [`space`]: may there be more of them?
//! [`cursor`]: which results has a reader got?
//! [`upload`]: do its parts make up a file?
//! [`rate`]: may it be done again already? [`throttle`]: how much may a lane send? By [`knee`]: how many at
//! once? And by [`pace`]: how soon the next? [`retry_budget`]: may a line be sent again already?
//! [`blame`]: which of both was refused? [`background`]: or neither, and by chance? [`allowance`]: what has
//! the upstream said that it will still take?

pub mod allowance;
pub mod background;
pub mod batch;
pub mod blame;
pub mod cursor;
#[cfg(any(test, fuzzing))]
pub(crate) mod fuzzing;
pub mod knee;
pub mod lane;
pub mod litter;
pub mod pace;
pub mod plan;
pub mod policy;
pub mod rate;
pub mod retry_budget;
pub mod space;
pub mod throttle;
pub mod turn;
pub mod upload;
