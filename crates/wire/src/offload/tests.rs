//! Cutting is held to packets built from scratch, putting together to cutting.

use std::collections::HashMap;

use pinhole_sansio::Rng;

use super::*;

/// A packet as its parts.
#[derive(Clone, Debug)]
struct Parts {
    v6: bool,
    tcp: bool,
    flow: u16,
    id: u16,
    sequence: u32,
    flags: u8,
    options: usize,
    payload: Vec<u8>,
}

impl Parts {
    /// The packet, built field by field, with right checksums.
    fn build(&self) -> Vec<u8> {
        let mut transport = if self.tcp {
            let mut tcp = vec![0; 20 + self.options];
            tcp[..2].copy_from_slice(&self.flow.to_be_bytes());
            tcp[2..4].copy_from_slice(&443u16.to_be_bytes());
            tcp[4..8].copy_from_slice(&self.sequence.to_be_bytes());
            tcp[8..12].copy_from_slice(&77u32.to_be_bytes());
            tcp[12] = (((20 + self.options) / 4) << 4) as u8;
            tcp[13] = self.flags;
            tcp[14..16].copy_from_slice(&512u16.to_be_bytes());
            tcp[20..].fill(1);
            tcp
        } else {
            let len = (8 + self.payload.len()) as u16;
            let fields = [self.flow, 443, len, 0];
            fields.iter().flat_map(|field| field.to_be_bytes()).collect()
        };
        let field = if self.tcp { 16 } else { 6 };
        transport.extend_from_slice(&self.payload);
        let (mut packet, addresses) = self.network(transport.len());
        let number = if self.tcp { 6 } else { 17 };
        let pseudo = [&packet[addresses], &(transport.len() as u32).to_be_bytes(), &[0, 0, 0, number]].concat();
        let sum = naive(&[pseudo, transport.clone()].concat());
        let sum = if sum == 0 && !self.tcp { 0xffff } else { sum };
        transport[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        packet.extend_from_slice(&transport);
        packet
    }

    fn network(&self, len: usize) -> (Vec<u8>, std::ops::Range<usize>) {
        let number = if self.tcp { 6 } else { 17 };
        if self.v6 {
            let mut header = vec![0x60, 0, 0, 0, (len >> 8) as u8, len as u8, number, 64];
            header.extend((0..32).map(|byte| byte ^ self.flow as u8));
            return (header, 8..40);
        }
        let total = (20 + len) as u16;
        let mut header =
            vec![0x45, 0, (total >> 8) as u8, total as u8, (self.id >> 8) as u8, self.id as u8, 0x40, 0, 64];
        header.extend_from_slice(&[number, 0, 0, 10, 0, 0, self.flow as u8, 192, 0, 2, 1]);
        let sum = naive(&header);
        header[10..12].copy_from_slice(&sum.to_be_bytes());
        (header, 12..20)
    }

    fn transport(&self) -> usize {
        if self.v6 { 40 } else { 20 }
    }

    fn headers(&self) -> usize {
        self.transport() + if self.tcp { 20 + self.options } else { 8 }
    }

    /// The packet as the kernel leaves it at a TUN device: with the sum of the pseudo-header in the place of the checksum.
    fn unfinished(&self) -> Vec<u8> {
        let mut packet = self.build();
        let (start, field) = (self.transport(), if self.tcp { 16 } else { 6 });
        let addresses = if self.v6 { 8..40 } else { 12..20 };
        let number = if self.tcp { 6 } else { 17 };
        let len = (packet.len() - start) as u32;
        let pseudo = [&packet[addresses], &len.to_be_bytes(), &[0, 0, 0, number]].concat();
        packet[start + field..start + field + 2].copy_from_slice(&(!naive(&pseudo)).to_be_bytes());
        packet
    }
}

/// The Internet checksum, word by word.
fn naive(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(*pair.get(1).unwrap_or(&0)));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    !(sum as u16)
}

fn random(rng: &mut Rng, len: usize) -> Vec<u8> {
    (0..len).map(|_| rng.next_u64() as u8).collect()
}

