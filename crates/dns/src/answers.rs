//! Zones compiled to answers.
//!
//! [`Answers::compile`] writes, for every owner and type in the zones, the whole response that follows the question, once
//! without and once with name compression. Answering is then one hash of the lower-cased question name and one copy; only
//! the header, the question, the EDNS record and, for a question in mixed case, the owner names are put in. `Answers` never
//! changes: when the data does, another one is compiled and published in its place.
//!
//! The responses are those of wgsd byte for byte where it gives any: uncompressed while that fits the client's limit, else
//! compressed, else shortened from the end. Names that exist but lack the type get NODATA, also those that exist only
//! because something is below them (RFC 8020). There is no recursion, transfer, update or notify.

mod compile;
mod query;

use core::net::IpAddr;

use crate::edns::cookie::{self, Cookies};
use crate::edns::{self, MAX_UDP, OPT_LEN, PLAIN_UDP};
use crate::message::{HEADER, Header};
use crate::record::{CLASS_ANY, CLASS_IN};
use crate::zone::Zone;
use crate::{Rcode, Type};

pub use query::{Query, Unanswerable};

/// An unverified source gets at most this many times the bytes it sent.
///
/// Its address may be forged, and then what we send hits someone else. 4 is the smallest whole factor that leaves wgsd's
/// own answers whole: SRV with address and TXT is 313 bytes for 102, a negative answer 115 for 31. (QUIC allows 3,
/// RFC 9000 §8.1; open resolvers abused for reflection give 28 to 54.)
pub const AMPLIFICATION: usize = 4;

/// What carried the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram; the answer must fit one that the client can take.
    Udp,
    /// A stream; up to 65,535 bytes, and the source is proven.
    Tcp,
}

/// Who asks, as far as it bears on the answer.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// What carried the query.
    pub transport: Transport,
    /// True if the source address is proven by other means than a cookie: a tunnel address, say.
    pub verified: bool,
    /// The server's cookies, if it uses them: a valid one proves the source too, and every query that carries a client
    /// cookie is answered with a server cookie.
    pub cookies: Option<CookieJar<'a>>,
    /// An option to put into the answer's OPT record as (code, data), if the query has one.
    pub option: Option<(u16, &'a [u8])>,
}

/// What making and checking cookies takes.
#[derive(Clone, Copy, Debug)]
pub struct CookieJar<'a> {
    /// The server's secret.
    pub cookies: &'a Cookies,
    /// The client's address.
    pub client: IpAddr,
    /// The time, in seconds since 1970.
    pub unix_seconds: u32,
}

impl Asker<'_> {
    /// An asker by UDP without cookies.
    pub const fn udp(verified: bool) -> Self {
        Self { transport: Transport::Udp, verified, cookies: None, option: None }
    }

    /// An asker by TCP.
    pub const fn tcp() -> Self {
        Self { transport: Transport::Tcp, verified: true, cookies: None, option: None }
    }

    /// True if the source of `query` is proven, by whatever means.
    pub fn proven(&self, query: &Query<'_>) -> bool {
        let by_cookie = |jar: &CookieJar<'_>| {
            let data = query.opt().and_then(|opt| opt.option(edns::COOKIE));
            data.is_some_and(|data| jar.cookies.proves(data, jar.client, jar.unix_seconds))
        };
        self.verified || self.transport == Transport::Tcp || self.cookies.as_ref().is_some_and(by_cookie)
    }
}

/// What became of a query. The lengths are those of the response written to the caller's buffer, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// This is the answer.
    Reply(usize),
    /// This is the answer, and it is negative: the name does not exist, or a PTR question found nothing. A caller whose
    /// data may be behind can refresh it and answer again.
    Miss(usize),
    /// This is the answer by the data alone; but the query carries the option that the caller wants to see.
    Escalate(usize),
    /// There is no answer to this.
    Drop(Reason),
}

/// Why a message gets no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// Less than a header.
    TooShort,
    /// A response: answering those makes loops.
    Response,
    /// The caller's buffer is smaller than the smallest answer.
    NoRoom,
}

