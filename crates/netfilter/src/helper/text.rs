//! Short texts without allocation, and reading numbers and addresses out of bytes.

use core::fmt;
use core::fmt::Write as _;
use core::net::Ipv6Addr;

/// The longest text that a helper writes: an IPv6 address written out, a port, and what is around them.
const MAX_LEN: usize = 72;

/// What a helper writes into a packet.
#[derive(Clone, Copy)]
pub struct Text {
    bytes: [u8; MAX_LEN],
    len: u8,
}

impl Text {
    /// What these bytes or `format_args!` say; what does not fit is cut, and nothing that a helper writes is so long.
    pub fn new(args: fmt::Arguments<'_>) -> Self {
        let mut text = Self { bytes: [0; MAX_LEN], len: 0 };
        let fits = text.write_fmt(args).is_ok();
        debug_assert!(fits, "{args} is longer than any address and port");
        text
    }

    /// The text.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

impl fmt::Write for Text {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let start = usize::from(self.len);
        let room = self.bytes.get_mut(start..start + more.len()).ok_or(fmt::Error)?;
        room.copy_from_slice(more.as_bytes());
        self.len += more.len() as u8;
        Ok(())
    }
}

impl fmt::Display for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.as_bytes().escape_ascii())
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for Text {}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.as_bytes().escape_ascii())
    }
}

/// Whether `bytes` begin with `prefix`, letters in either case.
pub(super) fn starts_with(bytes: &[u8], prefix: &[u8]) -> bool {
    bytes.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// The IPv6 address that is all of `text`: as RFC 4291 writes it, but any number of zeros may lead each group (`in6_pton`).
pub(super) fn ipv6(text: &[u8]) -> Option<Ipv6Addr> {
    /// Six groups and an IPv4 address.
    const MAX_LEN: usize = 45;
    let mut short = [0; MAX_LEN];
    let (mut len, mut leads) = (0, true);
    for (at, &byte) in text.iter().enumerate() {
        if leads && byte == b'0' && text.get(at + 1).is_some_and(u8::is_ascii_hexdigit) {
            continue;
        }
        leads = !byte.is_ascii_hexdigit();
        *short.get_mut(len)? = byte;
        len += 1;
    }
    core::str::from_utf8(&short[..len]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::ipv6;

    #[test]
    fn zeros_may_lead_the_groups_of_an_ipv6_address() {
        let address = "fd00::a".parse().ok();
        assert_eq!(ipv6(b"fd00::a"), address);
        assert_eq!(ipv6(b"0fd00:000000::0000a"), address);
        assert_eq!(ipv6(b"::00192.0.02.001"), "::192.0.2.1".parse().ok());
        assert_eq!(ipv6(b"1fd00::a"), None, "other digits may not");
        assert_eq!(ipv6(b""), None);
    }
}
