//! A case that differs, made as short as it can be: packets are dropped as long as the difference stays.

use super::Case;

/// The shortest case that can be had by dropping packets of `case` while `differs` stays true of it. It is asked of at most
/// as many cases as the square of the number of packets.
pub fn shrink(case: &Case, mut differs: impl FnMut(&Case) -> bool) -> Case {
    let with = |packets: &[_]| Case { packets: packets.to_vec(), ..case.clone() };
    with(&shorten(&case.packets, |packets| differs(&with(packets))))
}

/// The shortest list that can be had by dropping some of `all` while `differs` stays true of it.
pub(super) fn shorten<T: Clone>(all: &[T], mut differs: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut best = all.to_vec();
    let mut len = best.len().div_ceil(2);
    while len > 0 {
        let mut from = 0;
        let mut has_shrunk = false;
        while from < best.len() {
            let mut shorter = best.clone();
            shorter.drain(from..(from + len).min(best.len()));
            if differs(&shorter) {
                best = shorter;
                has_shrunk = true;
            } else {
                from += len;
            }
        }
        // The last round is repeated until nothing can go alone.
        len = if len == 1 { usize::from(has_shrunk) } else { len / 2 };
    }
    best
}
