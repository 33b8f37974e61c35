//! Whole lanes.

mod scenarios;
mod world;
