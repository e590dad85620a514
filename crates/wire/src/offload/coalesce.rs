//! Segments of a flow put together again, so that a TUN device takes them in one write.
//!
//! The packets lie somewhere in one buffer, the arena, and stay there: what is put together is a list of ranges for one
//! gathering write. Only the header of a group's first packet is edited. The rules are those of the kernel's own GRO
//! (net/ipv4/tcp_offload.c): same flow, same headers, next in sequence, same size; TCP with no flag but ACK and a last PSH.
//!
//! A checksum that is wrong before must be wrong after, or absent: a packet joins a group only if its checksum is right, and
//! one that stays alone goes as it came, for the kernel to check.

use core::ops::Range;

use super::{GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, NEEDS_CSUM, TCP_CHECKSUM, UDP_CHECKSUM, VnetHdr};
use crate::checksum::Sum;

const TCP: u8 = 6;
const UDP: u8 = 17;
/// TCP flags in byte 13 of the header.
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

/// Groups that are looked at for a packet that may join one, the latest first; older ones are complete.
const MAX_OPEN: usize = 64;
/// Pieces of a group: a gathering write takes 1,024 (`UIO_MAXIOV`), two of which are its headers.
const MAX_PIECES: usize = 512;
/// Bytes of a group: what the length field of IPv4 holds.
const MAX_BYTES: usize = 65_535;

/// One write to the TUN device: the header, the first packet, and the payloads that follow it.
#[derive(Clone, Copy, Debug)]
pub struct Group<'a> {
    /// What stands before it.
    pub vnet: VnetHdr,
    /// The first packet, in the arena.
    pub first: &'a Range<usize>,
    /// The payloads of the others, in the arena.
    pub rest: &'a [Range<usize>],
}

/// Puts packets together. See the module.
#[derive(Debug)]
pub struct Coalescer {
    items: Vec<Item>,
    used: usize,
    udp: bool,
}

#[derive(Debug, Default)]
struct Item {
    first: Range<usize>,
    rest: Vec<Range<usize>>,
    segment: Segment,
    /// Bytes of the whole group.
    len: usize,
    /// The sequence number that would come next.
    next: u32,
    psh: bool,
    open: bool,
    verified: bool,
}

/// Where things are in a TCP or UDP packet.
#[derive(Clone, Copy, Debug, Default)]
struct Segment {
    v6: bool,
    tcp: bool,
    transport: usize,
    headers: usize,
    payload: usize,
    sequence: u32,
    psh: bool,
    mergeable: bool,
}

impl Coalescer {
    /// An empty one. UDP is put together only if `udp`: the TUN device must know it (`TUN_F_USO4`, Linux 6.2).
    pub fn new(udp: bool) -> Self {
        Self { items: Vec::new(), used: 0, udp }
    }

    /// Adds the IP packet at `range` of `arena`. Packets of one flow keep their order.
    pub fn push(&mut self, arena: &[u8], range: Range<usize>) {
        let packet = &arena[range.clone()];
        let segment = Segment::parse(packet).filter(|segment| segment.tcp || self.udp);
        if let Some(segment) = segment
            && let Some(at) = self.find(arena, packet, &segment)
        {
            let item = &mut self.items[at];
            if item.takes(arena, packet, &segment) {
                return item.append(&range, &segment);
            }
            item.open = false;
        }
        self.begin(range, segment);
    }

    /// Writes the headers of what was put together. Nothing may be pushed after it until [`clear`](Self::clear).
    pub fn finish(&mut self, arena: &mut [u8]) {
        for item in self.items[..self.used].iter_mut().filter(|item| !item.rest.is_empty()) {
            item.write_headers(&mut arena[item.first.clone()]);
        }
    }

    /// What is to be written, in order.
    pub fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        self.items[..self.used].iter().map(|item| Group { vnet: item.vnet(), first: &item.first, rest: &item.rest })
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Forgets all; the memory stays.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// The group of the packet's flow that may still grow.
    fn find(&self, arena: &[u8], packet: &[u8], segment: &Segment) -> Option<usize> {
        let from = self.used.saturating_sub(MAX_OPEN);
        (from..self.used).rev().find(|&at| {
            let item = &self.items[at];
            item.open && item.segment.same_flow(&arena[item.first.clone()], segment, packet)
        })
    }

    fn begin(&mut self, range: Range<usize>, segment: Option<Segment>) {
        if self.used == self.items.len() {
            self.items.push(Item::default());
        }
        let item = &mut self.items[self.used];
        self.used += 1;
        item.len = range.len();
        item.first = range;
        item.rest.clear();
        item.segment = segment.unwrap_or_default();
        item.next = item.segment.sequence.wrapping_add(item.segment.payload as u32);
        item.psh = item.segment.psh;
        item.open = item.segment.mergeable && !item.psh;
        item.verified = false;
    }
}

impl Item {
    /// Whether `packet`, which is of the same flow, comes next.
    fn takes(&mut self, arena: &[u8], packet: &[u8], segment: &Segment) -> bool {
        let first = &arena[self.first.clone()];
        let fits = segment.mergeable
            && segment.headers == self.segment.headers
            && segment.payload <= self.segment.payload
            && self.len + segment.payload <= MAX_BYTES
            && self.rest.len() < MAX_PIECES
            && (!segment.tcp || segment.sequence == self.next)
            && self.segment.same_headers(first, packet);
        fits && (self.verified || self.segment.is_valid(first)) && {
            self.verified = true;
            segment.is_valid(packet)
        }
    }

