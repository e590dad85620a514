//! The program: plain Binding requests become their answers where they were received.
//!
//! It is made anew for each interface and each change of addresses. What does not depend on the asker is a constant in it: the
//! addresses that are served, the headers and attributes of the answers, and their share of the checksums.
//!
//! Everything that is not exactly a plain request goes on to the network stack untouched, where the server's sockets are, which
//! decide about all else: other frames than Ethernet II to this interface's own address, VLAN tags, IP options and extension
//! headers, fragments, any other length, sources that no answer may go to, wrong checksums, attributes, other cookies.

use std::net::{IpAddr, SocketAddr};

use pinhole_stun::binding::{PLAIN_HEAD, PlainAnswers};
use pinhole_stun::server::limit::RateLimit;
use pinhole_stun::{AttributeType, HEADER, MAGIC_COOKIE};

use super::limit;
use crate::bpf::{Assembler, Helper, If, Instruction, Label, Map, Reg, Size, action, half};

/// An address and port that is served, and the answers that leave from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) at: SocketAddr,
    pub(super) answers: PlainAnswers,
}

/// What programs share, so that a new one goes on where the old one ended.
#[derive(Debug)]
pub(super) struct Memory {
    /// [`COUNTS`] numbers.
    pub(super) counters: Map,
    /// The table of [`limit`].
    pub(super) limits: Map,
}

/// Requests answered; bytes of these answers; requests over the limit.
pub(super) const COUNTS: usize = 3;
const ANSWERED: i16 = 0;
const BYTES_OUT: i16 = 8;
const LIMITED: i16 = 16;

/// What a program is made for.
#[derive(Debug)]
pub(super) struct Plan<'a> {
    /// The interface's address.
    pub(super) ethernet: [u8; 6],
    pub(super) places: &'a [Place],
    pub(super) limit: RateLimit,
    /// Hides which sources share a place in the table.
    pub(super) seed: u64,
    pub(super) memory: &'a Memory,
}

impl Plan<'_> {
    const fn is_limited(&self) -> bool {
        self.limit.per_minute > 0
    }
}

// These outlive calls; R1 to R5 are for the moment.
const CONTEXT: Reg = Reg::R6;
const PACKET: Reg = Reg::R7;
/// The sum of what a request and its answer have in common: the asker's address, the ports, the transaction.
const SUM: Reg = Reg::R8;
/// Whose limit it is.
pub(super) const KEY: Reg = Reg::R9;

/// Where things are in a frame, from its first byte.
pub(super) struct Frame {
    ethertype: [u8; 2],
    pub(super) source: i16,
    destination: i16,
    udp: i16,
    /// Bytes of an address.
    address: usize,
    /// `family` of an address attribute (RFC 8489 §14.1).
    family: u8,
}

/// The frame of IPv4 without options (RFC 791).
pub(super) const V4: Frame =
    Frame { ethertype: [0x08, 0x00], source: 26, destination: 30, udp: 34, address: 4, family: 1 };
/// That of IPv6 without extension headers (RFC 8200).
pub(super) const V6: Frame =
    Frame { ethertype: [0x86, 0xdd], source: 22, destination: 38, udp: 54, address: 16, family: 2 };

/// The sender's address in an Ethernet header, and the type after it.
const ETHERNET_SOURCE: i16 = 6;
const ETHERTYPE: i16 = 12;
// On the stack, which is below R10: what is the asker's. The highest word is for counting.
const SAVED: i16 = -64;
const SAVED_PORT: i16 = SAVED + 8;
const SAVED_TRANSACTION: i16 = SAVED + 12;
const SAVED_ADDRESS: i16 = SAVED + 24;
/// Where the IP header begins.
const IP: i16 = 14;
const UDP_HEADER: i16 = 8;
const UDP: u8 = 17;
/// Time to live and hop limit of answers (RFC 1700).
const HOPS: u8 = 64;

impl Frame {
    const fn message(&self) -> i16 {
        self.udp + UDP_HEADER
    }