/// Zones compiled to answers. See the [module](self).
#[derive(Debug)]
pub struct Answers {
    /// Open addressing by hash: node number + 1, or 0. The length is a power of two and at least twice the nodes.
    slots: Box<[Slot]>,
    nodes: Vec<Node>,
    entries: Vec<Entry>,
    /// The ends of the records in the packed bodies, relative to the body.
    ends: Vec<u32>,
    /// Offsets in plain bodies, relative to the body, of owner names that equal the question.
    owners: Vec<u32>,
    /// Keys and bodies.
    bytes: Vec<u8>,
    /// Longest origin first.
    zones: Vec<Apex>,
    /// The EDNS option whose queries the caller wants to see.
    escalate: Option<u16>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Slot {
    /// The upper half of the name's hash.
    tag: u32,
    /// Node number + 1; 0 is empty.
    node: u32,
}

/// A name that exists.
#[derive(Debug)]
struct Node {
    /// The lower-case wire name in `bytes`.
    key: Span,
    zone: u32,
    /// Its entries are consecutive.
    first_entry: u32,
    entries: u16,
    /// The first entry is a CNAME, which answers every type.
    cname: bool,
}

/// One compiled response.
#[derive(Clone, Copy, Debug)]
struct Entry {
    qtype: Type,
    /// Records in Answer, Authority and Additional.
    counts: [u16; 3],
    /// The body without compression; longer than any message if it would not fit one.
    plain: Span,
    /// The body with compression.
    packed: Span,
    /// Where its record ends begin in `ends`; as many as records.
    first_end: u32,
    /// Its part of `owners`.
    first_owner: u32,
    owners: u16,
}

/// A piece of `bytes`.
#[derive(Clone, Copy, Debug)]
struct Span {
    at: u32,
    len: u32,
}

/// What negative answers of a zone take.
#[derive(Debug)]
struct Apex {
    /// The origin's lower-case wire name.
    origin: Vec<u8>,
    /// The SOA record without compression.
    soa: Vec<u8>,
    /// The same with pointers into a question of the origin itself (offset 12), and where they stand: to be moved by as
    /// much as the question's name is longer.
    packed_soa: Vec<u8>,
    pointers: Vec<usize>,
}

impl Answers {
    /// Compiles zones. Where two have the same origin the first counts.
    pub fn compile(zones: &[Zone]) -> Self {
        compile::compile(zones)
    }

    /// Tells queries with this EDNS option code apart: [`Outcome::Escalate`].
    pub fn escalating(mut self, option_code: u16) -> Self {
        self.escalate = Some(option_code);
        self
    }

    /// Answers a message that came in, whatever it is. `out` takes the response; it should have [`MAX_UDP`] bytes for UDP
    /// and 65,535 for TCP, and a smaller one lowers the limit.
    pub fn answer(&self, message: &[u8], asker: &Asker<'_>, out: &mut [u8]) -> Outcome {
        match Query::read(message) {
            Ok(query) => self.reply(&query, asker, out),
            Err(unanswerable) => unanswerable.reply(message, out),
        }
    }

    /// Answers a query that has been read.
    pub fn reply(&self, query: &Query<'_>, asker: &Asker<'_>, out: &mut [u8]) -> Outcome {
        let mut response = Response::new(query, asker, out);
        if query.opt().is_some_and(|opt| opt.version() > 0) {
            return response.bare(Rcode::BADVERS, false);
        }
        if let Some(rcode) = unserved(query) {
            return response.bare(rcode, false);
        }
        let outcome = match self.find(query) {
            Some(node) => self.of_node(query, node, &mut response),
            None => match self.zones.iter().find(|zone| query.is_below(&zone.origin)) {
                Some(zone) => response.negative(zone, Rcode::NXDOMAIN).map_or_else(Outcome::Drop, Outcome::Miss),
                None => return response.bare(Rcode::REFUSED, false),
            },
        };
        match outcome {
            Outcome::Reply(len) | Outcome::Miss(len) if self.escalates(query) => Outcome::Escalate(len),
            other => other,
        }
    }

