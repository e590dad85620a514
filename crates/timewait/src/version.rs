//! Which kernel, and what it has: TIME_WAIT's timer has been rewritten twice.
//!
//! Distributions backport: where a sysctl or the kernel's types tell whether a feature is there, ask them rather than this.

use std::fmt;
use std::str::FromStr;

/// A kernel's first two numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Version {
    /// The first.
    pub major: u16,
    /// The second.
    pub minor: u16,
}

/// What keeps the time of TIME_WAIT sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generation {
    /// Eight slots of 7.5 s for the whole machine, at most 100 sockets a tick (to 4.0).
    DeathRow,
    /// A timer a socket, exact to the jiffy (4.1 to 4.7).
    TimerPerSocket,
    /// A timer a socket on a wheel that rounds up to its granule (since 4.8).
    Quantised,
}

impl Version {
    /// `major.minor`.
    pub const fn new(major: u16, minor: u16) -> Self {
        Self { major, minor }
    }

    /// What keeps the time of its TIME_WAIT sockets: the death row went in 4.1 (789f558cfb36), the cascade in 4.8.
    pub fn generation(self) -> Generation {
        match self {
            _ if self < Self::new(4, 1) => Generation::DeathRow,
            _ if self < Self::new(4, 8) => Generation::TimerPerSocket,
            _ => Generation::Quantised,
        }
    }

    /// Whether `net.ipv4.tcp_tw_recycle` does anything: it went in 4.12.
    pub fn has_recycle(self) -> bool {
        self < Self::new(4, 12)
    }

    /// Whether an in-window RST that RFC 1337 makes it ignore starts the sixty seconds anew (before 4.19).
    pub fn ignored_rst_restarts(self) -> bool {
        self < Self::new(4, 19)
    }

    /// Whether `net.ipv4.tcp_tw_reuse` knows 2, loopback only, which is the default since (4.19).
    pub fn has_loopback_reuse(self) -> bool {
        self >= Self::new(4, 19)
    }

    /// Whether `net.ipv4.tcp_tw_reuse` gives a port away once the next whole second has begun (since 4.19, when its clock became the
    /// monotonic one), rather than the one after that.
    pub fn reuses_from_the_next_second(self) -> bool {
        self >= Self::new(4, 19)
    }

    /// Whether a connection that takes the place of a dead one begins beyond what that may have sent. From 4.15 to 6.9 the number
    /// that the dead socket gave was cleared before it was used (IPv4; over IPv6 from 3.19 on), and an ordinary one was taken:
    /// 6.1 does, 6.12 and 6.18 do not.
    pub fn begins_beyond_the_old(self) -> bool {
        !(Self::new(4, 15)..Self::new(6, 10)).contains(&self)
    }

    /// Whether source NAT may evict an entry in TIME_WAIT for a new connection (6.5).
    pub fn evicts_when_translating(self) -> bool {
        self >= Self::new(6, 5)
    }

    /// Whether `net.ipv4.tcp_tw_reuse_delay` is there (6.14).
    pub fn has_reuse_delay(self) -> bool {
        self >= Self::new(6, 14)
    }
}

impl Generation {
    /// In plain words.
    pub const fn words(self) -> &'static str {
        match self {
            Self::DeathRow => "death row: eight slots of 7.5 s for the whole machine, 100 sockets a tick (to 4.0)",
            Self::TimerPerSocket => "one exact timer a socket (4.1 to 4.7)",
            Self::Quantised => "one timer a socket, rounded up to the wheel's granule (since 4.8)",
        }
    }
}

/// Not `MAJOR.MINOR…`, or of a kernel before 2.6.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NotAVersion;

impl fmt::Display for NotAVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("expected a kernel's version from 2.6 on, as in 2.6.32, 4.4 or 6.18")
    }
}

impl std::error::Error for NotAVersion {}

impl FromStr for Version {
    type Err = NotAVersion;

    /// Reads what `uname -r` says; `x` and nothing stand for any minor number: "6.x" is the newest of it.
    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let (major, rest) = text.trim().split_once('.').unwrap_or((text.trim(), "x"));
        let major = major.parse().map_err(|_| NotAVersion)?;
        let digits = rest.split(|c: char| !c.is_ascii_digit()).next().unwrap_or_default();
        let minor = match rest {
            "x" | "X" => u16::MAX,
            _ => digits.parse().map_err(|_| NotAVersion)?,
        };
        // What was before is not known here.
        let version = Self { major, minor };
        if version < Self::new(2, 6) { Err(NotAVersion) } else { Ok(version) }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.minor {
            u16::MAX => write!(f, "{}.x", self.major),
            minor => write!(f, "{}.{minor}", self.major),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_uname_says_them() {
        let cases = [
            ("2.6.32-754.el6.x86_64", Version::new(2, 6), Generation::DeathRow),
            ("3.10.0", Version::new(3, 10), Generation::DeathRow),
            ("4.0", Version::new(4, 0), Generation::DeathRow),
            ("4.1.0", Version::new(4, 1), Generation::TimerPerSocket),
            ("4.7", Version::new(4, 7), Generation::TimerPerSocket),
            ("4.8-rc1", Version::new(4, 8), Generation::Quantised),
            ("6.x", Version::new(6, u16::MAX), Generation::Quantised),
            (" 7\n", Version::new(7, u16::MAX), Generation::Quantised),
        ];
        for (text, version, generation) in cases {
            assert_eq!(text.parse(), Ok(version), "{text}");
            assert_eq!(version.generation(), generation, "{text}");
        }
        for text in ["", "linux", "2.4.37", "6.", "6.-1", "99999999.1", "6.y"] {
            assert_eq!(text.parse::<Version>(), Err(NotAVersion), "{text}");
        }
    }

    #[test]
    fn features_come_and_go_with_versions() {
        let v = Version::new;
        assert!(v(4, 11).has_recycle() && !v(4, 12).has_recycle());
        assert!(v(4, 18).ignored_rst_restarts() && !v(4, 19).ignored_rst_restarts());
        assert!(v(4, 14).begins_beyond_the_old() && !v(4, 15).begins_beyond_the_old());
        assert!(!v(6, 9).begins_beyond_the_old() && v(6, 10).begins_beyond_the_old());
        assert!(v(6, 14).has_reuse_delay() && !v(6, 13).has_reuse_delay());
        assert!(v(6, 5).evicts_when_translating() && !v(6, 4).evicts_when_translating());
    }
}