    const fn checksum(&self) -> i16 {
        self.udp + 6
    }

    /// Bytes of a frame with a message of this length.
    const fn with(&self, message: usize) -> i32 {
        self.message() as i32 + message as i32
    }
}

/// The program.
pub(super) fn assemble(plan: &Plan<'_>) -> Vec<Instruction> {
    let mut code = Assembler::new();
    let (pass, limited) = (code.label(), code.label());
    code.mov(CONTEXT, Reg::R1);
    load_packet(&mut code, V4.with(HEADER), pass);
    // For others it may come by here too; a group can ask, but not be answered.
    code.unless_bytes(Reg::R1, PACKET, 0, &plan.ethernet, pass);
    code.load(Size::Byte, Reg::R1, PACKET, ETHERNET_SOURCE).jump_if(Reg::R1, If::AnyBit, 1, pass);
    code.load(Size::Half, Reg::R1, PACKET, ETHERTYPE);
    let families = [&V4, &V6].map(|frame| (frame, code.label()));
    for (frame, label) in families {
        code.jump_if(Reg::R1, If::Equal, half(frame.ethertype), label);
    }
    code.bind(pass).mov(Reg::R0, action::PASS).exit();
    // The verifier refuses what cannot be reached.
    if plan.is_limited() {
        code.bind(limited);
        count(&mut code, &plan.memory.counters, &[(LIMITED, 1)]);
        code.mov(Reg::R0, action::DROP).exit();
    }
    for (frame, label) in families {
        code.bind(label);
        check(&mut code, frame, pass);
        for place in plan.places.iter().filter(|place| place.at.is_ipv4() == (frame.family == V4.family)) {
            let next = code.label();
            code.unless_bytes(Reg::R1, PACKET, frame.destination, &octets(place.at.ip()), next);
            code.unless_bytes(Reg::R1, PACKET, frame.udp + 2, &place.at.port().to_be_bytes(), next);
            answer(&mut code, plan, frame, place, pass, limited);
            code.bind(next);
        }
        code.jump(pass);
    }
    code.finish()
}

/// Lets only plain requests through, and sums them up.
fn check(code: &mut Assembler, frame: &Frame, pass: Label) {
    let length = frame.with(HEADER);
    load_packet(code, length, pass);
    code.mov(Reg::R4, PACKET).add(Reg::R4, length + 1).jump_if(Reg::R4, If::NotAbove, Reg::R3, pass);
    let udp_length = (UDP_HEADER as u16 + HEADER as u16).to_be_bytes();
    if frame.family == V4.family {
        check_v4(code, pass);
    } else {
        check_v6(code, &udp_length, pass);
    }
    code.load(Size::Half, Reg::R1, PACKET, frame.udp).jump_if(Reg::R1, If::Equal, 0, pass);
    code.unless_bytes(Reg::R1, PACKET, frame.udp + 4, &udp_length, pass);
    code.unless_bytes(Reg::R1, PACKET, frame.message(), &PLAIN_HEAD, pass);
    let transaction = frame.message() + PLAIN_HEAD.len() as i16;
    let transaction = [transaction, transaction + 4, transaction + 8];
    code.load(Size::Word, SUM, PACKET, frame.udp);
    for at in words(frame.source, frame.address).chain(transaction) {
        code.load(Size::Word, Reg::R1, PACKET, at).add(SUM, Reg::R1);
    }
}