fn segments(vnet: &VnetHdr, packet: &[u8]) -> Vec<Vec<u8>> {
    let split = Split::new(vnet, packet).expect("well formed");
    let write = |index| {
        let mut segment = vec![0xee; split.segment_len(index)];
        split.write(index, &mut segment);
        segment
    };
    (0..split.count()).map(write).collect()
}

#[test]
fn a_large_packet_is_cut_into_what_would_have_been_sent_without_offload() {
    let mut rng = Rng::from_seed(1);
    for _ in 0..100 {
        let (size, len) = (1 + rng.below(1400) as usize, 2 + rng.below(20_000) as usize);
        let whole = Parts {
            v6: rng.chance(0.5),
            tcp: rng.chance(0.7),
            flow: 5,
            id: rng.next_u64() as u16,
            sequence: rng.next_u64() as u32,
            // ACK, and FIN, PSH, CWR at random.
            flags: 0x10 | (rng.next_u64() as u8 & 0x89),
            options: [0, 12][rng.below(2) as usize],
            payload: random(&mut rng, len),
        };
        let vnet = VnetHdr {
            flags: NEEDS_CSUM,
            gso_type: match (whole.tcp, whole.v6) {
                (true, false) => GSO_TCPV4,
                (true, true) => GSO_TCPV6,
                (false, _) => GSO_UDP_L4,
            },
            hdr_len: whole.headers() as u16,
            gso_size: size as u16,
            csum_start: whole.transport() as u16,
            csum_offset: if whole.tcp { 16 } else { 6 },
        };
        let count = len.div_ceil(size);
        let expected: Vec<Vec<u8>> = whole
            .payload
            .chunks(size)
            .enumerate()
            .map(|(index, payload)| {
                let (first, last) = (index == 0, index + 1 == count);
                let dropped = if last { 0 } else { 0x09 } | if first { 0 } else { 0x80 };
                let parts = Parts {
                    id: whole.id.wrapping_add(index as u16),
                    sequence: whole.sequence.wrapping_add((index * size) as u32),
                    flags: whole.flags & !dropped,
                    payload: payload.to_vec(),
                    ..whole.clone()
                };
                parts.build()
            })
            .collect();
        assert_eq!(segments(&vnet, &whole.unfinished()), expected);
    }
}

#[test]
fn a_packet_without_offload_goes_as_it_is_and_one_without_checksum_gets_it() {
    for (v6, tcp) in [(false, false), (false, true), (true, false), (true, true)] {
        let parts = Parts { v6, tcp, flow: 9, id: 1, sequence: 1, flags: 0x18, options: 0, payload: vec![7; 99] };
        assert_eq!(segments(&VnetHdr::default(), &parts.build()), [parts.build()]);
        let vnet = VnetHdr {
            flags: NEEDS_CSUM,
            csum_start: parts.transport() as u16,
            csum_offset: if tcp { 16 } else { 6 },
            ..VnetHdr::default()
        };
        assert_eq!(segments(&vnet, &parts.unfinished()), [parts.build()]);
    }
}

/// Puts `packets` together, and cuts what comes out apart again: (groups, packets in order).
#[test]
fn a_checksum_is_vouched_for_that_was_looked_at_or_is_still_to_be_made() {
    for (flags, expected) in [(0, false), (NEEDS_CSUM, true), (DATA_VALID, true), (4, false)] {
        assert_eq!(VnetHdr { flags, ..VnetHdr::default() }.is_checksum_vouched_for(), expected, "{flags}");
    }
}

