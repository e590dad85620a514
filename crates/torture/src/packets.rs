//! Packets, their text and files of them.

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

/// Any bytes as a capture; and some of them as records of one.
pub(crate) fn captures(bytes: &[u8]) {
    if let Ok(reader) = pcap::Reader::new(bytes) {
        let total: usize = reader.map(|record| record.map_or(0, |record| record.packet.len())).sum();
        assert!(total <= bytes.len());
    }
    let mut choices = Choices::new(bytes);
    let mut writer = pcap::Writer::new(Vec::new()).expect("memory");
    let mut written = Vec::new();
    while !choices.is_over() {
        let at = core::time::Duration::from_millis(choices.word().into());
        let length = choices.below(64);
        let packet = choices.bytes(length);
        writer.write(at, packet).expect("memory");
        written.push((at, packet));
    }
    let file = writer.finish().expect("memory");
    let read = pcap::Reader::new(&file).expect("a file").map(|record| record.expect("a record"));
    assert!(read.map(|record| (record.at, record.packet)).eq(written));
}
