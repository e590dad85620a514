//! SIP's headers (RFC 3261 §7.3), read as leniently as the kernel reads them (`ct_sip_get_header` and what calls it).
//!
//! Ranges count from the start of the message. Nothing here allocates.

use core::net::{IpAddr, Ipv4Addr};
use core::ops::Range;

use crate::helper::text::{ipv6, starts_with};
use crate::tuple::Address;

/// The port that a URI without one means.
pub const DEFAULT_PORT: u16 = 5_060;

/// The headers that are looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Header {
    Cseq,
    From,
    To,
    Contact,
    ViaUdp,
    ViaTcp,
    Expires,
    ContentLength,
}

impl Header {
    /// The name and the compact one.
    const fn names(self) -> (&'static [u8], Option<u8>) {
        match self {
            Self::Cseq => (b"CSeq", None),
            Self::From => (b"From", Some(b'f')),
            Self::To => (b"To", Some(b't')),
            Self::Contact => (b"Contact", Some(b'm')),
            Self::ViaUdp | Self::ViaTcp => (b"Via", Some(b'v')),
            Self::Expires => (b"Expires", None),
            Self::ContentLength => (b"Content-Length", Some(b'l')),
        }
    }

    /// What stands before the address.
    const fn mark(self) -> &'static [u8] {
        match self {
            Self::From | Self::To | Self::Contact => b"sip:",
            Self::ViaUdp => b"UDP ",
            Self::ViaTcp => b"TCP ",
            Self::Cseq | Self::Expires | Self::ContentLength => b"",
        }
    }
}

/// The first such header behind `from`, so far as it is looked at: the digits, or the address and port. One that is not as
/// it should be is an error, which says from where on to look for the next.
pub fn value<A: Address>(text: &[u8], header: Header, from: usize) -> Result<Option<Range<usize>>, usize> {
    let Some(start) = start_of(text, header, from) else { return Ok(None) };
    let mark = header.mark();
    let Some(at) = (if mark.is_empty() { Some(start) } else { search(text, start, mark) }) else { return Err(start) };
    match header.matched::<A>(text, at + mark.len()) {
        Some(range) => Ok(Some(range)),
        None => Err(start),
    }
}

/// Where the text of the first such header behind `from` begins, behind its colon.
fn start_of(text: &[u8], header: Header, from: usize) -> Option<usize> {
    let (name, compact) = header.names();
    let mut at = from;
    loop {
        at = next_line(text, at)?;
        let line = &text[at..];
        let name_len = if starts_with(line, name) {
            name.len()
        } else if compact.is_some_and(|c| starts_with(line, &[c]))
            && line.get(1).is_some_and(|c| !c.is_ascii_alphabetic())
        {
            1
        } else {
            // The line itself is not looked through for its own end if it has nothing before it.
            at += 1;
            continue;
        };
        let colon = skip_white(text, at + name_len)?;
        if text.get(colon) != Some(&b':') || colon + 1 >= text.len() {
            return None;
        }
        return skip_white(text, colon + 1);
    }
}

impl Header {
    /// What counts of the header's text behind its mark: nothing if it is not as it should be.
    fn matched<A: Address>(self, text: &[u8], at: usize) -> Option<Range<usize>> {
        let at = match self {
            Self::Cseq | Self::Expires | Self::ContentLength => {
                let len = digits(text, at);
                return (len > 0).then_some(at..at + len);
            }
            Self::From | Self::To | Self::Contact => after_user(text, at),
            Self::ViaUdp | Self::ViaTcp => at,
        };
        endpoint::<A>(text, at).map(|uri| uri.range)
    }
}

/// The number in such a header, and where its digits are.
pub fn number_in(text: &[u8], header: Header) -> Option<(u32, Range<usize>)> {
    number(text, value::<Ipv4Addr>(text, header, 0).ok()??.start)
}

/// An address and port in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri<A> {
    pub address: A,
    pub port: u16,
    /// Where both are.
    pub range: Range<usize>,
}

