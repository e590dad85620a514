//! The four texts that announce an address or port, as the kernel reads them: more lenient than the RFCs in what is between
//! the numbers, strict in that a text that only begins as one of them is recognised too.

use core::fmt;
use core::net::{IpAddr, Ipv4Addr};
use core::ops::Range;

use crate::helper::text::{ipv6, starts_with};
use crate::status::Direction;
use crate::tuple::Address;

/// How an address and port are announced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// `PORT h,h,h,h,p,p` (RFC 959).
    Port,
    /// `227 ... h,h,h,h,p,p` (RFC 959; where it begins, RFC 1123 §4.1.2.6).
    Pasv,
    /// `EPRT |f|address|port|` (RFC 2428).
    Eprt,
    /// `229 ... (|||port|)` (RFC 2428).
    Epsv,
}

impl fmt::Display for Form {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Port => "PORT",
            Self::Pasv => "227",
            Self::Eprt => "EPRT",
            Self::Epsv => "229",
        })
    }
}

/// An announcement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command<A> {
    /// How it is written.
    pub form: Form,
    /// Where it is in the payload: the numbers and their delimiters.
    pub range: Range<usize>,
    /// The address; the sender's own where none is written.
    pub address: A,
    /// The port.
    pub port: u16,
}

/// What a text that begins a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found<A> {
    /// None of the four.
    Nothing,
    /// One of them as far as it goes, but not whole, or with numbers that cannot be.
    Part(Form),
    /// One of them.
    Whole(Command<A>),
}

/// How numbers are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Numbers {
    /// One that is too large loses its highest bits, and PORT and 227 may name port 0.
    Wrap,
    /// One that is too large, and port 0, make the text wrong.
    Checked,
}

/// Looks for what `direction` may announce at the start of `text`, which comes from `sender`.
pub fn find<A: Address>(text: &[u8], direction: Direction, sender: A, numbers: Numbers) -> Found<A> {
    let forms = match direction {
        Direction::Original => [Form::Port, Form::Eprt],
        Direction::Reply => [Form::Pasv, Form::Epsv],
    };
    for form in forms {
        let pattern: &[u8; 4] = match form {
            Form::Port => b"PORT",
            Form::Eprt => b"EPRT",
            Form::Pasv => b"227 ",
            Form::Epsv => b"229 ",
        };
        if text.len() <= pattern.len() {
            if !text.is_empty() && starts_with(pattern, text) {
                return Found::Part(form);
            }
        } else if starts_with(text, pattern) {
            return match form.read(text, pattern.len(), sender, numbers) {
                Some((range, address, port)) => Found::Whole(Command { form, range, address, port }),
                None => Found::Part(form),
            };
        }
    }
    Found::Nothing
}

impl Form {
    /// The numbers behind the pattern.
    fn read<A: Address>(
        self,
        text: &[u8],
        after: usize,
        sender: A,
        numbers: Numbers,
    ) -> Option<(Range<usize>, A, u16)> {
        let position = |found: &dyn Fn(u8) -> bool| Some(after + text[after..].iter().position(|&byte| found(byte))?);
        let (start, (len, address, port)) = match self {
            Self::Port => {
                let start = position(&|byte| byte == b' ')? + 1;
                (start, six_numbers(&text[start..], Some(b'\r'), sender, numbers)?)
            }
            Self::Pasv => {
                let start = position(&|byte| byte.is_ascii_digit())?;
                (start, six_numbers(&text[start..], None, sender, numbers)?)
            }
            Self::Eprt => {
                let start = position(&|byte| byte == b' ')? + 1;
                (start, extended_port(&text[start..], numbers)?)
            }
            Self::Epsv => {
                let start = position(&|byte| byte == b'(')? + 1;
                let (len, port) = extended_passive(&text[start..], numbers)?;
                (start, (len, sender, port))
            }
        };
        Some((start..start + len, address, port))
    }
}

