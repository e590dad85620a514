//! Messages over TCP and TLS, which follow one another without anything between them (RFC 8489 §6.2.2).

use crate::message::{HEADER, Malformed};

/// What a stream begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A message of so many bytes; they are there.
    Message(usize),
    /// A part of one: at least so many bytes more have to come.
    More(usize),
}

/// Where the first message of a stream ends.
///
/// # Errors
/// If what is there does not begin a STUN message: the stream is lost, since nobody can tell where the next one begins.
pub fn next(stream: &[u8]) -> Result<Next, Malformed> {
    if stream.first().is_some_and(|first| first & 0xc0 != 0) {
        return Err(Malformed::NotStun);
    }
    let Some(&[_, _, high, low]) = stream.first_chunk::<4>() else { return Ok(Next::More(HEADER - stream.len())) };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if !length.is_multiple_of(4) {
        return Err(Malformed::Length);
    }
    let whole = HEADER + length;
    Ok(if stream.len() < whole { Next::More(whole - stream.len()) } else { Next::Message(whole) })
}

#[cfg(test)]
mod tests {
    use super::{Malformed, Next, next};

    #[test]
    fn a_message_is_taken_when_it_is_whole() {
        let mut stream = vec![0, 1, 0, 4];
        stream.extend([7; 16]);
        assert_eq!(next(&[]), Ok(Next::More(20)));
        assert_eq!(next(&stream[..3]), Ok(Next::More(17)));
        assert_eq!(next(&stream), Ok(Next::More(4)));
        stream.extend([0; 9]);
        assert_eq!(next(&stream), Ok(Next::Message(24)));
    }

    #[test]
    fn what_is_not_stun_ends_the_stream() {
        assert_eq!(next(b"\x80"), Err(Malformed::NotStun));
        assert_eq!(next(b"GET / HTTP/1.1\r\n\r\n"), Err(Malformed::NotStun));
        assert_eq!(next(&[0, 1, 0, 3]), Err(Malformed::Length));
    }
}
