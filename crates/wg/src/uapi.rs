//! The cross-platform UAPI: the `key=value` text that `wg`, wgctrl and pinhole exchange with a userspace WireGuard device over
//! its socket (<https://www.wireguard.com/xplatform/>).
//!
//! A request is an operation line (`get=1` or `set=1`), the lines of its body and an empty line; the answer is the lines of a
//! device, if it was asked for, then `errno=N` and an empty line. Both directions are here, so our own device and our own
//! client are held to each other. Reading a request is as strict as wireguard-go's `device/uapi.go`, with one difference:
//! there the lines before a bad one have already taken effect, here nothing has, because the whole request is read first.
//! Reading an answer is lenient: keys it does not know are another implementation's and are passed over.
//!
//! One key is ours alone, [`HANDSHAKE_KEY`]. The sockets, and how long to wait on them, are `host`'s business.

use core::fmt;

mod get;
mod set;

pub use get::{format_get_reply, parse_get_reply};
pub use set::{format_set, parse_set};

use crate::DeviceUpdate;

/// The whole request that asks for a device.
pub const GET: &str = "get=1\n\n";

/// The one key that is pinhole's own: `pinhole_handshake=true` among a peer's lines asks for
/// [`PeerUpdate::handshake`](crate::PeerUpdate::handshake). Every other implementation refuses the whole request with
/// `EINVAL`, as it does any key it does not know.
pub const HANDSHAKE_KEY: &str = "pinhole_handshake";

/// Requests longer than this are refused by our device and never made by our client: room for some 10,000 peers with
/// several prefixes each.
pub const MAX_REQUEST_BYTES: usize = 8 << 20;

/// `EINVAL`, for a value or key that makes no sense.
pub const EINVAL: i32 = 22;
/// `EPROTO`, for a line that is not `key=value` and for an operation that does not exist.
pub const EPROTO: i32 = 71;

/// What a client asks of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Its state.
    Get,
    /// A change.
    Set(DeviceUpdate),
}

/// Why a request is refused: the number for the client, the reason for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The positive errno: [`EINVAL`] or [`EPROTO`].
    pub errno: i32,
    /// The line, counted from 1 at the operation, and what is wrong with it. Never contains a secret.
    pub reason: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (errno {})", self.reason, self.errno)
    }
}

impl std::error::Error for Refusal {}

/// Why an answer is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReplyError {
    /// The device refused: its positive errno.
    Errno(i32),
    /// The answer stops before its `errno` line.
    Truncated,
    /// A line, counted from 1, that cannot be read, and what was expected there.
    Malformed {
        /// Its number.
        line: usize,
        /// What should have stood there.
        expected: &'static str,
    },
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Errno(errno) => write!(f, "the device refused with errno {errno}"),
            Self::Truncated => f.write_str("the device's answer stops before its errno line"),
            Self::Malformed { line, expected } => {
                write!(f, "line {line} of the device's answer cannot be read: expected {expected}")
            }
        }
    }
}

impl std::error::Error for ReplyError {}

/// Reads a whole request, with or without its closing empty line.
pub fn parse_request(text: &str) -> Result<Request, Refusal> {
    let mut lines = text.lines();
    match lines.next() {
        Some("get=1") => match lines.next() {
            None | Some("") => Ok(Request::Get),
            Some(_) => Err(Refusal { errno: EINVAL, reason: "line 2: get=1 takes no further lines".into() }),
        },
        Some("set=1") => parse_set(text).map(Request::Set),
        _ => Err(Refusal { errno: EPROTO, reason: "line 1: expected get=1 or set=1".into() }),
    }
}

/// The answer to a `set=1`, and to any request that failed: `errno` is positive here and 0 for success. On the wire
/// failures are negative, as wireguard-go writes them and `wg` needs them to show the right words.
pub fn format_reply(errno: i32) -> String {
    format!("errno={}\n\n", -errno.abs())
}

/// Reads the answer to a `set=1`.
pub fn parse_reply(text: &str) -> Result<(), ReplyError> {
    for (index, line) in text.lines().enumerate() {
        if let Some(value) = line.strip_prefix("errno=") {
            return errno(value, index + 1);
        }
    }
    Err(ReplyError::Truncated)
}

/// The meaning of an `errno` line.
fn errno(value: &str, line: usize) -> Result<(), ReplyError> {
    match value.parse::<i32>() {
        Ok(0) => Ok(()),
        Ok(errno) => Err(ReplyError::Errno(errno.saturating_abs())),
        Err(_) => Err(ReplyError::Malformed { line, expected: "errno= and a number" }),
    }
}

/// A decimal number as Go's `ParseUint` takes it: digits only, where Rust would take a plus sign.
fn decimal<T: core::str::FromStr>(text: &str) -> Option<T> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests;