#[test]
fn a_partial_checksum_is_renewed_for_other_addresses_and_only_that() {
    let vnet = |parts: &Parts, flags: u8| VnetHdr {
        flags,
        csum_start: parts.transport() as u16,
        csum_offset: if parts.tcp { 16 } else { 6 },
        ..VnetHdr::default()
    };
    let mut rng = Rng::from_seed(9);
    for (v6, tcp) in [(false, false), (false, true), (true, false), (true, true)] {
        let payload = random(&mut rng, 1_001);
        let (sequence, options) = (5, if tcp { 12 } else { 0 });
        let parts = Parts { v6, tcp, flow: 7, id: 3, sequence, flags: 0x10, options, payload };
        let addresses = if v6 { 8..40 } else { 12..20 };
        // Other addresses and another port, as a NAT gives them. What it did to the checksum does not matter.
        let mut translated = parts.unfinished();
        translated[addresses.clone()].copy_from_slice(&random(&mut rng, addresses.len()));
        translated[parts.transport()..][..2].copy_from_slice(&[0xab, 0xcd]);
        let (start, field) = (parts.transport(), parts.transport() + usize::from(vnet(&parts, 1).csum_offset));
        translated[field..field + 2].copy_from_slice(&[0x12, 0x34]);
        let mut finished = translated.clone();
        vnet(&parts, 1).renew_partial_checksum(&mut finished);
        let sum = naive(&finished[start..]);
        finished[field..field + 2].copy_from_slice(&sum.to_be_bytes());
        let length = ((finished.len() - start) as u32).to_be_bytes();
        let pseudo = [&finished[addresses], &length, &[0, 0, 0, if tcp { 6 } else { 17 }]].concat();
        assert_eq!(naive(&[&pseudo, &finished[start..]].concat()), 0, "v6 {v6}, tcp {tcp}");
        let mut whole = translated.clone();
        vnet(&parts, 0).renew_partial_checksum(&mut whole);
        assert_eq!(whole, translated, "a whole checksum stays");
    }
    let wrong = VnetHdr { flags: 1, csum_start: 60_000, csum_offset: 6, ..VnetHdr::default() };
    for length in 0..64 {
        wrong.renew_partial_checksum(&mut random(&mut rng, length));
    }
}

fn round_trip(packets: &[Vec<u8>]) -> (usize, Vec<Vec<u8>>) {
    let (mut arena, mut coalescer) = (Vec::new(), Coalescer::new(true));
    let ranges: Vec<_> = packets
        .iter()
        .map(|packet| {
            // Packets do not lie side by side in a receive buffer.
            arena.extend_from_slice(&[0xee; 48]);
            arena.extend_from_slice(packet);
            arena.len() - packet.len()..arena.len()
        })
        .collect();
    for range in ranges {
        coalescer.push(&arena, range);
    }
    coalescer.finish(&mut arena);
    let mut out = Vec::new();
    for group in coalescer.groups() {
        let mut whole = arena[group.first.clone()].to_vec();
        group.rest.iter().for_each(|range| whole.extend_from_slice(&arena[range.clone()]));
        assert!(whole.len() <= 65_535);
        out.extend(segments(&group.vnet, &whole));
    }
    (coalescer.groups().count(), out)
}

/// The packets of each flow, in order.
fn by_flow(packets: &[Vec<u8>]) -> HashMap<Vec<u8>, Vec<Vec<u8>>> {
    let mut flows = HashMap::<_, Vec<_>>::new();
    for packet in packets {
        let key = if packet[0] >> 4 == 6 { packet[6..44].to_vec() } else { [&packet[9..10], &packet[12..24]].concat() };
        // Without the byte that holds the hop limit or protocol of IPv6, nothing here differs within a flow.
        flows.entry(key).or_default().push(packet.clone());
    }
    flows
}

#[test]
fn what_was_put_together_and_is_cut_again_is_what_it_was_in_the_order_of_each_flow() {
    let mut rng = Rng::from_seed(2);
    for round in 0..40 {
        let mut flows: Vec<Parts> = (0..1 + rng.below(5))
            .map(|flow| Parts {
                v6: rng.chance(0.5),
                tcp: rng.chance(0.7),
                flow: flow as u16 + 1,
                id: rng.next_u64() as u16,
                sequence: rng.next_u64() as u32,
                flags: 0x10,
                options: 12,
                payload: Vec::new(),
            })
            .collect();
        let mut packets = Vec::new();
        for _ in 0..200 {
            let at = rng.below(flows.len() as u64) as usize;
            let flow = &mut flows[at];
            let len = if rng.chance(0.9) { 1368 } else { rng.below(1400) as usize };
            flow.payload = random(&mut rng, len);
            flow.flags = match rng.below(30) {
                0 => 0x11,
                1..4 => 0x18,
                _ => 0x10,
            };
            let mut packet = flow.build();
            if rng.chance(0.02) {
                // Damaged before it came into the tunnel: it must reach the host as damaged.
                let last = packet.len() - 1;
                packet[last] ^= 1;
            }
            // A lost one leaves a hole, which in UDP nobody sees. Identifications mean nothing there: these are never fragments.
            let lost = rng.chance(0.03);
            if !lost {
                packets.push(packet);
            }
            flow.sequence = flow.sequence.wrapping_add(len as u32);
            flow.id = flow.id.wrapping_add(u16::from(flow.tcp || !lost));
        }
        let (groups, out) = round_trip(&packets);
        assert!(by_flow(&out) == by_flow(&packets), "round {round}");
        assert!(groups < packets.len() * 2 / 3, "{groups} groups of {} packets", packets.len());
    }
}

