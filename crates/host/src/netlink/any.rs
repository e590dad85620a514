//! Any bytes as what the kernel sends: what random bytes and a fuzzer are given to.

use super::message::split;
use super::{attributes, conntrack, route};

/// How deep attributes are looked for in one another.
const DEPTH: usize = 4;

/// Reads bytes as messages, each as everything that is known, and as attributes in one another. Says how many there were.
pub fn read_any(bytes: &[u8]) -> usize {
    let mut count = nested(bytes, DEPTH);
    for reply in split(bytes) {
        let _ = (route::Address::parse(&reply), route::Link::parse(&reply), route::Route::parse(&reply));
        conntrack::read_any(&reply);
        count += 1 + nested(&reply.payload, DEPTH);
    }
    count
}

fn nested(bytes: &[u8], depth: usize) -> usize {
    if depth == 0 {
        return 0;
    }
    attributes(bytes).map(|(_, value)| 1 + nested(value, depth - 1)).sum()
}
