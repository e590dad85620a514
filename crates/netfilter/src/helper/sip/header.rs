//! SIP's headers (RFC 3261 §7.3), read as leniently as the kernel reads them (`ct_sip_get_header` and what calls it).
//!
//! Ranges count from the start of the message. Nothing here allocates.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use core::ops::Range;

use crate::helper::text::starts_with;
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

/// Where the value of the first such header behind `from` begins.
pub fn value(text: &[u8], header: Header, from: usize) -> Option<usize> {
    let (name, compact) = header.names();
    let mut at = from;
    loop {
        at = next_line(text, at)?;
        let line = &text[at..];
        let name_len = if starts_with(line, name) {
            name.len()
        } else if compact.is_some_and(|c| starts_with(line, &[c])) && !line.get(1).is_some_and(u8::is_ascii_alphabetic)
        {
            1
        } else {
            continue;
        };
        let colon = skip_blanks(text, at + name_len);
        if text.get(colon) != Some(&b':') {
            return None;
        }
        return Some(skip_blanks(text, colon + 1));
    }
}

/// The number in such a header, and where its digits are.
pub fn number_in(text: &[u8], header: Header) -> Option<(u32, Range<usize>)> {
    number(text, value(text, header, 0)?)
}

/// An address and port in a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Uri<A> {
    pub address: A,
    pub port: u16,
    /// Where both are.
    pub range: Range<usize>,
}

/// The URIs of all headers of one name, one after the other.
pub struct Uris<'a> {
    text: &'a [u8],
    header: Header,
    at: usize,
    /// Inside a header that has had one.
    inside: bool,
}

/// A port below 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadPort;

impl<'a> Uris<'a> {
    pub fn new(text: &'a [u8], header: Header) -> Self {
        Self { text, header, at: 0, inside: false }
    }

    /// The next one.
    pub fn next<A: Address>(&mut self) -> Result<Option<Uri<A>>, BadPort> {
        let (text, mark) = (self.text, self.header.mark());
        loop {
            let start = if self.inside {
                self.at
            } else {
                let Some(start) = value(text, self.header, self.at) else { return Ok(None) };
                start
            };
            let end = line_end(text, start);
            let comma =
                if self.inside { find(&text[start..end], b",").map(|comma| start + comma + 1) } else { Some(start) };
            let found = comma.and_then(|from| Some(from + find(&text[from..end], mark)? + mark.len()));
            let Some(found) = found else {
                (self.at, self.inside) = (end, false);
                continue;
            };
            self.at = found;
            self.inside = true;
            let uri = endpoint(&text[..end], after_user(text, found, end))?;
            if uri.is_some() {
                return Ok(uri);
            }
        }
    }
}

/// The first URI of the first header of that name.
pub fn uri<A: Address>(text: &[u8], header: Header) -> Option<Uri<A>> {
    Uris::new(text, header).next().ok().flatten()
}

/// Behind `user@`, if there is one before the line is folded.
fn after_user(text: &[u8], at: usize, end: usize) -> usize {
    let user = text[at..end].iter().position(|byte| matches!(byte, b'@' | b'\r' | b'\n'));
    user.filter(|user| text[at + user] == b'@').map_or(at, |user| at + user + 1)
}

/// The address at `at`, with a port or the default one.
fn endpoint<A: Address>(text: &[u8], at: usize) -> Result<Option<Uri<A>>, BadPort> {
    let Some((address, end)) = address(text, at) else { return Ok(None) };
    if text.get(end) != Some(&b':') {
        return Ok(Some(Uri { address, port: DEFAULT_PORT, range: at..end }));
    }
    let Some((port, digits)) = number(text, end + 1) else { return Ok(None) };
    let port = u16::try_from(port).ok().filter(|port| *port >= 1_024).ok_or(BadPort)?;
    Ok(Some(Uri { address, port, range: at..digits.end }))
}

/// The address that a request is sent to: `INVITE sip:user@address:port SIP/2.0`.
pub fn request_uri<A: Address>(text: &[u8]) -> Option<Uri<A>> {
    let end = line_end(text, 0);
    let start = find(&text[..end], b" ")? + 1;
    let start = start + find(&text[start..end], b"sip:")? + b"sip:".len();
    endpoint(&text[..end], after_user(text, start, end)).ok().flatten()
}

/// The address at `at` and where it ends; of IPv6 with or without brackets.
pub fn address<A: Address>(text: &[u8], at: usize) -> Option<(A, usize)> {
    let rest = text.get(at..)?;
    let len_of = |rest: &[u8], fits: fn(u8) -> bool| rest.iter().take(46).take_while(|&&byte| fits(byte)).count();
    let (address, len): (IpAddr, usize) = if A::IS_V4 {
        let len = len_of(rest, |byte| byte.is_ascii_digit() || byte == b'.');
        (core::str::from_utf8(&rest[..len]).ok()?.parse::<Ipv4Addr>().ok()?.into(), len)
    } else {
        let bracket = usize::from(rest.first() == Some(&b'['));
        let inner = &rest[bracket..];
        let len = len_of(inner, |byte| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.'));
        let address = core::str::from_utf8(&inner[..len]).ok()?.parse::<Ipv6Addr>().ok()?;
        if bracket == 1 && inner.get(len) != Some(&b']') {
            return None;
        }
        (address.into(), len + 2 * bracket)
    };
    Some((A::of(address)?, at + len))
}

/// Where the value of the parameter `name`, which ends with `=`, begins in the rest of this URI's line.
pub fn parameter(text: &[u8], from: usize, name: &[u8]) -> Option<usize> {
    let end = line_end(text, from);
    let end = find(&text[from..end], b",").map_or(end, |comma| from + comma);
    Some(from + find(&text[from..end], name)? + name.len())
}

/// The number at `at`, and where its digits are; the largest if it is larger.
pub fn number(text: &[u8], at: usize) -> Option<(u32, Range<usize>)> {
    let digits = text.get(at..)?.iter().take_while(|byte| byte.is_ascii_digit());
    let (value, len) = digits.fold((0_u32, 0), |(value, len), digit| {
        (value.saturating_mul(10).saturating_add(u32::from(digit - b'0')), len + 1)
    });
    (len > 0).then_some((value, at..at + len))
}

/// Where the next line begins that does not continue the one before.
pub fn next_line(text: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        at += text.get(at..)?.iter().position(|byte| matches!(byte, b'\r' | b'\n'))? + 1;
        if text[at - 1] == b'\r' && text.get(at) == Some(&b'\n') {
            at += 1;
        }
        match text.get(at)? {
            b' ' | b'\t' => {}
            _ => return Some(at),
        }
    }
}

/// Where the line of `from` ends, its continuations included.
pub fn line_end(text: &[u8], from: usize) -> usize {
    let from = from.min(text.len());
    let Some(next) = next_line(text, from) else { return text.len() };
    next - text[from..next].iter().rev().take_while(|byte| matches!(byte, b'\r' | b'\n')).count()
}

fn skip_blanks(text: &[u8], from: usize) -> usize {
    let rest = text.get(from..).unwrap_or_default();
    from.min(text.len()) + rest.iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count()
}

/// The first place of `what`, letters in either case.
pub fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    if what.is_empty() {
        return Some(0);
    }
    text.windows(what.len()).position(|window| window.eq_ignore_ascii_case(what))
}
