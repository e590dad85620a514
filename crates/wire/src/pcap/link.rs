//! From a frame to the IP packet in it: link types of captures (<https://www.tcpdump.org/linktypes.html>).

/// What packets of a capture begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Link {
    /// An IP header.
    Raw,
    /// Ethernet's header.
    Ethernet,
    /// Four bytes that say the address family: loopback on BSD.
    Null,
    /// Linux "cooked" frames, first version.
    Sll,
    /// The second one.
    Sll2,
}

/// Their numbers, several of which mean the same; for people, which are known.
pub(super) const KNOWN: &str =
    "NULL (0), Ethernet (1), raw IP (101, 12, 14, 228, 229), LOOP (108), Linux cooked (113, 276)";

const IPV4: u16 = 0x0800;
const IPV6: u16 = 0x86dd;
/// 802.1Q, 802.1ad and the tag that was before it.
const VLAN: [u16; 3] = [0x8100, 0x88a8, 0x9100];
/// PPPoE's session stage (RFC 2516), which carries PPP.
const PPPOE: u16 = 0x8864;

impl Link {
    /// The link of this number (`LINKTYPE_…`).
    pub(super) const fn of(number: u32) -> Option<Self> {
        match number {
            0 | 108 => Some(Self::Null),
            1 => Some(Self::Ethernet),
            12 | 14 | 101 | 228 | 229 => Some(Self::Raw),
            113 => Some(Self::Sll),
            276 => Some(Self::Sll2),
            _ => None,
        }
    }

    /// The IP packet in a frame, without what the link has behind it. None if there is something else in it.
    pub(super) fn packet(self, frame: &[u8]) -> Option<&[u8]> {
        let inside = match self {
            Self::Raw => frame,
            Self::Null => frame.get(4..)?,
            Self::Ethernet => behind(frame, 12)?,
            Self::Sll => behind(frame, 14)?,
            Self::Sll2 => {
                let (protocol, rest) = (u16_at(frame, 0)?, frame.get(20..)?);
                unwrap(protocol, rest)?
            }
        };
        let length = match inside.first()? >> 4 {
            4 => usize::from(u16_at(inside, 2)?),
            6 => 40 + usize::from(u16_at(inside, 4)?),
            _ => return None,
        };
        // A length of zero is that of a packet that is yet to be cut into segments.
        let is_told = length > 0 && (length > 40 || inside[0] >> 4 == 4);
        Some(if is_told { &inside[..length.min(inside.len())] } else { inside })
    }
}

/// What is behind the protocol number at `at`.
fn behind(frame: &[u8], at: usize) -> Option<&[u8]> {
    unwrap(u16_at(frame, at)?, frame.get(at + 2..)?)
}

/// Skips tags and PPPoE.
fn unwrap(mut protocol: u16, mut rest: &[u8]) -> Option<&[u8]> {
    while VLAN.contains(&protocol) {
        protocol = u16_at(rest, 2)?;
        rest = rest.get(4..)?;
    }
    if protocol == PPPOE {
        protocol = match u16_at(rest, 6)? {
            0x0021 => IPV4,
            0x0057 => IPV6,
            _ => return None,
        };
        rest = rest.get(8..)?;
    }
    matches!(protocol, IPV4 | IPV6).then_some(rest)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*bytes.get(at)?, *bytes.get(at + 1)?]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packet() -> Vec<u8> {
        crate::text::read("10.0.0.1:1 > 10.0.0.2:2 udp 3").expect("a packet")
    }

    #[test]
    fn the_packet_is_found_behind_every_link_and_what_the_link_adds_is_not_part_of_it() {
        let ethernet = |head: &[u8]| [&[0; 12], head].concat();
        let cases = [
            (101, vec![]),
            (228, vec![]),
            (0, vec![2, 0, 0, 0]),
            (108, vec![0, 0, 0, 2]),
            (1, ethernet(&[0x08, 0x00])),
            (1, ethernet(&[0x81, 0x00, 0, 7, 0x08, 0x00])),
            (1, ethernet(&[0x88, 0xa8, 0, 7, 0x81, 0x00, 0, 9, 0x08, 0x00])),
            (1, ethernet(&[0x88, 0x64, 0x11, 0, 0, 1, 0, 41, 0, 0x21])),
            (113, [&[0; 14], &[0x08, 0x00][..]].concat()),
            (276, [&[0x08, 0x00][..], &[0; 18]].concat()),
        ];
        for (number, head) in cases {
            let link = Link::of(number).expect("known");
            let frame = [head, packet(), vec![0; 15]].concat();
            assert_eq!(link.packet(&frame), Some(&packet()[..]), "{number}");
            for length in 0..frame.len() {
                link.packet(&frame[..length]);
            }
        }
    }

    #[test]
    fn what_is_not_ip_is_nothing() {
        let arp = [&[0; 12][..], &[0x08, 0x06], &[0; 28]].concat();
        assert_eq!(Link::Ethernet.packet(&arp), None);
        assert_eq!(Link::Raw.packet(&[0x10; 40]), None);
        assert_eq!(Link::of(147), None);
    }
}