    fn append(&mut self, range: &Range<usize>, segment: &Segment) {
        self.rest.push(range.start + segment.headers..range.start + segment.headers + segment.payload);
        self.len += segment.payload;
        self.next = self.next.wrapping_add(segment.payload as u32);
        self.psh = segment.psh;
        self.open = !segment.psh && segment.payload == self.segment.payload;
    }

    fn vnet(&self) -> VnetHdr {
        let Segment { v6, tcp, transport, headers, payload, .. } = self.segment;
        if self.rest.is_empty() {
            return VnetHdr::default();
        }
        VnetHdr {
            flags: NEEDS_CSUM,
            gso_type: match (tcp, v6) {
                (true, false) => GSO_TCPV4,
                (true, true) => GSO_TCPV6,
                (false, _) => GSO_UDP_L4,
            },
            hdr_len: headers as u16,
            gso_size: payload as u16,
            csum_start: transport as u16,
            csum_offset: if tcp { TCP_CHECKSUM } else { UDP_CHECKSUM } as u16,
        }
    }

    /// Makes the first packet's header that of the whole: lengths, PSH, and the pseudo-header's sum as checksum.
    fn write_headers(&self, first: &mut [u8]) {
        let Segment { v6, tcp, transport, .. } = self.segment;
        if v6 {
            put(first, 4, (self.len - 40) as u16);
        } else {
            put(first, 2, self.len as u16);
            put(first, 10, 0);
            let sum = Sum::new().bytes(&first[..transport]).finish();
            put(first, 10, sum);
        }
        let len = self.len - transport;
        if tcp {
            first[transport + 13] |= if self.psh { PSH } else { 0 };
        } else {
            put(first, transport + 4, len as u16);
        }
        let sum = !self.segment.pseudo_header(first, len).finish();
        put(first, transport + if tcp { TCP_CHECKSUM } else { UDP_CHECKSUM }, sum);
    }
}

impl Segment {
    /// Reads a TCP or UDP packet that is no fragment and has no network layer options.
    fn parse(packet: &[u8]) -> Option<Self> {
        let (v6, transport, protocol) = match packet.first()? {
            0x45 => {
                let header = packet.first_chunk::<20>()?;
                let whole = u16::from_be_bytes([header[6], header[7]]) & 0x3fff == 0;
                let len = usize::from(u16::from_be_bytes([header[2], header[3]]));
                (whole && len == packet.len()).then_some((false, 20, header[9]))?
            }
            first if first >> 4 == 6 => {
                let header = packet.first_chunk::<40>()?;
                let len = usize::from(u16::from_be_bytes([header[4], header[5]]));
                (len + 40 == packet.len()).then_some((true, 40, header[6]))?
            }
            _ => return None,
        };
        let rest = &packet[transport..];
        let base = Self { v6, transport, ..Self::default() };
        match protocol {
            TCP => {
                let tcp = rest.first_chunk::<20>()?;
                let len = usize::from(tcp[12] >> 4) * 4;
                let payload = rest.len().checked_sub(len.max(20))?;
                Some(Self {
                    tcp: true,
                    headers: transport + len,
                    payload,
                    sequence: u32::from_be_bytes([tcp[4], tcp[5], tcp[6], tcp[7]]),
                    psh: tcp[13] & PSH != 0,
                    mergeable: len >= 20 && payload > 0 && tcp[13] & !PSH == ACK,
                    ..base
                })
            }
            UDP => {
                let udp = rest.first_chunk::<8>()?;
                let payload = rest.len() - 8;
                let whole = usize::from(u16::from_be_bytes([udp[4], udp[5]])) == rest.len();
                let summed = [udp[6], udp[7]] != [0, 0];
                Some(Self { headers: transport + 8, payload, mergeable: whole && summed && payload > 0, ..base })
            }
            _ => None,
        }
    }

    /// Whether two packets have the same addresses, protocol and ports.
    fn same_flow(&self, own: &[u8], other: &Self, packet: &[u8]) -> bool {
        let at = self.transport;
        let addresses = if self.v6 { 8..40 } else { 12..20 };
        (self.v6, self.tcp) == (other.v6, other.tcp)
            && own[at..at + 4] == packet[at..at + 4]
            && own[addresses.clone()] == packet[addresses]
    }

    /// Whether two packets of one flow, with headers of one length, differ only in what a cut would make differ.
    fn same_headers(&self, own: &[u8], packet: &[u8]) -> bool {
        let same = |range: Range<usize>| own[range.clone()] == packet[range];
        let at = self.transport;
        // Version, class and flow label, hop limit; type of service, fragment bits and time to live.
        let network = if self.v6 { same(0..4) && same(7..8) } else { same(1..2) && same(6..9) };
        // Acknowledgement; urgent pointer and options.
        network && (!self.tcp || (same(at + 8..at + 12) && same(at + 18..self.headers)))
    }

    fn pseudo_header(&self, packet: &[u8], len: usize) -> Sum {
        let addresses = if self.v6 { 8..40 } else { 12..20 };
        let protocol = if self.tcp { TCP } else { UDP };
        Sum::new().bytes(&packet[addresses]).word(protocol.into()).long(len as u32)
    }

    fn is_valid(&self, packet: &[u8]) -> bool {
        let transport = &packet[self.transport..];
        self.pseudo_header(packet, transport.len()).bytes(transport).is_valid()
    }
}

fn put(bytes: &mut [u8], at: usize, value: u16) {
    bytes[at..at + 2].copy_from_slice(&value.to_be_bytes());
}