/// `h,h,h,h,p,p` up to `end`, or up to anything: how long it is, address and port.
fn six_numbers<A: Address>(text: &[u8], end: Option<u8>, sender: A, numbers: Numbers) -> Option<(usize, A, u16)> {
    let ([a, b, c, d, high, low], len) = octets(text, b',', end, numbers)?;
    let port = (high << 8 | low) as u16;
    if port == 0 && numbers == Numbers::Checked {
        return None;
    }
    // Of an IPv6 address only the first four octets: another host's than the sender's, so not believed.
    let host_bits = A::BITS - 32;
    let number = u128::from(address([a, b, c, d])) << host_bits | sender.to_number() & ((1 << host_bits) - 1);
    Some((len, A::of_number(number), port))
}

/// `|1|address|port|` with any delimiter: how long it is, address and port.
fn extended_port<A: Address>(text: &[u8], numbers: Numbers) -> Option<(usize, A, u16)> {
    let &[delimiter, family, second, ..] = text else { return None };
    if !is_delimiter(delimiter) || second != delimiter || family != if A::IS_V4 { b'1' } else { b'2' } {
        return None;
    }
    let rest = &text[3..];
    let (address, address_len): (IpAddr, usize) = if A::IS_V4 {
        let (numbers, len) = octets(rest, b'.', Some(delimiter), numbers)?;
        (Ipv4Addr::from_bits(address(numbers)).into(), len)
    } else {
        let len = rest.iter().position(|&byte| byte == delimiter)?;
        (ipv6(&rest[..len])?.into(), len)
    };
    let port_at = 3 + address_len + 1;
    let (len, port) = port(text.get(port_at..)?, delimiter, numbers)?;
    Some((port_at + len, A::of(address)?, port))
}

/// `|||port|` with any delimiter: how long it is, and the port.
fn extended_passive(text: &[u8], numbers: Numbers) -> Option<(usize, u16)> {
    let &[delimiter, second, third, ..] = text else { return None };
    if !is_delimiter(delimiter) || second != delimiter || third != delimiter {
        return None;
    }
    let (len, port) = port(&text[3..], delimiter, numbers)?;
    Some((3 + len, port))
}

/// RFC 2428 §2: any printable character but a digit.
fn is_delimiter(byte: u8) -> bool {
    (33..=126).contains(&byte) && !byte.is_ascii_digit()
}

/// A port that is not zero, with the delimiter behind it: how long both are, and the port.
fn port(text: &[u8], delimiter: u8, numbers: Numbers) -> Option<(usize, u16)> {
    let len = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let port = text[..len].iter().try_fold(0_u32, |port, &digit| {
        let port = port * 10 + u32::from(digit - b'0');
        match numbers {
            Numbers::Wrap => Some(port & 0xffff),
            Numbers::Checked => (port <= 0xffff).then_some(port),
        }
    })?;
    (port != 0 && text.get(len) == Some(&delimiter)).then_some((len + 1, port as u16))
}

/// The address of four numbers; what is too large spills over, as the kernel's shifts let it.
fn address([a, b, c, d]: [u32; 4]) -> u32 {
    a << 24 | b << 16 | c << 8 | d
}

/// `N` numbers with a separator between, up to `end`, or up to any other byte; and how long they are. Where a number is
/// missing it is zero.
fn octets<const N: usize>(text: &[u8], separator: u8, end: Option<u8>, read_as: Numbers) -> Option<([u32; N], usize)> {
    let mut numbers = [0_u32; N];
    let mut n = 0;
    for (len, &byte) in text.iter().enumerate() {
        if byte.is_ascii_digit() {
            numbers[n] = numbers[n].wrapping_mul(10).wrapping_add(u32::from(byte - b'0'));
            if numbers[n] > 255 && read_as == Numbers::Checked {
                return None;
            }
        } else if byte == separator {
            n += 1;
            if n == N {
                return None;
            }
        } else {
            let is_end = end.is_none_or(|end| end == byte);
            return (is_end && n == N - 1).then_some((numbers, len));
        }
    }
    None
}
