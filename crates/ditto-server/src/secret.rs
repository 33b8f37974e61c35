//! API keys as bytes: their hashes, and how two of them are compared.
//!
//! With the cryptography that TLS brings along: nothing is added for it.

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::digest::{SHA256, digest};

/// Of a key. What a key of ours has of chance no list of likely keys covers, so one round is enough.
pub(crate) type Hash = [u8; 32];

/// SHA-256.
pub(crate) fn hash(key: &[u8]) -> Hash {
    let digest = digest(&SHA256, key);
    digest.as_ref().try_into().expect("SHA-256 has 32 bytes")
}

/// Whether they are the same, in a time that does not depend on where they differ.
pub(crate) fn same(one: &Hash, other: &Hash) -> bool {
    verify_slices_are_equal(one, other).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_is_the_one_that_every_tool_gives() {
        // `printf abc | sha256sum`
        let hex: String = hash(b"abc").iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(
            hex,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
    }

    #[test]
    fn hashes_are_the_same_to_the_last_bit() {
        let one = hash(b"sk-1");
        let mut other = one;
        assert!(same(&one, &other));
        other[31] ^= 1;
        assert!(!same(&one, &other));
    }
}
