//! A packet cut into pieces on its way out.

use super::{Fragmented, Whole};

/// The shortest longest packet of a link that carries IPv6, in bytes (RFC 8200 §5).
const LEAST_MTU_V6: usize = 1_280;

/// What the headers of a piece say of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Where it belongs in what is cut, in bytes.
    pub offset: usize,
    /// Whether it is the last.
    pub is_last: bool,
    /// Whether it may not be cut again (IPv4).
    pub dont_fragment: bool,
    /// What the pieces have in common (IPv6).
    pub id: u32,
}

/// A packet in pieces of at most `mtu` bytes, in order (`ip_do_fragment`, `ip6_fragment`). One that was put together leaves
/// in the pieces that it came in, if they still fit; else in such that none is longer than the longest of those. `id` is
/// what IPv6 pieces have in common; those of IPv4 have the packet's.
///
/// None if `mtu` has no room for eight bytes of data.
pub fn pieces<A: Fragmented>(packet: &[u8], mtu: usize, whole: Option<&Whole>, id: u32) -> Option<Vec<Vec<u8>>> {
    let (head, added) = A::unfragmentable(packet)?;
    let data = packet.get(head..)?;
    let most = longest::<A>(mtu, whole).checked_sub(head + added)?;
    let aligned = most / 8 * 8;
    if aligned == 0 {
        return None;
    }
    let (lengths, dont_fragment) = match whole.and_then(|whole| as_it_came(whole, packet.len(), head, most)) {
        // Linux takes the flag from pieces that it hands on as they are, and not from such as it makes anew.
        Some(lengths) => (lengths, false),
        None => (equal(data.len(), most, aligned), whole.is_some_and(|whole| whole.dont_fragment)),
    };
    let (mut offset, mut out) = (0, Vec::with_capacity(lengths.len()));
    for length in lengths {
        let mut bytes = Vec::with_capacity(head + added + length);
        bytes.extend_from_slice(&packet[..head]);
        bytes.resize(head + added, 0);
        bytes.extend_from_slice(&data[offset..offset + length]);
        let is_last = offset + length == data.len();
        A::cut(&mut bytes, packet, head, Piece { offset, is_last, dont_fragment, id });
        out.push(bytes);
        offset += length;
    }
    Some(out)
}

/// How long a piece may be, in bytes.
fn longest<A: Fragmented>(mtu: usize, whole: Option<&Whole>) -> usize {
    match whole {
        Some(whole) if A::IS_V4 => mtu.min(whole.longest),
        Some(whole) => mtu.min(whole.longest.max(LEAST_MTU_V6)),
        None => mtu,
    }
}

/// The data of the pieces that the packet came in, unless it is no longer as long, or one of them does not fit.
fn as_it_came(whole: &Whole, length: usize, head: usize, most: usize) -> Option<Vec<usize>> {
    let (&first, rest) = whole.lengths.split_first()?;
    let first = first.checked_sub(head)?;
    if first + head + rest.iter().sum::<usize>() != length || rest.is_empty() {
        return None;
    }
    let lengths: Vec<usize> = core::iter::once(first).chain(rest.iter().copied()).collect();
    let last = lengths.len() - 1;
    let fits = |(n, &length): (usize, &usize)| length > 0 && length <= most && (length % 8 == 0 || n == last);
    lengths.iter().enumerate().all(fits).then_some(lengths)
}

/// Pieces as long as may be.
fn equal(mut left: usize, most: usize, aligned: usize) -> Vec<usize> {
    let mut lengths = Vec::new();
    while left > most {
        lengths.push(aligned);
        left -= aligned;
    }
    lengths.push(left);
    lengths
}