#[test]
fn a_steady_flow_becomes_as_few_writes_as_fit_a_packet() {
    let mut parts =
        Parts { v6: false, tcp: true, flow: 1, id: 0, sequence: 0, flags: 0x10, options: 12, payload: vec![1; 1368] };
    let packets: Vec<Vec<u8>> = (0..94)
        .map(|_| {
            let packet = parts.build();
            (parts.id, parts.sequence) = (parts.id + 1, parts.sequence + 1368);
            packet
        })
        .collect();
    // 52 + 47 x 1368 = 64,348 bytes.
    assert_eq!(round_trip(&packets).0, 2);
}

#[test]
fn packets_that_differ_in_more_than_a_cut_would_make_them_differ_are_not_put_together() {
    let base =
        Parts { v6: false, tcp: true, flow: 1, id: 0, sequence: 0, flags: 0x10, options: 0, payload: vec![1; 100] };
    let next = Parts { id: 1, sequence: 100, ..base.clone() };
    assert_eq!(round_trip(&[base.build(), next.build()]).0, 1, "these two belong together");
    let differs = |what: &str, at: usize, value: u8| {
        let mut other = next.build();
        other[at] = value;
        // With right checksums, so that they are not the reason.
        other[10..12].fill(0);
        let sum = naive(&other[..20]);
        other[10..12].copy_from_slice(&sum.to_be_bytes());
        other[36..38].fill(0);
        let len = (other.len() - 20) as u32;
        let sum = naive(&[&other[12..20], &len.to_be_bytes(), &[0, 0, 0, 6], &other[20..]].concat());
        other[36..38].copy_from_slice(&sum.to_be_bytes());
        assert_eq!(round_trip(&[base.build(), other]).0, 2, "{what}");
    };
    differs("type of service", 1, 0x10);
    differs("time to live", 8, 63);
    differs("source", 15, 9);
    differs("port", 21, 9);
    differs("sequence number", 27, 9);
    differs("acknowledgement", 31, 9);
    differs("flags", 33, 0x12);
    differs("urgent pointer", 39, 9);
}

#[test]
fn no_bytes_make_it_panic() {
    let mut rng = Rng::from_seed(4);
    for _ in 0..20_000 {
        let len = rng.below(120) as usize;
        let mut packet = random(&mut rng, len);
        if let Some(first) = packet.first_mut() {
            *first = [0x45, 0x60, *first][rng.below(3) as usize];
        }
        if packet.len() > 9 {
            packet[9] = [6, 17][rng.below(2) as usize];
            packet[6] = if packet[0] == 0x60 { packet[9] } else { 0 };
        }
        let header = random(&mut rng, VnetHdr::LEN);
        let mut vnet = VnetHdr::read(&header).expect("long enough");
        vnet.gso_type = [0, 1, 4, 5, 0x81, vnet.gso_type][rng.below(6) as usize];
        (vnet.csum_start, vnet.csum_offset) = (vnet.csum_start % 128, vnet.csum_offset % 128);
        if let Ok(split) = Split::new(&vnet, &packet) {
            for index in 0..split.count() {
                split.write(index, &mut vec![0; split.segment_len(index)]);
            }
        }
        let mut coalescer = Coalescer::new(true);
        coalescer.push(&packet, 0..packet.len());
        coalescer.push(&packet, 0..packet.len());
        coalescer.finish(&mut packet);
    }
}