/// No options, no fragment, no address that nobody can have (RFC 6890), and a right checksum.
fn check_v4(code: &mut Assembler, pass: Label) {
    let total_length = (V4.with(HEADER) as u16 - IP as u16).to_be_bytes();
    code.unless_bytes(Reg::R1, PACKET, IP, &[0x45], pass);
    code.unless_bytes(Reg::R1, PACKET, IP + 2, &total_length, pass);
    let more_or_offset = half([0x3f, 0xff]);
    code.load(Size::Half, Reg::R1, PACKET, IP + 6).jump_if(Reg::R1, If::AnyBit, more_or_offset, pass);
    code.unless_bytes(Reg::R1, PACKET, IP + 9, &[UDP], pass);
    code.load(Size::Byte, Reg::R1, PACKET, V4.source);
    code.jump_if(Reg::R1, If::Equal, 0, pass).jump_if(Reg::R1, If::Equal, 127, pass);
    code.jump_if(Reg::R1, If::NotBelow, 224, pass);
    code.mov(Reg::R1, 0);
    for at in words(IP, 20) {
        code.load(Size::Word, Reg::R2, PACKET, at).add(Reg::R1, Reg::R2);
    }
    fold(code, Reg::R1);
    code.jump_if(Reg::R1, If::NotEqual, 0xffff, pass);
}

/// No extension header, and no group or special address (::/32, in which are the unspecified, the loopback and mapped ones).
fn check_v6(code: &mut Assembler, payload_length: &[u8; 2], pass: Label) {
    code.load(Size::Byte, Reg::R1, PACKET, IP).and(Reg::R1, 0xf0).jump_if(Reg::R1, If::NotEqual, 0x60, pass);
    code.unless_bytes(Reg::R1, PACKET, IP + 4, payload_length, pass);
    code.unless_bytes(Reg::R1, PACKET, IP + 6, &[UDP], pass);
    code.load(Size::Byte, Reg::R1, PACKET, V6.source).jump_if(Reg::R1, If::Equal, 0xff, pass);
    code.load(Size::Word, Reg::R1, PACKET, V6.source).jump_if(Reg::R1, If::Equal, 0, pass);
}

/// Makes the request that came to `place` its answer, and sends it.
fn answer(code: &mut Assembler, plan: &Plan<'_>, frame: &Frame, place: &Place, pass: Label, limited: Label) {
    let own = octets(place.at.ip());
    let pseudo_header = sum_of(&own) + sum_of(&[0, UDP]);
    // Who asks himself, as a LAND attack does.
    let other = code.label();
    code.unless_bytes(Reg::R1, PACKET, frame.source, &own, other).jump(pass).bind(other);
    check_udp(code, frame, pseudo_header, pass);
    if plan.is_limited() {
        limit::take(code, plan, frame, PACKET, limited);
    }

    let message =
        HEADER + (4 + 4 + frame.address) * (1 + usize::from(place.answers.has_mapped())) + place.answers.tail().len();
    let grown = message - HEADER;
    for Kept { from, saved, size, .. } in asker(frame) {
        code.load(size, Reg::R1, PACKET, from).store(size, Reg::R10, saved, Reg::R1);
    }
    // At the front: every driver leaves room there, for headers of tunnels, and not every one behind.
    code.mov(Reg::R1, CONTEXT).mov(Reg::R2, -(grown as i32)).call(Helper::AdjustHead);
    code.jump_if(Reg::R0, If::NotEqual, 0, pass);
    load_packet(code, frame.with(message), pass);
    turn_around(code, plan, frame, place, message);

    // The message's beginning, and the attributes behind the transaction.
    let mut fixed = pseudo_header + 2 * sum_of(&(UDP_HEADER as u16 + message as u16).to_be_bytes());
    let mut write = |code: &mut Assembler, at: i16, bytes: &[u8]| {
        code.store_bytes(PACKET, at, bytes);
        fixed += sum_of(bytes);
    };
    let start = frame.message();
    let [high, low] = (grown as u16).to_be_bytes();
    write(code, start, &[0x01, 0x01, high, low]);
    write(code, start + 4, &MAGIC_COOKIE);
    let mut at = start + HEADER as i16;
    let mut kinds = vec![AttributeType::XOR_MAPPED_ADDRESS];
    kinds.extend(place.answers.has_mapped().then_some(AttributeType::MAPPED_ADDRESS));
    for kind in kinds {
        let [high, low] = kind.0.to_be_bytes();
        write(code, at, &[high, low, 0, 4 + frame.address as u8, 0, frame.family]);
        mapped_address(code, frame, at + 6, kind == AttributeType::XOR_MAPPED_ADDRESS);
        at += 4 + 4 + frame.address as i16;
    }
    write(code, at, place.answers.tail());

    code.add(SUM, fixed);
    fold(code, SUM);
    let full = code.label();
    // Zero would say that there is no checksum (RFC 768).
    code.xor(SUM, 0xffff).jump_if(SUM, If::NotEqual, 0, full).mov(SUM, 0xffff).bind(full);
    code.store(Size::Half, PACKET, frame.checksum(), SUM);
    count(code, &plan.memory.counters, &[(ANSWERED, 1), (BYTES_OUT, message as i32)]);
    code.mov(Reg::R0, action::SEND).exit();
}