    fn escalates(&self, query: &Query<'_>) -> bool {
        let (Some(code), Some(opt)) = (self.escalate, query.opt()) else { return false };
        opt.option(code).is_some()
    }

    fn of_node(&self, query: &Query<'_>, node: &Node, response: &mut Response<'_, '_>) -> Outcome {
        let entries = &self.entries[node.first_entry as usize..][..usize::from(node.entries)];
        let entry = match entries {
            [cname, ..] if node.cname => Some(cname),
            [_, ..] if query.qtype() == Type::ANY => return response.any(),
            _ => entries.iter().find(|entry| entry.qtype == query.qtype()),
        };
        let Some(entry) = entry else {
            let written = response.negative(&self.zones[node.zone as usize], Rcode::NOERROR);
            let outcome = if query.qtype() == Type::PTR { Outcome::Miss } else { Outcome::Reply };
            return written.map_or_else(Outcome::Drop, outcome);
        };
        response.entry(self, entry)
    }

    /// The node of the question's name.
    fn find(&self, query: &Query<'_>) -> Option<&Node> {
        let hash = query.hash();
        let tag = (hash >> 32) as u32;
        let mask = self.slots.len() - 1;
        let mut at = hash as usize & mask;
        loop {
            let slot = self.slots[at];
            if slot.node == 0 {
                return None;
            }
            if slot.tag == tag {
                let node = &self.nodes[slot.node as usize - 1];
                if self.piece(node.key) == query.lower_name() {
                    return Some(node);
                }
            }
            at = (at + 1) & mask;
        }
    }

    fn piece(&self, span: Span) -> &[u8] {
        &self.bytes[span.at as usize..][..span.len as usize]
    }
}

/// The response code for a class or type that is never served: other classes than IN, transfers, question types that
/// stand for something else (RFC 6895 §3.1).
fn unserved(query: &Query<'_>) -> Option<Rcode> {
    if query.qclass() != CLASS_IN && query.qclass() != CLASS_ANY {
        return Some(Rcode::REFUSED);
    }
    match query.qtype() {
        Type::ANY => None,
        Type::AXFR | Type::IXFR => Some(Rcode::REFUSED),
        Type::OPT | Type(0) => Some(Rcode::FORMERR),
        qtype if (Type::FIRST_META..=Type::LAST_META).contains(&qtype) => Some(Rcode::NOTIMP),
        _ => None,
    }
}

/// A response being written.
struct Response<'q, 'o> {
    query: &'q Query<'q>,
    out: &'o mut [u8],
    /// The most the response may have, in bytes.
    limit: usize,
    /// Header and question.
    head: usize,
    /// The OPT record, which stands last, with its options.
    opt: [u8; OPT_LEN + 4 + cookie::FULL_LEN],
    opt_len: usize,
    /// An option that the caller adds.
    option: Option<(u16, &'q [u8])>,
}

impl<'q, 'o> Response<'q, 'o> {
    fn new(query: &'q Query<'q>, asker: &'q Asker<'q>, out: &'o mut [u8]) -> Self {
        let limit = match asker.transport {
            Transport::Tcp => usize::from(u16::MAX),
            Transport::Udp => {
                let size = query.opt().map_or(PLAIN_UDP, |opt| opt.udp_size.clamp(PLAIN_UDP, MAX_UDP));
                let allowed = if asker.proven(query) { usize::MAX } else { AMPLIFICATION * query.len() };
                allowed.min(usize::from(size))
            }
        };
        let limit = limit.min(out.len());
        let head = query.question_end();
        let mut response =
            Self { query, out, limit, head, opt: [0; OPT_LEN + 4 + cookie::FULL_LEN], opt_len: 0, option: None };
        response.prepare_opt(asker);
        response
    }

