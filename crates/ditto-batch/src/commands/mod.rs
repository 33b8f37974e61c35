//! One file per command: what was typed, what it means, what it does.

pub(crate) mod api;
pub(crate) mod backup;
pub(crate) mod batches;
pub(crate) mod check;
pub(crate) mod doctor;
pub(crate) mod files;
pub(crate) mod gc;
pub(crate) mod jobs;
pub(crate) mod keys;
pub(crate) mod merge;
pub(crate) mod providers;
pub(crate) mod remote;
mod rows;
pub(crate) mod run;
pub(crate) mod sample;
pub(crate) mod serve;
pub(crate) mod sim;
pub(crate) mod split;
pub(crate) mod stats;
pub(crate) mod verify;
