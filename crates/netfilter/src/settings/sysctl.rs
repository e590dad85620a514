//! The settings by the names that `sysctl` knows them by: one table, which says where each value is and what it may be.

use core::fmt;
use core::time::Duration;

use super::Settings;
use crate::track::{DccpState, SctpState, TcpState};

/// What all names begin with when they are written in full.
const PREFIX: &str = "net.netfilter.";

/// Why a setting was not set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingError {
    /// There is no such setting.
    Unknown(String),
    /// The kernel has it, but it says nothing to this engine.
    NotHere {
        /// The setting.
        name: &'static str,
        /// Why not.
        why: &'static str,
    },
    /// The value is not one.
    Value {
        /// The setting.
        name: &'static str,
        /// What was given.
        value: String,
        /// What may be given, at least and at most.
        range: (u32, u32),
    },
}

impl fmt::Display for SettingError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown(name) => {
                write!(f, "there is no setting {name:?}; `net.netfilter.nf_conntrack_…` names are known")
            }
            Self::NotHere { name, why } => write!(f, "{name} cannot be set here: {why}"),
            Self::Value { name, value, range: (min, max) } => {
                write!(f, "{name} cannot be {value:?}: give a whole number from {min} to {max}")
            }
        }
    }
}

impl core::error::Error for SettingError {}

/// One setting: its name without the prefix, and where it is.
struct Sysctl {
    name: &'static str,
    place: Place,
}

type Get<T> = fn(&Settings) -> T;
type Set<T> = fn(&mut Settings, T);

/// Where a value is, and of what kind.
enum Place {
    /// 0 or 1.
    Flag(Get<bool>, Set<bool>),
    /// A number within bounds.
    Number(Get<u32>, Set<u32>, (u32, u32)),
    /// Whole seconds.
    Seconds(Get<Duration>, Set<Duration>),
}

/// The most that an `int` of the kernel holds.
const INT_MAX: u32 = i32::MAX as u32;

macro_rules! flag {
    ($name:literal, $field:ident) => {
        Sysctl { name: $name, place: Place::Flag(|s| s.$field, |s, value| s.$field = value) }
    };
}

macro_rules! number {
    ($name:literal, $field:ident: $type:ty, $min:expr, $max:expr) => {
        Sysctl {
            name: $name,
            place: Place::Number(|s| u32::from(s.$field), |s, value| s.$field = value as $type, ($min, $max)),
        }
    };
}

macro_rules! seconds {
    ($name:literal, $($field:ident).+) => {
        Sysctl {
            name: $name,
            place: Place::Seconds(|s| s.timeouts.$($field).+, |s, value| s.timeouts.$($field).+ = value),
        }
    };
    ($name:literal, $protocol:ident[$state:expr]) => {
        Sysctl {
            name: $name,
            place: Place::Seconds(
                |s| s.timeouts.$protocol.of($state),
                |s, value| s.timeouts.$protocol.set($state, value),
            ),
        }
    };
}

