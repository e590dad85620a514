//! Packets of every protocol, in the text notation so that a failure can be read.

use pinhole_netfilter::Family;
use pinhole_netfilter::expect::Expectation;
use pinhole_wire::text;

use super::places::{BEHIND, FAR2, PORTS, SOURCE_PORTS, TARGETS};
use crate::Choices;

const FLAGS: [&str; 14] = ["S", "S.", ".", "P.", "F.", "R", "R.", "S", ".", "-", "F", "SF", "SFRPU", "S.E"];
const NUMBERS: [u32; 8] = [1, 2, 100, 101, 1_000, 70_000, 0x7fff_ffff, u32::MAX];
const WINDOWS: [u16; 4] = [65_535, 0, 1, 500];
const OPTIONS: [&str; 4] = ["", "", " (mss 1460, sackok, nop, wscale 7)", " (nop, nop, sack 5-10 4294967295-3)"];
const CHUNKS: [&str; 14] = [
    "INIT tag 0x5 rwnd 65535 out 10 in 10 tsn 1",
    "INIT_ACK tag 0x6 rwnd 65535 out 10 in 10 tsn 1",
    "COOKIE_ECHO 20",
    "COOKIE_ACK 0",
    "DATA flags 0x3 \"abc\"",
    "SACK 12",
    "HEARTBEAT 8",
    "HEARTBEAT_ACK 8",
    "ABORT 0",
    "ABORT flags 0x1 0",
    "SHUTDOWN 4",
    "SHUTDOWN_ACK 0",
    "SHUTDOWN_COMPLETE 0",
    "chunk 77 3",
];
const TAGS: [&str; 4] = ["0x5", "0x0", "0x6", "0x7"];
const QUERIES: [[&str; 2]; 6] = [
    ["echo-request id 7 seq 1 8", "echo-request id 7 seq 1 8"],
    ["echo-request id 7 seq 1 8", "echo-request id 8 seq 1 8"],
    ["echo-reply id 7 seq 1 8", "echo-reply id 7 seq 1 8"],
    ["timestamp-request id 7 seq 1 12", "type 139 code 0 rest 0x70001 12"],
    ["type 17 code 0 rest 0x70001 4", "type 135 code 0 rest 0x0 20"],
    ["type 5 code 1 rest 0x0 30", "type 137 code 0 rest 0x0 48"],
];
const TAILS: [&str; 11] = ["", "", "", "", "", "", " badsum", " ttl 1", " ttl 2", " tos 0x3", " nodf"];
const LENGTHS: [usize; 6] = [0, 8, 19, 8, 700, 1_400];