/// The URIs of all headers of one name, one after the other, in a message that may change meanwhile.
pub struct Uris {
    header: Header,
    at: usize,
    /// Inside a header that has had one.
    inside: bool,
}

impl Uris {
    pub fn new(header: Header) -> Self {
        Self { header, at: 0, inside: false }
    }

    /// The next one: behind where the one before has ended.
    pub fn next<A: Address>(&mut self, text: &[u8]) -> Option<Uri<A>> {
        while self.inside {
            match self.in_same_header::<A>(text) {
                Some(Some(range)) => return self.found(text, range),
                // Another one of the list may be right.
                Some(None) => {}
                None => self.inside = false,
            }
        }
        loop {
            match value::<A>(text, self.header, self.at) {
                Ok(Some(range)) => {
                    self.inside = true;
                    return self.found(text, range);
                }
                Ok(None) => return None,
                Err(resume) => self.at = resume,
            }
        }
    }

    /// The place behind the next comma and mark of the same header: nothing if there is none, or none that is right there.
    fn in_same_header<A: Address>(&mut self, text: &[u8]) -> Option<Option<Range<usize>>> {
        let mark = self.header.mark();
        let comma = search(text, self.at, b",")?;
        let at = search(text, comma, mark)? + mark.len();
        self.at = at;
        Some(self.header.matched::<A>(text, at))
    }

    fn found<A: Address>(&mut self, text: &[u8], range: Range<usize>) -> Option<Uri<A>> {
        self.at = range.end;
        endpoint(text, range.start)
    }
}

/// The first URI of the first header of that name.
pub fn uri<A: Address>(text: &[u8], header: Header) -> Option<Uri<A>> {
    Uris::new(header).next(text)
}

/// Behind `user@`, if there is one before the line ends.
fn after_user(text: &[u8], at: usize) -> usize {
    let rest = text.get(at..).unwrap_or_default();
    let user = rest.iter().position(|byte| matches!(byte, b'@' | b'\r' | b'\n'));
    user.filter(|user| text[at + user] == b'@').map_or(at, |user| at + user + 1)
}

/// The address at `at`, with a port or the default one. A port has at most five digits and is not one of the system's; behind
/// both there must be something more.
fn endpoint<A: Address>(text: &[u8], at: usize) -> Option<Uri<A>> {
    const MAX_DIGITS: usize = 5;
    let (address, end) = address(text, at, Brackets::Must)?;
    if *text.get(end)? != b':' {
        return Some(Uri { address, port: DEFAULT_PORT, range: at..end });
    }
    let len = digits(text, end + 1);
    let port = whole_number(text, end + 1).filter(|_| len <= MAX_DIGITS && text.len() > end + 1 + len)?;
    let port = u16::try_from(port).ok().filter(|port| *port >= 1_024)?;
    Some(Uri { address, port, range: at..end + 1 + len })
}

/// The address that a request is sent to: `INVITE sip:user@address:port SIP/2.0`.
pub fn request_uri<A: Address>(text: &[u8]) -> Option<Uri<A>> {
    let method = text.iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
    if method == 0 {
        return None;
    }
    let line = text.iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(text.len());
    let start = method + 1 + find(text.get(method + 1..line)?, b"sip:")? + b"sip:".len();
    endpoint(text, after_user(text, start))
}

/// Whether an IPv6 address stands in brackets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Brackets {
    /// It does, in URIs.
    Must,
    /// It may.
    May,
}

/// The address at `at` and where it ends.
pub fn address<A: Address>(text: &[u8], at: usize, brackets: Brackets) -> Option<(A, usize)> {
    let rest = text.get(at..)?;
    let (address, len): (IpAddr, usize) = if A::IS_V4 {
        let (address, len) = dotted(rest)?;
        (address.into(), len)
    } else {
        let opens = rest.first() == Some(&b'[');
        let inner = &rest[usize::from(opens)..];
        let fits = |byte: &&u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
        let len = inner.iter().take_while(fits).count();
        let address = ipv6(&inner[..len])?;
        let closes = inner.get(len) == Some(&b']');
        if brackets == Brackets::Must && !(opens && closes) {
            return None;
        }
        (address.into(), len + usize::from(opens) + usize::from(closes))
    };
    Some((A::of(address)?, at + len))
}

