//! The description of a call's streams (RFC 4566), so far as addresses and ports are in it.

use core::ops::Range;

use super::header::{Brackets, address, any_next_line, number};
use crate::expect::Class;
use crate::helper::text::starts_with;
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
    /// Whether the next stream has a port that none may have: not from 1024 to 65535.
    pub ends_wrong: bool,
}

/// The description in a message, if there is one.
pub fn parse<A: Address>(text: &[u8]) -> Option<Description<A>> {
    let start = line(text, 0, b"v=", None)?;
    if !text.get(start + 2).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    let mut description = Description {
        start,
        owner: place(text, start, b"o="),
        connection: place(text, start, b"c="),
        media: Vec::new(),
        ends_wrong: false,
    };
    let mut at = start;
    while let Some(media) = line(text, at, b"m=", None).filter(|_| description.media.len() < MAX_MEDIA) {
        at = media + 2;
        let letters = text[at..].iter().take_while(|byte| byte.is_ascii_alphabetic()).count();
        if text.get(at + letters) != Some(&b' ') {
            break;
        }
        let kinds: [(&[u8], Class); 3] =
            [(b"audio ", Class::AUDIO), (b"video ", Class::VIDEO), (b"image ", Class::IMAGE)];
        let Some((name, class)) = kinds.into_iter().find(|(name, _)| text[at..].starts_with(name)) else { continue };
        at += name.len();
        let (port, range) = number(text, at).unwrap_or((0, at..at));
        if port == 0 {
            continue;
        }
        let Some(port) = u16::try_from(port).ok().filter(|port| *port >= 1_024) else {
            description.ends_wrong = true;
            break;
        };
        description.media.push(Media { class, port, range, connection: place(text, at, b"c=") });
    }
    Some(description)
}

/// The address on the first line of this kind behind `from` and before the next stream.
fn place<A: Address>(text: &[u8], from: usize, kind: &[u8; 2]) -> Option<Place<A>> {
    let at = line(text, from, kind, Some(b"m="))? + kind.len();
    let family: &[u8] = if A::IS_V4 { b"IN IP4 " } else { b"IN IP6 " };
    let length = text[at..].iter().position(|byte| matches!(byte, b'\r' | b'\n')).unwrap_or(text.len() - at);
    // What stands before the address may not be the last of the text.
    let limit = (at + length).min(text.len().saturating_sub(1));
    let start = at + text.get(at..limit)?.windows(family.len()).position(|window| window == family)? + family.len();
    let (address, end) = address(text, start, Brackets::May)?;
    Some(Place { address, range: start..end })
}

/// Where the first line of this kind behind `from` begins, if it comes before one of the kind `until`.
fn line(text: &[u8], from: usize, kind: &[u8; 2], until: Option<&[u8; 2]>) -> Option<usize> {
    let mut at = from;
    loop {
        at = any_next_line(text, at)?;
        if until.is_some_and(|until| starts_with(&text[at..], until)) {
            return None;
        }
        if starts_with(&text[at..], kind) {
            return Some(at);
        }
        at += 1;
    }
}
