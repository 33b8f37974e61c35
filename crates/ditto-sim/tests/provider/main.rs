//! The provider of batches as the SDK sees it, well-behaved and misbehaving.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod calls;
mod conduct;
mod courses;
mod downloads;
mod every;
mod limits;
mod looks;
mod rig;
mod rows;
