//! The settings of connection tracking, under the kernel's names, and what differs between kernel versions.
//!
//! [`Settings`] is what the code reads; [`Settings::set`] and [`Settings::iter`] are the same values under the names that
//! `sysctl` knows them by. A flow may have timeouts of its own (`CT --timeout`): trackers therefore take a [`Timeouts`]
//! beside the settings, by reference, which is that of the flow's policy or [`Settings::timeouts`].

mod personality;
mod sysctl;
mod timeouts;

pub use personality::{Clash, EarlyDrop, InexactRst, Personality, PortSearch};
pub use sysctl::SettingError;
pub use timeouts::{DccpTimeouts, SctpTimeouts, TcpTimeouts, Timeouts};

/// What a namespace's `/proc/sys/net/netfilter` holds, with the kernel's defaults.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which kernel's behaviour is wanted, where versions differ.
    pub personality: Personality,
    /// The most entries. What zero means is the personality's to say
    /// ([`zero_max_refuses`](Personality::zero_max_refuses)). The kernel's default depends on the machine's memory; this is
    /// that of one with more than 4 GiB.
    pub max: u32,
    /// The most expectations.
    pub expect_max: u32,
    /// Whether packets with a wrong checksum are INVALID when they arrive from a device.
    pub checksum: bool,
    /// Whether new entries count packets and bytes.
    pub acct: bool,
    /// Whether new entries know when they began and ended.
    pub timestamp: bool,
    /// Whether there are events: 0 no, 1 always, 2 while somebody listens.
    pub events: u8,
    /// Whether a TCP flow may be picked up in the middle.
    pub tcp_loose: bool,
    /// Whether TCP packets outside the window pass.
    pub tcp_be_liberal: bool,
    /// Whether a RST before what was acknowledged is judged by the window instead of being INVALID.
    pub tcp_ignore_invalid_rst: bool,
    /// After how many retransmissions without a new acknowledgment the RETRANS timeout applies.
    pub tcp_max_retrans: u8,
    /// Whether a DCCP flow may be picked up in the middle.
    pub dccp_loose: bool,
    /// How long a flow lives without packets.
    pub timeouts: Timeouts,
}

impl Settings {
    /// The defaults of one kernel version.
    pub fn of(personality: Personality) -> Self {
        Self { personality, ..Self::default() }
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            personality: Personality::default(),
            max: 262_144,
            expect_max: 4_096,
            checksum: true,
            acct: false,
            timestamp: false,
            events: 2,
            tcp_loose: true,
            tcp_be_liberal: false,
            tcp_ignore_invalid_rst: false,
            tcp_max_retrans: 3,
            dccp_loose: true,
            timeouts: Timeouts::default(),
        }
    }
}

#[cfg(test)]
mod tests;
