//! Names of network interfaces as fixed bytes, so that a rule compares one in an instruction or two.

use core::fmt;

/// The longest name of an interface, in bytes (`IFNAMSIZ - 1`).
const LONGEST: usize = 15;

/// The name of an interface, or none.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Device(u128);

impl Device {
    /// No interface: the input of what this host sends, the output of what it receives.
    pub const NONE: Self = Self(0);

    /// The interface called `name`; only the first 15 bytes count, as in Linux.
    pub const fn named(name: &str) -> Self {
        let mut bytes = [0; 16];
        let mut at = 0;
        while at < name.len() && at < LONGEST {
            bytes[at] = name.as_bytes()[at];
            at += 1;
        }
        Self(u128::from_le_bytes(bytes))
    }

    fn bytes(self) -> ([u8; 16], usize) {
        let bytes = self.0.to_le_bytes();
        (bytes, bytes.iter().position(|&byte| byte == 0).unwrap_or(bytes.len()))
    }
}

impl From<&str> for Device {
    fn from(name: &str) -> Self {
        Self::named(name)
    }
}

impl fmt::Display for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (bytes, length) = self.bytes();
        f.write_str(&String::from_utf8_lossy(&bytes[..length]))
    }
}

impl fmt::Debug for Device {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Device({self})")
    }
}

/// Which interfaces a rule means: one, or all whose names begin alike (`lan+`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Interface {
    name: Device,
    /// The bits of a name that count: all of them, the zero behind the name included, or those of the beginning.
    mask: u128,
}

impl Interface {
    /// What a name that no interface can have means; rules with it are not loaded.
    pub(super) const NOTHING: Self = Self { name: Device::NONE, mask: u128::MAX };

    /// What `name` means behind `-i`, a `+` at its end being "and whatever follows"; nothing if it is empty, too long,
    /// or no name.
    pub fn new(name: &str) -> Option<Self> {
        let (beginning, is_wildcard) = match name.strip_suffix('+') {
            Some(beginning) => (beginning, true),
            None => (name, false),
        };
        let is_name = !name.is_empty()
            && name.len() <= LONGEST
            && name.bytes().all(|byte| byte != 0 && byte != b'/' && !byte.is_ascii_whitespace());
        let mask = if is_wildcard { (1 << (8 * beginning.len())) - 1 } else { u128::MAX };
        is_name.then(|| Self { name: Device::named(beginning), mask })
    }

    /// Whether `device` is one of these.
    #[inline]
    pub const fn contains(self, device: Device) -> bool {
        (self.name.0 ^ device.0) & self.mask == 0
    }

    /// Whether this is all of them (`+`).
    pub const fn is_any(self) -> bool {
        self.mask == 0
    }
}

impl fmt::Display for Interface {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.name, if self.mask == u128::MAX { "" } else { "+" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plus_at_the_end_is_whatever_follows() {
        let check = |pattern: &str, device: &str| Interface::new(pattern).expect("a name").contains(device.into());
        assert!(check("lan+", "lan") && check("lan+", "lan12") && !check("lan+", "la"));
        assert!(check("eth0", "eth0") && !check("eth0", "eth01") && !check("eth01", "eth0"));
        assert!(check("+", "anything") && check("+", ""));
        assert!(!check("eth0", ""), "no interface has no name");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for name in ["", "a b", "a/b", "0123456789abcdef"] {
            assert_eq!(Interface::new(name), None, "{name}");
        }
        assert_eq!(Interface::new("tun+").expect("a name").to_string(), "tun+");
    }
}