    /// Lays out the OPT record: only if the query has one, with the DO bit as it came (RFC 3225 §3), the cookie if there is
    /// one, and the caller's option if there is room for it.
    fn prepare_opt(&mut self, asker: &'q Asker<'q>) {
        let Some(query_opt) = self.query.opt() else { return };
        self.opt_len = OPT_LEN;
        if let (Some(jar), Some(data)) = (asker.cookies, query_opt.option(edns::COOKIE))
            && let Some(full) = jar.cookies.answer(data, jar.client, jar.unix_seconds)
        {
            let [code, length] = [edns::COOKIE, cookie::FULL_LEN as u16].map(u16::to_be_bytes);
            self.opt[OPT_LEN..OPT_LEN + 2].copy_from_slice(&code);
            self.opt[OPT_LEN + 2..OPT_LEN + 4].copy_from_slice(&length);
            self.opt[OPT_LEN + 4..].copy_from_slice(&full);
            self.opt_len = self.opt.len();
        }
        self.option = asker.option.filter(|(_, data)| self.head + self.opt_len + 4 + data.len() <= self.limit);
        let options = self.opt_len - OPT_LEN + self.option.map_or(0, |(_, data)| 4 + data.len());
        self.opt[..OPT_LEN].copy_from_slice(&edns::opt_head(MAX_UDP, query_opt.ttl & edns::DO, options as u16));
    }

    /// The bytes that a body may have.
    fn room(&self) -> usize {
        let option = self.option.map_or(0, |(_, data)| 4 + data.len());
        self.limit.saturating_sub(self.head + self.opt_len + option)
    }

    /// A compiled response: whole without compression, else whole with it, else what fits.
    fn entry(&mut self, answers: &Answers, entry: &Entry) -> Outcome {
        let room = self.room();
        let written = if entry.plain.len as usize <= room {
            self.body(answers.piece(entry.plain)).and_then(|()| {
                if self.query.has_upper_case() {
                    let owners = &answers.owners[entry.first_owner as usize..][..usize::from(entry.owners)];
                    for &owner in owners {
                        let at = self.head + owner as usize;
                        self.out[at..at + self.query.name().len()].copy_from_slice(self.query.name());
                    }
                }
                self.finish(entry.plain.len as usize, entry.counts, 0, Rcode::NOERROR, true)
            })
        } else {
            let (len, counts, flags) = if entry.packed.len as usize <= room {
                (entry.packed.len as usize, entry.counts, 0)
            } else {
                shorten(&answers.ends[entry.first_end as usize..], entry.counts, room)
            };
            let body = &answers.piece(entry.packed)[..len];
            self.body(body).and_then(|()| self.finish(len, counts, flags, Rcode::NOERROR, true))
        };
        written.map_or_else(Outcome::Drop, Outcome::Reply)
    }

    /// "There is no such name" or "no such type": the zone's start of authority.
    fn negative(&mut self, zone: &Apex, rcode: Rcode) -> Result<usize, Reason> {
        let room = self.room();
        if zone.soa.len() <= room {
            self.body(&zone.soa)?;
            return self.finish(zone.soa.len(), [0, 1, 0], 0, rcode, true);
        }
        if zone.packed_soa.len() > room {
            return self.finish(0, [0; 3], Header::TC, rcode, true);
        }
        self.body(&zone.packed_soa)?;
        let moved = (self.query.name().len() - zone.origin.len()) as u16;
        for pointer in &zone.pointers {
            let at = self.head + pointer;
            let target = u16::from_be_bytes([self.out[at], self.out[at + 1]]) + moved;
            self.out[at..at + 2].copy_from_slice(&target.to_be_bytes());
        }
        self.finish(zone.packed_soa.len(), [0, 1, 0], 0, rcode, true)
    }

    /// The minimal answer to ANY: a synthetic HINFO "RFC8482" (RFC 8482 §4.2).
    fn any(&mut self) -> Outcome {
        const HINFO: &[u8] = b"\xc0\x0c\0\x0d\0\x01\0\0\x0e\x10\0\x09\x07RFC8482\0";
        let written = if HINFO.len() <= self.room() {
            self.body(HINFO).and_then(|()| self.finish(HINFO.len(), [1, 0, 0], 0, Rcode::NOERROR, true))
        } else {
            self.finish(0, [0; 3], Header::TC, Rcode::NOERROR, true)
        };
        written.map_or_else(Outcome::Drop, Outcome::Reply)
    }