/// All settings, in the order in which `sysctl -a` shows them.
static SYSCTLS: [Sysctl; 43] = [
    flag!("nf_conntrack_acct", acct),
    flag!("nf_conntrack_checksum", checksum),
    flag!("nf_conntrack_dccp_loose", dccp_loose),
    seconds!("nf_conntrack_dccp_timeout_closereq", dccp[DccpState::Closereq]),
    seconds!("nf_conntrack_dccp_timeout_closing", dccp[DccpState::Closing]),
    seconds!("nf_conntrack_dccp_timeout_open", dccp[DccpState::Open]),
    seconds!("nf_conntrack_dccp_timeout_partopen", dccp[DccpState::Partopen]),
    seconds!("nf_conntrack_dccp_timeout_request", dccp[DccpState::Request]),
    seconds!("nf_conntrack_dccp_timeout_respond", dccp[DccpState::Respond]),
    seconds!("nf_conntrack_dccp_timeout_timewait", dccp[DccpState::Timewait]),
    number!("nf_conntrack_events", events: u8, 0, 2),
    number!("nf_conntrack_expect_max", expect_max: u32, 1, INT_MAX),
    seconds!("nf_conntrack_generic_timeout", generic),
    seconds!("nf_conntrack_gre_timeout", gre),
    seconds!("nf_conntrack_gre_timeout_stream", gre_stream),
    seconds!("nf_conntrack_icmp_timeout", icmp),
    seconds!("nf_conntrack_icmpv6_timeout", icmpv6),
    number!("nf_conntrack_max", max: u32, 0, INT_MAX),
    seconds!("nf_conntrack_sctp_timeout_closed", sctp[SctpState::Closed]),
    seconds!("nf_conntrack_sctp_timeout_cookie_echoed", sctp[SctpState::CookieEchoed]),
    seconds!("nf_conntrack_sctp_timeout_cookie_wait", sctp[SctpState::CookieWait]),
    seconds!("nf_conntrack_sctp_timeout_established", sctp[SctpState::Established]),
    seconds!("nf_conntrack_sctp_timeout_heartbeat_sent", sctp[SctpState::HeartbeatSent]),
    seconds!("nf_conntrack_sctp_timeout_shutdown_ack_sent", sctp[SctpState::ShutdownAckSent]),
    seconds!("nf_conntrack_sctp_timeout_shutdown_recd", sctp[SctpState::ShutdownRecd]),
    seconds!("nf_conntrack_sctp_timeout_shutdown_sent", sctp[SctpState::ShutdownSent]),
    flag!("nf_conntrack_tcp_be_liberal", tcp_be_liberal),
    flag!("nf_conntrack_tcp_ignore_invalid_rst", tcp_ignore_invalid_rst),
    flag!("nf_conntrack_tcp_loose", tcp_loose),
    number!("nf_conntrack_tcp_max_retrans", tcp_max_retrans: u8, 0, 255),
    seconds!("nf_conntrack_tcp_timeout_close", tcp[TcpState::Close]),
    seconds!("nf_conntrack_tcp_timeout_close_wait", tcp[TcpState::CloseWait]),
    seconds!("nf_conntrack_tcp_timeout_established", tcp[TcpState::Established]),
    seconds!("nf_conntrack_tcp_timeout_fin_wait", tcp[TcpState::FinWait]),
    seconds!("nf_conntrack_tcp_timeout_last_ack", tcp[TcpState::LastAck]),
    seconds!("nf_conntrack_tcp_timeout_max_retrans", tcp.max_retrans),
    seconds!("nf_conntrack_tcp_timeout_syn_recv", tcp[TcpState::SynRecv]),
    seconds!("nf_conntrack_tcp_timeout_syn_sent", tcp[TcpState::SynSent]),
    seconds!("nf_conntrack_tcp_timeout_time_wait", tcp[TcpState::TimeWait]),
    seconds!("nf_conntrack_tcp_timeout_unacknowledged", tcp.unacknowledged),
    flag!("nf_conntrack_timestamp", timestamp),
    seconds!("nf_conntrack_udp_timeout", udp),
    seconds!("nf_conntrack_udp_timeout_stream", udp_stream),
];

/// What the kernel has and this engine has not, and why.
const NOT_HERE: [(&str, &str); 3] = [
    ("nf_conntrack_buckets", "the table grows as it needs to"),
    ("nf_conntrack_count", "it is counted, not set"),
    ("nf_conntrack_log_invalid", "whoever watches is told of every INVALID packet"),
];

impl Settings {
    /// Sets what `sysctl` calls `name`, with or without `net.netfilter.`, and with `/` for `.` if you like.
    ///
    /// # Errors
    /// If there is no such setting, or the kernel would not take the value.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), SettingError> {
        let &Sysctl { name, ref place } = find(name)?;
        let number = |range: (u32, u32)| {
            let number = value.trim().parse().ok().filter(|number| (range.0..=range.1).contains(number));
            number.ok_or_else(|| SettingError::Value { name, value: value.to_owned(), range })
        };
        match place {
            Place::Flag(_, set) => set(self, number((0, 1))? == 1),
            Place::Number(_, set, range) => set(self, number(*range)?),
            Place::Seconds(_, set) => set(self, Duration::from_secs(u64::from(number((0, INT_MAX))?))),
        }
        Ok(())
    }

    /// The value of what `sysctl` calls `name`, as it prints it. A timeout is cut to whole seconds.
    ///
    /// # Errors
    /// If there is no such setting.
    pub fn get(&self, name: &str) -> Result<u64, SettingError> {
        find(name).map(|sysctl| self.value(sysctl))
    }

    /// All settings that a kernel of this personality has, by their names without the prefix, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        let known = SYSCTLS.iter().filter(|sysctl| self.personality.dccp || !sysctl.name.contains("_dccp_"));
        known.map(|sysctl| (sysctl.name, self.value(sysctl)))
    }

    fn value(&self, sysctl: &Sysctl) -> u64 {
        match &sysctl.place {
            Place::Flag(get, _) => u64::from(get(self)),
            Place::Number(get, ..) => u64::from(get(self)),
            Place::Seconds(get, _) => get(self).as_secs(),
        }
    }
}

/// The setting of that name.
fn find(name: &str) -> Result<&'static Sysctl, SettingError> {
    let dotted = name.replace('/', ".");
    let short = dotted.strip_prefix(PREFIX).unwrap_or(&dotted);
    if let Some(sysctl) = SYSCTLS.iter().find(|sysctl| sysctl.name == short) {
        return Ok(sysctl);
    }
    match NOT_HERE.into_iter().find(|&(known, _)| known == short) {
        Some((name, why)) => Err(SettingError::NotHere { name, why }),
        None => Err(SettingError::Unknown(name.to_owned())),
    }
}