/// Something of the asker's that the answer has too.
struct Kept {
    /// Where it is in the request.
    from: i16,
    /// Where it is in the answer.
    to: i16,
    /// Where it is on the stack meanwhile.
    saved: i16,
    size: Size,
}

/// His Ethernet address, port, transaction and address, piece by piece.
fn asker(frame: &Frame) -> impl Iterator<Item = Kept> {
    let id = frame.message() + PLAIN_HEAD.len() as i16;
    let small = [
        Kept { from: ETHERNET_SOURCE, to: 0, saved: SAVED, size: Size::Word },
        Kept { from: ETHERNET_SOURCE + 4, to: 4, saved: SAVED + 4, size: Size::Half },
        Kept { from: frame.udp, to: frame.udp + 2, saved: SAVED_PORT, size: Size::Half },
    ];
    let long = [(id, id, SAVED_TRANSACTION, 12), (frame.source, frame.destination, SAVED_ADDRESS, frame.address)];
    let words = long.into_iter().flat_map(|(from, to, saved, len)| {
        let places = words(from, len).zip(words(to, len)).zip(words(saved, len));
        places.map(|((from, to), saved)| Kept { from, to, saved, size: Size::Word })
    });
    small.into_iter().chain(words)
}

/// Lets only right UDP checksums through; IPv4 may do without.
fn check_udp(code: &mut Assembler, frame: &Frame, pseudo_header: i32, pass: Label) {
    let checked = code.label();
    code.load(Size::Half, Reg::R1, PACKET, frame.checksum());
    code.jump_if(Reg::R1, If::Equal, 0, if frame.family == V4.family { checked } else { pass });
    let length = sum_of(&(UDP_HEADER as u16 + HEADER as u16).to_be_bytes());
    code.add(Reg::R1, SUM).add(Reg::R1, pseudo_header + 2 * length + sum_of(&PLAIN_HEAD));
    fold(code, Reg::R1);
    code.jump_if(Reg::R1, If::NotEqual, 0xffff, pass).bind(checked);
}

/// Ethernet, IP and UDP headers of the answer, all but the UDP checksum, and the transaction.
fn turn_around(code: &mut Assembler, plan: &Plan<'_>, frame: &Frame, place: &Place, message: usize) {
    let own = octets(place.at.ip());
    for Kept { to, saved, size, .. } in asker(frame) {
        code.load(size, Reg::R1, Reg::R10, saved).store(size, PACKET, to, Reg::R1);
    }
    code.store_bytes(PACKET, ETHERNET_SOURCE, &plan.ethernet).store_bytes(PACKET, ETHERTYPE, &frame.ethertype);
    let udp_length = (UDP_HEADER as u16 + message as u16).to_be_bytes();
    if frame.family == V4.family {
        let [high, low] = (frame.with(message) as u16 - IP as u16).to_be_bytes();
        // Not to be fragmented, and so without an identification (RFC 6864 §4.1).
        let header = [0x45, 0, high, low, 0, 0, 0x40, 0, HOPS, UDP];
        code.store_bytes(PACKET, IP, &header);
        code.load(Size::Word, Reg::R1, Reg::R10, SAVED_ADDRESS).add(Reg::R1, sum_of(&header) + sum_of(&own));
        fold(code, Reg::R1);
        code.xor(Reg::R1, 0xffff).store(Size::Half, PACKET, IP + 10, Reg::R1);
    } else {
        code.store_bytes(PACKET, IP, &[0x60, 0, 0, 0, udp_length[0], udp_length[1], UDP, HOPS]);
    }
    code.store_bytes(PACKET, frame.source, &own).store_bytes(PACKET, frame.udp, &place.at.port().to_be_bytes());
    code.store_bytes(PACKET, frame.udp + 4, &udp_length);
}