/// A line as bytes.
///
/// # Panics
/// If it is none.
pub(super) fn line(text: &str) -> Vec<u8> {
    text::read(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// An address with a port.
pub(super) fn end(address: &str, port: u16) -> String {
    if address.contains(':') { format!("[{address}]:{port}") } else { format!("{address}:{port}") }
}

/// A packet that comes in by an interface.
pub(super) fn packet(choices: &mut Choices<'_>, family: usize, side: usize) -> Vec<u8> {
    let (src, dst) = (choices.one_of(BEHIND[side])[family], choices.one_of(&TARGETS)[family]);
    let (from, to) = (*choices.one_of(&SOURCE_PORTS), *choices.one_of(&PORTS));
    let (from, to) = if side == 1 && choices.rarely(2) { (to, from) } else { (from, to) };
    let ends = format!("{} > {}", end(src, from), end(dst, to));
    let (pair, tail) = (format!("{src} > {dst}"), *choices.one_of(&TAILS));
    // Only IPv4 says whether a packet may be fragmented.
    let tail = if family == 1 && tail == " nodf" { "" } else { tail };
    let body = match choices.below(16) {
        0..4 => format!("{ends} udp {}", choices.one_of(&LENGTHS)),
        4..9 => {
            let [seq, ack] = [(); 2].map(|()| *choices.one_of(&NUMBERS));
            let (flags, window) = (choices.one_of(&FLAGS), choices.one_of(&WINDOWS));
            let (options, length) = (choices.one_of(&OPTIONS), choices.below(3) * 700);
            format!("{ends} tcp {flags} seq {seq} ack {ack} win {window}{options} {length}")
        }
        9..11 => format!("{pair} {} {}", ["icmp", "icmp6"][family], choices.one_of(&QUERIES)[family]),
        11 => format!("{pair} gre pptp call {} seq 1 10", choices.below(4)),
        12 => format!("{ends} sctp tag {} ({})", choices.one_of(&TAGS), choices.one_of(&CHUNKS)),
        13 => {
            let protocol = *choices.one_of(&[50, 33, 136, 2, 6, 17, 132]);
            format!("{pair} proto {protocol} {}", choices.below(40))
        }
        14 => return line(&format!("{pair} proto {} {}", choices.one_of(&[17, 6, 1]), fragment(choices))),
        _ => return line(&format!("{pair} gre 0x0 0x800 {}", choices.below(20))),
    };
    // Only what has a checksum can have a wrong one.
    let summed = !body.contains(" proto ") && !body.contains(" gre ");
    line(&format!("{body}{}", if summed || tail != " badsum" { tail } else { "" }))
}

/// A packet in pieces, in some order; now and then one is missing, or comes twice.
pub(super) fn pieces(choices: &mut Choices<'_>, packet: &[u8]) -> Vec<Vec<u8>> {
    let Ok(ip) = pinhole_wire::ip::Packet::new_checked(packet) else { return Vec::new() };
    let Ok(upper) = ip.upper() else { return Vec::new() };
    let (src, dst, protocol) = (ip.src(), ip.dst(), u8::from(upper.protocol));
    let (body, id) = (&packet[upper.offset..ip.total_len()], choices.below(3));
    let size = 8 * (1 + choices.below(80));
    let piece = |(n, bytes): (usize, &[u8])| {
        let (offset, more) = (n * size, if (n + 1) * size < body.len() { " more" } else { "" });
        line(&format!("{src} > {dst} proto {protocol} {} frag id {id} offset {offset}{more}", quoted(bytes)))
    };
    // In one piece it is no fragment.
    let mut pieces: Vec<_> = match body.len() > size {
        true => body.chunks(size).take(24).enumerate().map(piece).collect(),
        false => return vec![packet.to_vec()],
    };
    if choices.rarely(2) {
        pieces.reverse();
    }
    let at = choices.below(pieces.len());
    match choices.below(8) {
        0 => drop(pieces.remove(at)),
        1 => pieces.push(pieces[at].clone()),
        2 => pieces.swap(0, at),
        _ => {}
    }
    pieces
}

/// Bytes as the notation of packets has them.
pub(super) fn quoted(bytes: &[u8]) -> String {
    if bytes.is_empty() {
        return "0".into();
    }
    let text = bytes.iter().map(|byte| format!("\\x{byte:02x}"));
    format!("\"{}\"", text.collect::<String>())
}

fn fragment(choices: &mut Choices<'_>) -> String {
    let (offset, id) = (choices.below(4) * 16, choices.below(3));
    let length = choices.one_of(&[16, 16, 32, 8, 1_000]);
    let more = if choices.rarely(3) { "" } else { " more" };
    // What begins at zero and is alone is no fragment.
    let more = if offset == 0 { " more" } else { more };
    format!("{length} frag id {id} offset {offset}{more}")
}

/// The packet that meets an expectation.
pub(super) fn expected<A: Family>(expected: &Expectation<A>) -> Vec<u8> {
    let Expectation { tuple, mask, .. } = expected;
    let far = FAR2[usize::from(!A::IS_V4)];
    let src = if mask.src == A::UNSPECIFIED { far.to_owned() } else { tuple.src.to_string() };
    let (dst, port) = (tuple.dst.to_string(), if mask.src_id == 0 { 20 } else { tuple.src_id });
    let (src_end, dst_end) = (end(&src, port), end(&dst, tuple.dst_id));
    line(&match tuple.protocol {
        6 => format!("{src_end} > {dst_end} tcp S seq 7 ack 0 win 64000 0"),
        17 => format!("{src_end} > {dst_end} udp 20"),
        _ => format!("{src} > {dst} gre pptp call {} seq 1 10", tuple.dst_id),
    })
}

/// What would answer a packet, with the payload of choice.
pub(super) fn answer(choices: &mut Choices<'_>, packet: &[u8]) -> Option<Vec<u8>> {
    let said: text::Line = text::Line::of(packet).ok()?;
    let (mut said, usual) = (said.clone(), text::Ip::default());
    (said.src, said.dst, said.ip, said.checksum) = (said.dst, said.src, usual, text::Checksum::Right);
    if let text::Body::Tcp { segment, options, payload, .. } = &mut said.body {
        let length = payload.len() as u32;
        let (seq, ack) = (segment.seq, segment.ack);
        let occupied = length + u32::from(segment.flags.contains(pinhole_wire::tcp::Flags::SYN));
        (segment.seq, segment.ack) = (if ack == 0 { 500 } else { ack }, seq.wrapping_add(occupied));
        segment.flags =
            pinhole_wire::tcp::Flags::from_letters(choices.one_of::<&str>(&["S.", ".", "P.", "F.", "R", "R."]))?;
        segment.window = *choices.one_of(&WINDOWS);
        options.clear();
    }
    let mut bytes = said.packet()?;
    if let text::Body::Icmp(_) = said.body {
        let offset = if bytes[0] >> 4 == 4 { 20 } else { 40 };
        match bytes.get_mut(offset) {
            Some(kind @ 8) => *kind = 0,
            Some(kind @ 128) => *kind = 129,
            Some(kind @ 13) => *kind = 14,
            _ => {}
        }
        mend(&mut bytes);
    }
    Some(bytes)
}

/// Makes the checksums of an ICMP message right again.
fn mend(bytes: &mut [u8]) {
    let Ok(ip) = pinhole_wire::ip::Packet::new_checked(&*bytes) else { return };
    let (src, dst, offset) = (ip.src(), ip.dst(), if ip.src().is_ipv4() { 20 } else { 40 });
    if let Ok(mut icmp) = pinhole_wire::icmp::Packet::new_checked(&mut bytes[offset..]) {
        icmp.fill_checksum(src, dst);
    }
}
