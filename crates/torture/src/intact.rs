//! Whether the checksums of a packet are right, found out without the code that keeps them right.

use pinhole_wire::checksum::{self, Sum};
use pinhole_wire::{Protocol, ip};

/// Whether the header's and the transport's checksum of an IP packet are right. Nothing, if that cannot be told from this
/// packet: it is a fragment, cut, or of a protocol whose checksum is not known here.
pub fn intact(packet: &[u8]) -> Option<bool> {
    let ip = ip::Packet::new_checked(packet).ok()?;
    if packet[0] >> 4 == 4 && checksum::of(&packet[..usize::from(packet[0] & 0xf) * 4]) != 0 {
        return Some(false);
    }
    if ip.is_fragment() {
        return None;
    }
    let upper = ip.upper().ok()?;
    let body = packet.get(upper.offset..ip.total_len())?;
    let pseudo = |length: usize| Sum::pseudo_header(ip.src(), ip.dst(), upper.protocol, length);
    let number = u8::from(upper.protocol);
    let u16_at = |at: usize| body.get(at..at + 2).map(|field| u16::from_be_bytes([field[0], field[1]]));
    match (upper.protocol, number) {
        (Protocol::Tcp, _) => (body.len() >= 20).then(|| pseudo(body.len()).bytes(body).is_valid()),
        (Protocol::Udp, _) => {
            let length = usize::from(u16_at(4)?);
            let datagram = body.get(..length).filter(|_| length >= 8)?;
            Some(u16_at(6)? == 0 || pseudo(length).bytes(datagram).is_valid())
        }
        (Protocol::Icmp, _) if ip.src().is_ipv4() => (body.len() >= 8).then(|| checksum::of(body) == 0),
        (Protocol::Icmpv6, _) if ip.src().is_ipv6() => {
            (body.len() >= 8).then(|| pseudo(body.len()).bytes(body).is_valid())
        }
        (_, SCTP) => {
            let sum = body.get(8..12)?;
            let mut zeroed = body.to_vec();
            zeroed[8..12].fill(0);
            Some(crc32c(&zeroed).to_le_bytes() == *sum)
        }
        _ => None,
    }
}

const SCTP: u8 = 132;

/// CRC32c, bit by bit (RFC 9260 appendix A).
fn crc32c(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, &byte| (0..8).fold(crc ^ u32::from(byte), |crc, _| step(crc)))
}

#[cfg(test)]
mod tests {
    use pinhole_wire::text;

    use super::*;

    #[test]
    fn a_flipped_bit_is_seen() {
        for line in [
            "10.0.0.1:1 > 203.0.113.2:2 udp 5",
            "[fd00::1]:1 > [fd00::2]:2 tcp S seq 1 ack 0 win 1 3",
            "10.0.0.1 > 203.0.113.2 icmp echo-request id 7 seq 1 4",
            "fd00::1 > fd00::2 icmp6 echo-request id 7 seq 1 4",
            "10.0.0.1:4000 > 203.0.113.2:80 sctp tag 0x0 (INIT tag 0x5 rwnd 1 out 1 in 1 tsn 1)",
        ] {
            let mut packet = text::read(line).expect("a packet");
            assert_eq!(intact(&packet), Some(true), "{line}");
            *packet.last_mut().expect("a byte") ^= 1;
            assert_eq!(intact(&packet), Some(false), "{line}");
        }
    }
}
