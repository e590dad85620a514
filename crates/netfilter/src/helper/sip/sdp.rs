//! The description of a call's streams (RFC 4566), so far as addresses and ports are in it.

use core::ops::Range;

use super::header::{Brackets, address, any_next_line, number};
use crate::expect::Class;
use crate::helper::text::starts_with;
use crate::tuple::Address;

/// Streams that are looked at in one message; the kernel looks at as many as it knows kinds.
pub const MAX_MEDIA: usize = 3;

/// An address in the description.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place<A> {
    pub address: A,
    pub range: Range<usize>,
}

/// A stream: `m=audio 40000 RTP/AVP 0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Media {
    pub class: Class,
    pub port: u16,
    /// Where the port is.
    pub range: Range<usize>,
}

/// What comes next of streams.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// One that is in use.
    Media(Media),
    /// One with a port that none may have: not from 1024 to 65535.
    Wrong,
    /// No more.
    End,
}

/// Where the description of a message begins: at `v=`.
pub fn start(text: &[u8]) -> Option<usize> {
    line(text, 0, b"v=", None).filter(|start| text.get(start + 2).is_some_and(u8::is_ascii_digit))
}

/// The next stream behind `from` that is in use.
pub fn next(text: &[u8], from: usize) -> Next {
    let mut at = from;
    while let Some(media) = line(text, at, b"m=", None) {
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
        let port = u16::try_from(port).ok().filter(|port| *port >= 1_024);
        return port.map_or(Next::Wrong, |port| Next::Media(Media { class, port, range }));
    }
    Next::End
}

/// The address on the first line of this kind behind `from` and before the next stream.
pub fn place<A: Address>(text: &[u8], from: usize, kind: &[u8; 2]) -> Option<Place<A>> {
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
