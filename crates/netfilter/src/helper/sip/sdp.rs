//! The description of a call's streams (RFC 4566), so far as addresses and ports are in it.

use core::ops::Range;

use super::header::{address, find, line_end, next_line, number};
use crate::expect::Class;
use crate::tuple::Address;

/// Streams that are looked at in one message; the kernel looks at as many as it knows kinds.
const MAX_MEDIA: usize = 3;

/// An address in the description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<A> {
    pub address: A,
    pub range: Range<usize>,
}

/// A stream: `m=audio 40000 RTP/AVP 0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media<A> {
    pub class: Class,
    pub port: u16,
    /// Where the port is.
    pub range: Range<usize>,
    /// Its own address, if it has one.
    pub connection: Option<Place<A>>,
}

/// What a message says of streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Description<A> {
    /// Where it begins: at `v=`.
    pub start: usize,
    /// Who made it: `o=`.
    pub owner: Option<Place<A>>,
    /// The address of streams that have none of their own: `c=`.
    pub connection: Option<Place<A>>,
    /// The streams that are in use, in order.
    pub media: Vec<Media<A>>,
}

/// A stream with a port below 1024.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongPort;

/// The description in a message, if there is one.
pub fn parse<A: Address>(text: &[u8]) -> Result<Option<Description<A>>, WrongPort> {
    let Some(start) = line(text, 0, b"v=", None) else { return Ok(None) };
    let mut description = Description {
        start,
        owner: place(text, start, b"o="),
        connection: place(text, start, b"c="),
        media: Vec::new(),
    };
    let mut at = start;
    while let Some(media) = line(text, at, b"m=", None).filter(|_| description.media.len() < MAX_MEDIA) {
        at = media;
        let kinds: [(&[u8], Class); 3] =
            [(b"audio ", Class::AUDIO), (b"video ", Class::VIDEO), (b"image ", Class::IMAGE)];
        let kind = kinds.into_iter().find(|(name, _)| find(&text[media + 2..line_end(text, media)], name) == Some(0));
        let Some((name, class)) = kind else { continue };
        let Some((port, range)) = number(text, media + 2 + name.len()) else { continue };
        if port == 0 {
            continue;
        }
        let port = u16::try_from(port).ok().filter(|port| *port >= 1_024).ok_or(WrongPort)?;
        description.media.push(Media { class, port, range, connection: place(text, media, b"c=") });
    }
    Ok(Some(description))
}

/// The address on the first line of this kind behind `from` and before the next stream.
fn place<A: Address>(text: &[u8], from: usize, kind: &[u8; 2]) -> Option<Place<A>> {
    let at = line(text, from, kind, Some(b"m="))?;
    let family: &[u8] = if A::IS_V4 { b"IN IP4 " } else { b"IN IP6 " };
    let start = at + find(&text[at..line_end(text, at)], family)? + family.len();
    let (address, end) = address(text, start)?;
    Some(Place { address, range: start..end })
}

/// Where the first line of this kind behind `from` begins, if it comes before one of the kind `until`.
fn line(text: &[u8], from: usize, kind: &[u8; 2], until: Option<&[u8; 2]>) -> Option<usize> {
    let mut at = from;
    loop {
        at = next_line(text, at)?;
        if text[at..].starts_with(kind) {
            return Some(at);
        }
        if until.is_some_and(|until| text[at..].starts_with(until)) {
            return None;
        }
    }
}
