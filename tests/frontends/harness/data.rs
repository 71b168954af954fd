//! Bodies of known content and digest.

use crate::support::http::{Response, pattern};

pub const MIB: u64 = 1024 * 1024;

/// SHA-256 of the first bytes of the pattern, as `sha256sum` has it.
pub const DIGESTS: [(u64, &str); 5] = [
    (0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
    (1, "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"),
    (
        65_535,
        "dda402a2c028f0cbbdbc5c6ebae965eed9c75f71236e7022b0386d3455d5ae2f",
    ),
    (
        65_536,
        "4b640d85ab3ba30fd02c9fc9db4a8928f416322ad27022ea58a65aaee68a4df2",
    ),
    (MIB, "631b84027d6b9e52b539c4e8373622d23032dfadc64d60af87339c9037e4f769"),
];

pub const DIGEST_OF_50_MIB: &str = "3a7aef326b898081e6fb7b9599db2618b4f5e5301b64078f0f4e1f5382f634b9";

/// Asserts that the body is the first `length` bytes of the pattern, without printing them.
#[track_caller]
pub fn expect_pattern(response: &Response, length: u64) {
    assert_eq!(response.body.len() as u64, length);
    assert!(
        response.body == pattern(0, length as usize),
        "{length} bytes, but not the right ones"
    );
}
