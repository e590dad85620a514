//! Which address of a range a flow gets: always the same for the same source and destination (`find_best_ips_proto`).
//!
//! Nothing is drawn: the hash is Bob Jenkins's lookup3 (public domain) without a secret, over the words of an address as a
//! little-endian machine has them, so that our answer is the kernel's.

use super::Manip;
use crate::tuple::Address;

/// The address of `min` to `max` for a flow from `src` to `dst`. The destination and the zone count unless the range is
/// persistent, which is no zone.
pub(super) fn address<A: Address>(src: A, dst: A, (min, max): (A, A), manip: Manip, zone: Option<u16>) -> A {
    let last = (A::BITS / 32 - 1) as usize;
    let ([src, mut dst], [min, max]) = ([words(src), words(dst)], [words(min), words(max)]);
    let also = zone.map_or(0, |zone| dst[last].swap_bytes() ^ u32::from(zone));
    let mut hash = hash(src.map(u32::swap_bytes), also);
    let (mut chosen, mut is_below) = ([0; 4], false);
    for at in 0..=last {
        // Once a word is not the highest one, those behind it may be anything.
        let (low, size) =
            if is_below { (0, u32::MAX) } else { (min[at], (max[at].wrapping_sub(min[at])).wrapping_add(1)) };
        chosen[at] = low.wrapping_add(scale(hash, size));
        is_below |= chosen[at] != max[at];
        if manip == Manip::Destination {
            dst[at] = chosen[at];
        }
        if zone.is_some() {
            hash ^= dst[at].swap_bytes();
        }
    }
    A::of_number(chosen[..=last].iter().fold(0, |number, word| number << 32 | u128::from(*word)))
}

/// The words of an address, the highest first; an IPv4 address is one, and three zeros.
fn words<A: Address>(address: A) -> [u32; 4] {
    let number = address.to_number() << (128 - A::BITS);
    [96, 64, 32, 0].map(|shift| (number >> shift) as u32)
}

/// A number below `size` (`reciprocal_scale`).
const fn scale(hash: u32, size: u32) -> u32 {
    ((hash as u64 * size as u64) >> 32) as u32
}

/// lookup3's hash of four words.
fn hash([first, second, third, fourth]: [u32; 4], seed: u32) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(4 << 2).wrapping_add(seed);
    let [mut a, mut b, mut c] = [first, second, third].map(|word| start.wrapping_add(word));
    for turn in [4, 6, 8, 16, 19, 4] {
        a = a.wrapping_sub(c) ^ c.rotate_left(turn);
        c = c.wrapping_add(b);
        (a, b, c) = (b, c, a);
    }
    a = a.wrapping_add(fourth);
    for turn in [14, 11, 25, 16, 4, 14, 24] {
        c = (c ^ b).wrapping_sub(b.rotate_left(turn));
        (a, b, c) = (b, c, a);
    }
    // The last one that was changed has become the second.
    b
}

#[cfg(test)]
mod tests {
    use core::net::{Ipv4Addr, Ipv6Addr};

    use super::*;

    #[test]
    fn the_address_of_a_range_is_the_one_that_linux_takes() {
        // Measured on 6.18.
        let v4 = |host: u8, range: [[u8; 4]; 2], zone| {
            let range = (range[0].into(), range[1].into());
            address(Ipv4Addr::new(10, 0, 0, 10), Ipv4Addr::new(198, 51, 100, host), range, Manip::Source, zone)
        };
        let few = [[203, 0, 113, 5], [203, 0, 113, 8]];
        assert_eq!(v4(1, few, Some(0)), Ipv4Addr::new(203, 0, 113, 7));
        assert_eq!(v4(2, few, Some(0)), Ipv4Addr::new(203, 0, 113, 6));
        assert_eq!([1, 2].map(|host| v4(host, few, None)), [Ipv4Addr::new(203, 0, 113, 8); 2], "persistent");
        assert_eq!(v4(1, [[203, 0, 0, 9], [203, 0, 113, 200]], Some(0)), Ipv4Addr::new(203, 0, 80, 225));

        let [inside, outside]: [Ipv6Addr; 2] = ["fd00::a", "2001:db8:1::2"].map(|text| text.parse().expect("IPv6"));
        let v6 = |src, dst, [min, max]: [&str; 2], manip, zone| {
            let range = (min.parse().expect("IPv6"), max.parse().expect("IPv6"));
            address::<Ipv6Addr>(src, dst, range, manip, zone).to_string()
        };
        let few = ["2001:db8::5", "2001:db8::ff"];
        assert_eq!(v6(inside, outside, few, Manip::Source, Some(0)), "2001:db8::8e");
        assert_eq!(v6(inside, outside, few, Manip::Source, None), "2001:db8::6b");
        let many = ["2001:db8::5", "2001:db8:9:8:7:6:5:4"];
        let far = "2001:db8:4:eef2:8c53:5024:8c53:5024";
        assert_eq!(v6(inside, outside, many, Manip::Source, Some(0)), far, "words behind a lower one may be anything");
        let (router, hosts) = ("2001:db8::5".parse().expect("IPv6"), ["fd00::1:5", "fd00::9:1"]);
        assert_eq!(v6(outside, router, hosts, Manip::Destination, Some(0)), "fd00::2:3394");
    }

    #[test]
    fn the_hash_is_lookup3() {
        // From the definition, worked out apart.
        assert_eq!(hash([1, 2, 3, 4], 5), 1_934_986_293);
    }
}
