//! Captures made here byte by byte, whole, cut short and damaged.

use super::*;

fn packet() -> Vec<u8> {
    crate::text::read("10.0.0.1:1 > 10.0.0.2:2 udp 3").expect("a packet")
}

/// A classic capture of raw IP: header, then seconds, fraction, frame and original length.
fn classic(magic: [u8; 4], big: bool, link: u32, records: &[(u32, u32, &[u8], usize)]) -> Vec<u8> {
    let word = |number: u32| if big { number.to_be_bytes() } else { number.to_le_bytes() };
    let mut bytes = magic.to_vec();
    [0, 0, 0, 65_535, link].iter().for_each(|&number| bytes.extend(word(number)));
    for &(seconds, fraction, frame, original) in records {
        [seconds, fraction, frame.len() as u32, original as u32].iter().for_each(|&number| bytes.extend(word(number)));
        bytes.extend_from_slice(frame);
    }
    bytes
}

fn block(kind: u32, body: &[u8]) -> Vec<u8> {
    let padded = body.len().next_multiple_of(4);
    let length = (padded as u32 + 12).to_le_bytes();
    [&kind.to_le_bytes()[..], &length, body, &vec![0; padded - body.len()], &length].concat()
}

/// A pcapng capture with one Ethernet interface whose stamps are nanoseconds.
fn blocks(frames: &[(u64, &[u8])]) -> Vec<u8> {
    let section = [&ORDER.to_le_bytes()[..], &[1, 0, 0, 0], &[0xff; 8]].concat();
    let interface = [&[1, 0, 0, 0, 0, 0, 4, 0][..], &[9, 0, 1, 0, 9, 0, 0, 0], &[0, 0, 0, 0]].concat();
    let mut bytes = [block(SECTION, &section), block(INTERFACE, &interface), block(5, &[7; 9])].concat();
    for &(ns, frame) in frames {
        let head = [0, (ns >> 32) as u32, ns as u32, frame.len() as u32, frame.len() as u32].map(u32::to_le_bytes);
        bytes.extend(block(ENHANCED_PACKET, &[head.as_flattened(), frame].concat()));
    }
    bytes
}

fn read(bytes: &[u8]) -> io::Result<Vec<(Duration, Vec<u8>)>> {
    let mut capture = Capture::new(bytes, Some(bytes.len() as u64))?;
    core::iter::from_fn(|| capture.next_packet().transpose()).collect()
}

#[test]
fn a_classic_capture_is_read_in_either_byte_order_and_with_either_stamp() {
    let (early, late) = ((9, 999_999_000, &packet()[..], 31), (10, 500, &packet()[..], 31));
    for (magic, big, per_tick) in [
        (NANOS.to_le_bytes(), false, 1),
        (NANOS.to_be_bytes(), true, 1),
        (MICROS.to_le_bytes(), false, 1_000),
        (MICROS.to_be_bytes(), true, 1_000),
    ] {
        let records = [(early.0, early.1 / per_tick, early.2, early.3), (late.0, late.1 / per_tick, late.2, late.3)];
        let packets = read(&classic(magic, big, 101, &records)).expect("a capture");
        let later = Duration::from_nanos(if per_tick == 1 { 1_500 } else { 1_000 });
        assert_eq!(packets, [(Duration::ZERO, packet()), (later, packet())]);
    }
}

#[test]
fn a_pcapng_capture_is_read_with_its_interfaces_unit_of_time() {
    let frame = [&[0; 12], &[0x08, 0x00][..], &packet()].concat();
    let arp = [&[0; 12], &[0x08, 0x06][..], &[0; 28]].concat();
    let second = 1_700_000_000_000_000_000;
    let bytes = blocks(&[(second, &frame), (second + 1, &arp), (second + 250, &frame)]);
    assert_eq!(read(&bytes).expect("a capture"), [(Duration::ZERO, packet()), (Duration::from_nanos(250), packet())]);
    let mut capture = Capture::new(&bytes[..], None).expect("a capture");
    while capture.next_packet().expect("whole").is_some() {}
    assert_eq!((capture.skipped(), capture.is_cut(), capture.progress()), (1, false, None));
}

#[test]
fn what_the_capture_left_out_of_a_packet_is_zeros() {
    let whole = crate::text::read("10.0.0.1:1 > 10.0.0.2:2 udp 100").expect("a packet");
    let bytes = classic(NANOS.to_le_bytes(), false, 101, &[(0, 0, &whole[..60], whole.len())]);
    let mut capture = Capture::new(&bytes[..], Some(bytes.len() as u64)).expect("a capture");
    assert_eq!(capture.next_packet().expect("a packet"), Some((Duration::ZERO, whole)));
    assert!(capture.is_cut());
    assert_eq!(capture.progress(), Some(1.0));
}

#[test]
fn every_end_in_the_middle_and_every_damage_is_an_error_or_packets_and_no_panic() {
    let frame = [&[0; 12], &[0x08, 0x00][..], &packet()].concat();
    let packet = packet();
    let classic = classic(MICROS.to_le_bytes(), false, 101, &[(0, 0, &packet, 31), (1, 0, &packet, 31)]);
    for bytes in [classic, blocks(&[(0, &frame), (5, &frame)])] {
        for end in 0..bytes.len() {
            if let Ok(packets) = read(&bytes[..end]) {
                assert!(packets.len() < 2, "{end}");
            }
        }
        for at in 0..bytes.len() {
            for damage in [0x01, 0x80, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] ^= damage;
                let _ = read(&bytes);
            }
        }
    }
}

#[test]
fn a_link_that_is_not_known_is_named() {
    let bytes = classic(NANOS.to_le_bytes(), false, 105, &[]);
    let error = read(&bytes).expect_err("802.11");
    assert!(error.to_string().contains("105") && error.to_string().contains("Ethernet (1)"), "{error}");
}