    /// No records, only a code.
    fn bare(&mut self, rcode: Rcode, truncated: bool) -> Outcome {
        let flags = if truncated { Header::TC } else { 0 };
        self.finish(0, [0; 3], flags, rcode, false).map_or_else(Outcome::Drop, Outcome::Reply)
    }

    /// Puts the body in its place, behind the question.
    fn body(&mut self, body: &[u8]) -> Result<(), Reason> {
        let place = self.out.get_mut(self.head..self.head + body.len()).ok_or(Reason::NoRoom)?;
        place.copy_from_slice(body);
        Ok(())
    }

    /// Header and question in front of a body of `body` bytes, OPT behind it.
    fn finish(
        &mut self,
        body: usize,
        counts: [u16; 3],
        flags: u16,
        rcode: Rcode,
        authoritative: bool,
    ) -> Result<usize, Reason> {
        let query = self.query;
        let opt_at = self.head + body;
        let option_at = opt_at + self.opt_len;
        let end = option_at + self.option.map_or(0, |(_, data)| 4 + data.len());
        let out = self.out.get_mut(..end).ok_or(Reason::NoRoom)?;
        // An answer to class ANY cannot speak for all classes (RFC 1035 §3.2.5 and §6.2).
        let aa = if authoritative && query.qclass() == CLASS_IN { Header::AA } else { 0 };
        let kept = query.flags() & (Header::RD | Header::CD);
        let [answers, authority, additional] = counts;
        let header = Header {
            id: query.id(),
            flags: Header::QR | aa | flags | kept | rcode.0 & 0xf,
            counts: [1, answers, authority, additional + u16::from(self.opt_len > 0)],
        };
        out[..HEADER].copy_from_slice(&header.to_bytes());
        out[HEADER..self.head].copy_from_slice(query.question());
        out[opt_at..option_at].copy_from_slice(&self.opt[..self.opt_len]);
        if self.opt_len > 0 {
            // The upper eight bits of the code are the first byte of the OPT record's TTL.
            out[opt_at + 5] = (rcode.0 >> 4) as u8;
        }
        if let Some((code, data)) = self.option {
            out[option_at..option_at + 2].copy_from_slice(&code.to_be_bytes());
            out[option_at + 2..option_at + 4].copy_from_slice(&(data.len() as u16).to_be_bytes());
            out[option_at + 4..].copy_from_slice(data);
        }
        Ok(end)
    }
}

impl Query<'_> {
    /// The empty answer that sends the client to TCP (TC); its length.
    pub fn truncated(&self, asker: &Asker<'_>, out: &mut [u8]) -> Outcome {
        Response::new(self, asker, out).bare(Rcode::NOERROR, true)
    }

    /// The answer "refused"; its length.
    pub fn refused(&self, asker: &Asker<'_>, out: &mut [u8]) -> Outcome {
        Response::new(self, asker, out).bare(Rcode::REFUSED, false)
    }
}

/// How many bytes, records and what flag remain when a body must have at most `room` bytes.
///
/// Additional records go first and silently, for nobody relies on them (RFC 2181 §9); except that a response which loses
/// all of them says TC, for wgsd's client fails on an SRV answer without an address.
fn shorten(ends: &[u32], counts: [u16; 3], room: usize) -> (usize, [u16; 3], u16) {
    let [answers, authority, additional] = counts.map(usize::from);
    let all = answers + authority + additional;
    let fitting = ends[..all].partition_point(|&end| end as usize <= room);
    let len = fitting.checked_sub(1).map_or(0, |last| ends[last] as usize);
    let left = [
        fitting.min(answers),
        fitting.saturating_sub(answers).min(authority),
        fitting.saturating_sub(answers + authority),
    ];
    let needed = answers + authority + usize::from(additional > 0);
    let flags = if fitting < needed { Header::TC } else { 0 };
    (len, left.map(|count| count as u16), flags)
}

#[cfg(test)]
mod tests;