/// Writes the asker's port and address, which by now is where the answer goes, and adds them to the sum.
fn mapped_address(code: &mut Assembler, frame: &Frame, at: i16, xor: bool) {
    code.load(Size::Half, Reg::R1, PACKET, frame.udp + 2);
    if xor {
        code.xor(Reg::R1, half([MAGIC_COOKIE[0], MAGIC_COOKIE[1]]));
    }
    code.store(Size::Half, PACKET, at, Reg::R1).add(SUM, Reg::R1);
    // The cookie, and behind it the transaction (RFC 8489 §14.2).
    let key = words(frame.message() + 4, frame.address);
    for ((from, to), key) in words(frame.destination, frame.address).zip(words(at + 2, frame.address)).zip(key) {
        code.load(Size::Word, Reg::R1, PACKET, from);
        if xor {
            code.load(Size::Word, Reg::R2, PACKET, key).xor(Reg::R1, Reg::R2);
        }
        code.store(Size::Word, PACKET, to, Reg::R1).add(SUM, Reg::R1);
    }
}

/// The packet in [`PACKET`] and its end in R3; shorter ones than `length` bytes go on.
fn load_packet(code: &mut Assembler, length: i32, pass: Label) {
    code.load(Size::Word, PACKET, CONTEXT, 0).load(Size::Word, Reg::R3, CONTEXT, 4);
    code.mov(Reg::R4, PACKET).add(Reg::R4, length).jump_if(Reg::R4, If::Above, Reg::R3, pass);
}

/// Adds to counters of this processor.
fn count(code: &mut Assembler, counters: &Map, counts: &[(i16, i32)]) {
    let none = code.label();
    code.store(Size::Word, Reg::R10, -4, 0).mov(Reg::R2, Reg::R10).add(Reg::R2, -4);
    code.load_map(Reg::R1, counters).call(Helper::MapLookup).jump_if(Reg::R0, If::Equal, 0, none);
    for &(at, count) in counts {
        code.load(Size::Double, Reg::R1, Reg::R0, at).add(Reg::R1, count).store(Size::Double, Reg::R0, at, Reg::R1);
    }
    code.bind(none);
}

/// Folds a sum of up to 2^40 to 16 bits (RFC 1071). Uses R5.
fn fold(code: &mut Assembler, sum: Reg) {
    for _ in 0..3 {
        code.mov(Reg::R5, sum).and(Reg::R5, 0xffff).shr(sum, 16).add(sum, Reg::R5);
    }
}

/// The sum of the bytes' 16-bit words, as loads give them.
fn sum_of(bytes: &[u8]) -> i32 {
    let (halves, odd) = bytes.as_chunks::<2>();
    assert!(odd.is_empty(), "what is summed are whole words");
    halves.iter().map(|&bytes| half(bytes)).sum()
}

/// The places of the 32-bit words of a field.
fn words(at: i16, len: usize) -> impl Iterator<Item = i16> {
    (0..len as i16 / 4).map(move |word| at + 4 * word)
}

fn octets(ip: IpAddr) -> Vec<u8> {
    match ip {
        IpAddr::V4(ip) => ip.octets().to_vec(),
        IpAddr::V6(ip) => ip.octets().to_vec(),
    }
}

#[cfg(test)]
mod tests;