/// An IPv4 address and how long it is: zeros may lead, and no letter that could be a hexadecimal digit may follow
/// (`in4_pton`).
fn dotted(text: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let (mut octets, mut at) = ([0; 4], 0);
    for (n, octet) in octets.iter_mut().enumerate() {
        if n > 0 {
            (text.get(at) == Some(&b'.')).then_some(())?;
            at += 1;
        }
        let len = digits(text, at);
        let value =
            text[at..at + len].iter().try_fold(0_u8, |value, digit| value.checked_mul(10)?.checked_add(digit - b'0'));
        *octet = value.filter(|_| len > 0)?;
        at += len;
    }
    let goes_on = text.get(at).is_some_and(|byte| byte.is_ascii_hexdigit() || *byte == b'.');
    (!goes_on).then_some((octets.into(), at))
}

/// Where the value of the parameter `name`, which ends with `=`, begins in the rest of this URI's line.
pub fn parameter(text: &[u8], from: usize, name: &[u8]) -> Option<usize> {
    let comma = search(text, from, b",").unwrap_or(text.len());
    search(&text[..comma], from, name).map(|at| at + name.len())
}

/// How many digits there are at `at`.
fn digits(text: &[u8], at: usize) -> usize {
    text.get(at..).unwrap_or_default().iter().take_while(|byte| byte.is_ascii_digit()).count()
}

/// The number at `at`, and where its digits are; zero if it has more than 32 bits.
pub fn number(text: &[u8], at: usize) -> Option<(u32, Range<usize>)> {
    let len = digits(text, at);
    (len > 0).then(|| (whole_number(text, at).unwrap_or(0), at..at + len))
}

/// The number at `at`, if it has not more than 32 bits.
pub fn whole_number(text: &[u8], at: usize) -> Option<u32> {
    core::str::from_utf8(text.get(at..at + digits(text, at))?).ok()?.parse().ok()
}

/// Behind blanks, and a line end that the line goes on behind; nothing if it does not go on.
fn skip_white(text: &[u8], from: usize) -> Option<usize> {
    let blanks = text.get(from..).unwrap_or_default().iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    match text.get(from + blanks) {
        Some(b'\r' | b'\n') => continuation(text, from + blanks),
        Some(_) | None => Some(from + blanks),
    }
}

/// Where a line goes on that is folded at `at`, behind the blanks.
fn continuation(text: &[u8], at: usize) -> Option<usize> {
    let mut at = at + 1;
    if text[at - 1] == b'\r' && text.get(at) == Some(&b'\n') {
        at += 1;
    }
    matches!(text.get(at)?, b' ' | b'\t').then_some(())?;
    Some(at + text[at..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count())
}

/// The first place of `what` behind `from` in the same line, letters in either case. It is not found at the very end of the
/// text, nor where a folded line goes on.
pub fn search(text: &[u8], from: usize, what: &[u8]) -> Option<usize> {
    let limit = text.len().checked_sub(what.len())?;
    let mut at = from;
    while at < limit {
        if matches!(text[at], b'\r' | b'\n') {
            at = continuation(&text[..limit], at)?;
        } else if starts_with(&text[at..], what) {
            return Some(at);
        }
        at += 1;
    }
    None
}

/// Where the next line begins that does not continue the one before.
pub fn next_line(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at = any_next_line(text, at)?;
        match text[at] {
            b' ' | b'\t' => at += 1,
            _ => return Some(at),
        }
    }
}

/// Where the next line begins.
pub fn any_next_line(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from + text.get(from..)?.iter().position(|byte| matches!(byte, b'\r' | b'\n'))? + 1;
    if text[at - 1] == b'\r' && text.get(at) == Some(&b'\n') {
        at += 1;
    }
    (at < text.len()).then_some(at)
}

/// The first place of `what`, letters in either case.
fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|window| window.eq_ignore_ascii_case(what))
}
