//! Packets, their text and files of them.

use core::time::Duration;

use pinhole_wire::{Flow, answer, edit, icmp, ip, ipv4, ipv6, offload, pcap, tcp, text, udp, wireguard};

use crate::{Choices, intact};

/// Every view of any bytes, and what is done to packets.
pub(crate) fn views(bytes: &[u8]) {
    let _ = ipv4::Packet::new_checked(bytes).map(|ip| (ip.header().len(), ip.payload().len(), ip.verify_checksum()));
    let _ = ipv6::Packet::new_checked(bytes).map(|ip| (ip.payload().len(), ip.upper_layer()));
    let _ = udp::Packet::new_checked(bytes).map(|udp| udp.payload().len());
    let _ = tcp::Packet::new_checked(bytes).map(|tcp| (tcp.options().len(), tcp.payload().len()));
    let _ = icmp::Packet::new_checked(bytes).map(|icmp| (icmp.payload().len(), icmp.mtu()));
    let _ = wireguard::Packet::new_checked(bytes).map(|wg| (wg.is_keepalive(), wg.counter(), wg.sender()));
    let _ = (Flow::of(bytes), Flow::of_quoted(bytes));
    let Ok(ip) = ip::Packet::new_checked(bytes) else { return };
    let (router, other) = match ip.src().is_ipv4() {
        true => ([192, 0, 2, 1].into(), ([10, 0, 0, 9], 9).into()),
        false => ([0xfd00, 0, 0, 0, 0, 0, 0, 9].into(), ([0xfd00, 0, 0, 0, 0, 0, 0, 9], 9).into()),
    };
    for trouble in [answer::Trouble::TimeExceeded, answer::Trouble::TooBig { mtu: 1_280 }] {
        let mut out = [0; answer::MAX_ERROR_V6];
        if let Ok(length) = answer::error(bytes, trouble, router, &mut out) {
            assert_eq!(intact(&out[..length]), Some(true), "an error has right checksums");
        }
    }
    answer::echo_reply(&mut bytes.to_vec());
    let before = intact(bytes);
    for end in [edit::End::Source, edit::End::Destination] {
        let mut packet = bytes.to_vec();
        if edit::rewrite(&mut packet, end, other).is_ok() && before == Some(true) {
            assert_eq!(intact(&packet), Some(true), "{}", text::write(bytes));
        }
    }
    let mut packet = bytes.to_vec();
    if let Ok(mut ip) = ip::Packet::new_checked(&mut packet[..])
        && ip.decrement_ttl()
        && before == Some(true)
    {
        assert_eq!(intact(&packet), Some(true));
    }
    segments(bytes);
}

/// What a TUN device's packet is cut into.
fn segments(bytes: &[u8]) {
    let Some((header, packet)) = bytes.split_at_checked(offload::VnetHdr::LEN) else { return };
    let Some(header) = offload::VnetHdr::read(header) else { return };
    let Ok(split) = offload::Split::new(&header, packet) else { return };
    for index in 0..split.count().min(64) {
        split.write(index, &mut vec![0; split.segment_len(index)]);
    }
}

/// Any bytes as a line and back, and any text as a packet.
pub(crate) fn lines(bytes: &[u8]) {
    let line = text::write(bytes);
    assert_eq!(text::read(&line).as_deref(), Ok(bytes), "{line}");
    if let Ok(packet) = text::read(&String::from_utf8_lossy(bytes)) {
        let again = text::write(&packet);
        assert_eq!(text::read(&again), Ok(packet), "{again}");
    }
}

/// Any bytes as a capture, and as blocks of one; and packets that are written and read back.
pub(crate) fn captures(bytes: &[u8]) {
    read(bytes);
    read(&blocks(Choices::new(bytes)));
    let mut choices = Choices::new(bytes);
    let mut writer = pcap::Writer::new(Vec::new()).expect("memory");
    let (mut at, mut written) = (Duration::ZERO, Vec::new());
    while !choices.is_over() {
        let payload = choices.below(64);
        let packet = text::read(&format!("10.0.0.1:1 > 10.0.0.2:2 udp {payload}")).expect("a packet");
        writer.write(at, &packet).expect("memory");
        written.push((at, packet));
        at += Duration::from_millis(choices.word().into());
    }
    assert_eq!(read(&writer.finish().expect("memory")), Some(written));
}

/// pcapng: a section with an interface of raw IP, and blocks of any content. Now and then a length lies.
fn blocks(mut choices: Choices<'_>) -> Vec<u8> {
    const SECTION: u32 = 0x0a0d_0d0a;
    const INTERFACE: u32 = 1;
    let mut bytes = block(SECTION, &[0x4d, 0x3c, 0x2b, 0x1a, 1, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255], 0);
    bytes.extend(block(INTERFACE, &[101, 0, 0, 0, 0, 0, 0, 0], 0));
    while !choices.is_over() {
        let kind = *choices.one_of(&[6, 6, 6, 3, 3, INTERFACE, INTERFACE, 4, SECTION]);
        let wrong = if choices.rarely(16) { u32::from(choices.byte()) } else { 0 };
        let length = 4 * choices.below(18);
        let body = choices.bytes(length);
        bytes.extend(block(kind, &body[..body.len() & !3], wrong));
    }
    bytes
}

/// A block with a length that is by so much too great.
fn block(kind: u32, body: &[u8], wrong: u32) -> Vec<u8> {
    let length = (12 + body.len() as u32 + wrong).to_le_bytes();
    [&kind.to_le_bytes(), &length, body, &length].concat()
}

/// The packets of a capture; nothing if it is none, or is damaged.
fn read(bytes: &[u8]) -> Option<Vec<(Duration, Vec<u8>)>> {
    let mut capture = pcap::Capture::new(bytes, Some(bytes.len() as u64)).ok()?;
    let mut packets = Vec::new();
    while let Some(next) = capture.next_packet().ok()? {
        packets.push(next);
        assert!(capture.progress().is_some_and(|part| part <= 1.0), "no more is read than there is");
    }
    Some(packets)
}
