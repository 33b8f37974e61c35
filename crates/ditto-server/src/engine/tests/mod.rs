//! The engine, asked through [`Service`](crate::Service) and driven by [`Server`](crate::Server), in
//! front of a simulated upstream.

#![expect(
    clippy::disallowed_methods,
    reason = "a test's own tasks end with its runtime"
)]

mod borders;
mod bytes;
mod cancel;
mod connections;
mod crash;
mod damage;
mod deletion;
mod faulty;
mod gaps;
mod lanes;
mod leasing;
mod litter;
mod outage;
mod prefixes;
mod replies;
mod results;
mod rig;
mod scripted;
mod several;
mod small;
mod space;
mod storage;
mod table;
mod turns;
mod whole;
