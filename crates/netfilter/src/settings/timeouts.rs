//! How long a flow lives without packets, by protocol and state.

use core::time::Duration;

use crate::track::{DccpState, SctpState, TcpState};

/// The timeouts of all protocols: those of a namespace, or those of a policy that a rule gives to a flow.
///
/// The kernel's are whole seconds; here they may be finer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// TCP, by state.
    pub tcp: TcpTimeouts,
    /// UDP and UDP-Lite while unanswered, and in the first two seconds.
    pub udp: Duration,
    /// UDP and UDP-Lite as a stream.
    pub udp_stream: Duration,
    /// ICMP.
    pub icmp: Duration,
    /// ICMPv6.
    pub icmpv6: Duration,
    /// GRE while unanswered.
    pub gre: Duration,
    /// GRE in both directions.
    pub gre_stream: Duration,
    /// SCTP, by state.
    pub sctp: SctpTimeouts,
    /// DCCP, by state.
    pub dccp: DccpTimeouts,
    /// Every other protocol.
    pub generic: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            tcp: TcpTimeouts::default(),
            udp: secs(30),
            udp_stream: secs(120),
            icmp: secs(30),
            icmpv6: secs(30),
            gre: secs(30),
            gre_stream: secs(180),
            sctp: SctpTimeouts::default(),
            dccp: DccpTimeouts::default(),
            generic: secs(600),
        }
    }
}

/// TCP's timeouts (`tcp_timeouts` in `nf_conntrack_proto_tcp.c`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpTimeouts {
    states: [Duration; TcpState::ALL.len()],
    /// The most while data is retransmitted and not acknowledged, or the window is zero.
    pub max_retrans: Duration,
    /// The most while data is not acknowledged.
    pub unacknowledged: Duration,
}

impl TcpTimeouts {
    /// The timeout of a state.
    #[inline]
    pub const fn of(&self, state: TcpState) -> Duration {
        self.states[state as usize]
    }

    /// Sets the timeout of a state.
    pub const fn set(&mut self, state: TcpState, timeout: Duration) {
        self.states[state as usize] = timeout;
    }
}

impl Default for TcpTimeouts {
    fn default() -> Self {
        let states = TcpState::ALL.map(|state| match state {
            TcpState::None | TcpState::SynSent | TcpState::SynSent2 => secs(120),
            TcpState::SynRecv | TcpState::CloseWait => secs(60),
            TcpState::Established => secs(432_000),
            TcpState::FinWait | TcpState::TimeWait => secs(120),
            TcpState::LastAck => secs(30),
            TcpState::Close => secs(10),
        });
        Self { states, max_retrans: secs(300), unacknowledged: secs(300) }
    }
}

/// SCTP's timeouts (`sctp_timeouts` in `nf_conntrack_proto_sctp.c`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SctpTimeouts {
    states: [Duration; SctpState::ALL.len()],
}

impl SctpTimeouts {
    /// The timeout of a state.
    pub const fn of(&self, state: SctpState) -> Duration {
        self.states[state as usize]
    }

    /// Sets the timeout of a state.
    pub const fn set(&mut self, state: SctpState, timeout: Duration) {
        self.states[state as usize] = timeout;
    }
}

impl Default for SctpTimeouts {
    fn default() -> Self {
        let states = SctpState::ALL.map(|state| match state {
            SctpState::None | SctpState::Closed => secs(10),
            SctpState::CookieWait | SctpState::CookieEchoed => secs(3),
            SctpState::Established => secs(210),
            SctpState::ShutdownSent | SctpState::ShutdownRecd | SctpState::ShutdownAckSent => secs(3),
            SctpState::HeartbeatSent => secs(30),
        });
        Self { states }
    }
}

/// DCCP's timeouts (`dccp_init_net` in `nf_conntrack_proto_dccp.c`; RFC 4340 with an MSL of two minutes).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DccpTimeouts {
    states: [Duration; DccpState::ALL.len()],
}

impl DccpTimeouts {
    /// The timeout of a state.
    pub const fn of(&self, state: DccpState) -> Duration {
        self.states[state as usize]
    }

    /// Sets the timeout of a state.
    pub const fn set(&mut self, state: DccpState, timeout: Duration) {
        self.states[state as usize] = timeout;
    }
}

impl Default for DccpTimeouts {
    fn default() -> Self {
        let states = DccpState::ALL.map(|state| match state {
            DccpState::None | DccpState::Request | DccpState::Timewait => secs(240),
            DccpState::Respond | DccpState::Partopen => secs(480),
            DccpState::Open => secs(43_200),
            DccpState::Closereq | DccpState::Closing => secs(64),
        });
        Self { states }
    }
}

const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}
