//! The provider of batches as the SDK sees it, well-behaved and misbehaving.
#![allow(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod conduct;
mod rig;
