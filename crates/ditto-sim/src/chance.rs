//! Chance without state: each draw is a function of what it is for, so that a run can be repeated
//! whatever the order in which requests arrive.

/// What is drawn; two purposes never share a number.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Purpose {
    LineFault = 1,
    PassingFault = 2,
    Latency = 3,
    LatencyTwin = 4,
    Provider = 5,
    RowOrder = 6,
}

/// A number in `0.0..1.0` for the `nth` asking of `identity`.
pub(crate) fn draw(seed: u64, purpose: Purpose, identity: u64, nth: u32) -> f64 {
    let mut state = mix(seed ^ mix(purpose as u64));
    state = mix(state ^ identity);
    state = mix(state ^ u64::from(nth));
    (state >> 11) as f64 / (1u64 << 53) as f64
}

/// The finaliser of splitmix64: every input bit reaches every output bit.
pub(crate) fn mix(value: u64) -> u64 {
    let mut z = value.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
