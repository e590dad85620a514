//! What a protocol's tracker knows of a flow (`CTA_PROTOINFO`).

use super::{be32, be64};
use crate::netlink::find;

const TCP: u16 = 1;
const DCCP: u16 = 2;
const SCTP: u16 = 3;

const TCP_STATE: u16 = 1;
const TCP_SCALE: [u16; 2] = [2, 3];
const TCP_FLAGS: [u16; 2] = [4, 5];
const DCCP_STATE: u16 = 1;
const DCCP_ROLE: u16 = 2;
const DCCP_HANDSHAKE: u16 = 3;
const SCTP_STATE: u16 = 1;
const SCTP_TAGS: [u16; 2] = [2, 3];

/// The tracker's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// TCP; both sides when the kernel tells of them, which an event of the end does not.
    Tcp {
        /// Where the connection is.
        state: TcpState,
        /// The initiator's side and the other's.
        sides: [Option<TcpSide>; 2],
    },
    /// SCTP.
    Sctp {
        /// Where the association is.
        state: SctpState,
        /// Verification tags in the original and the reply direction.
        tags: [Option<u32>; 2],
    },
    /// DCCP, which kernels from 6.18 on do not track.
    Dccp {
        /// Where the connection is.
        state: DccpState,
        /// Whether the original direction is that of the client.
        client: bool,
        /// The sequence number of the handshake.
        handshake: Option<u64>,
    },
}

/// What is remembered of one side of a TCP connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TcpSide {
    /// The power of two by which its window is scaled.
    pub scale: u8,
    /// `IP_CT_TCP_FLAG_*`: 1 scaling, 2 SACK, 4 closed first, 8 liberal, 0x10 unacknowledged data.
    pub flags: u8,
}

macro_rules! states {
    ($(#[$doc:meta])* $name:ident { $($(#[$each:meta])* $variant:ident $text:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum $name { $($(#[$each])* $variant),+ }

        impl $name {
            /// All, in the order of their numbers.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word that conntrack(8) has for it.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            fn from_number(number: u8) -> Option<Self> {
                Self::ALL.get(usize::from(number)).copied()
            }
        }
    };
}

states! {
    /// `enum tcp_conntrack` (include/uapi/linux/netfilter/nf_conntrack_tcp.h).
    TcpState {
        /// Nothing seen.
        None "NONE",
        /// The initiator's SYN.
        SynSent "SYN_SENT",
        /// The answer to it.
        SynReceived "SYN_RECV",
        /// Three-way handshake done.
        Established "ESTABLISHED",
        /// One side has closed.
        FinWait "FIN_WAIT",
        /// Its FIN is acknowledged.
        CloseWait "CLOSE_WAIT",
        /// Both sides have closed.
        LastAck "LAST_ACK",
        /// The last acknowledgement.
        TimeWait "TIME_WAIT",
        /// Reset.
        Close "CLOSE",
        /// SYNs from both sides.
        SynSent2 "SYN_SENT2",
    }
}

states! {
    /// `enum sctp_conntrack` (include/uapi/linux/netfilter/nf_conntrack_sctp.h).
    SctpState {
        /// Nothing seen.
        None "NONE",
        /// Not open, or open no more.
        Closed "CLOSED",
        /// INIT answered.
        CookieWait "COOKIE_WAIT",
        /// The cookie sent back.
        CookieEchoed "COOKIE_ECHOED",
        /// Open.
        Established "ESTABLISHED",
        /// The initiator ends it.
        ShutdownSent "SHUTDOWN_SENT",
        /// The other side ends it.
        ShutdownReceived "SHUTDOWN_RECD",
        /// The end is acknowledged.
        ShutdownAckSent "SHUTDOWN_ACK_SENT",
        /// A path of a known association tries itself.
        HeartbeatSent "HEARTBEAT_SENT",
        /// Until 6.0: that path answered.
        HeartbeatAcked "HEARTBEAT_ACKED",
    }
}

states! {
    /// `enum ct_dccp_states` (include/uapi/linux/netfilter/nf_conntrack_dccp.h before 6.18).
    DccpState {
        /// Nothing seen.
        None "NONE",
        /// Asked for.
        Request "REQUEST",
        /// Answered.
        Respond "RESPOND",
        /// The answer acknowledged.
        PartOpen "PARTOPEN",
        /// Open.
        Open "OPEN",
        /// The server asks for the end.
        CloseRequest "CLOSEREQ",
        /// Ending.
        Closing "CLOSING",
        /// Ended.
        TimeWait "TIMEWAIT",
        /// A packet that changes nothing.
        Ignore "IGNORE",
        /// No valid packet.
        Invalid "INVALID",
    }
}

impl State {
    /// The word that conntrack(8) has for it.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Tcp { state, .. } => state.name(),
            Self::Sctp { state, .. } => state.name(),
            Self::Dccp { state, .. } => state.name(),
        }
    }

    /// `None` also for a state that this program does not know.
    pub(super) fn parse(value: &[u8]) -> Option<Self> {
        let byte = |value: &[u8], kind| find(value, kind).and_then(|v| v.first().copied());
        if let Some(value) = find(value, TCP) {
            let side = |at: usize| {
                // struct nf_ct_tcp_flags: flags, mask.
                Some(TcpSide { scale: byte(value, TCP_SCALE[at])?, flags: byte(value, TCP_FLAGS[at])? })
            };
            let state = TcpState::from_number(byte(value, TCP_STATE)?)?;
            return Some(Self::Tcp { state, sides: [side(0), side(1)] });
        }
        if let Some(value) = find(value, SCTP) {
            let state = SctpState::from_number(byte(value, SCTP_STATE)?)?;
            return Some(Self::Sctp { state, tags: SCTP_TAGS.map(|kind| find(value, kind).and_then(be32)) });
        }
        let value = find(value, DCCP)?;
        Some(Self::Dccp {
            state: DccpState::from_number(byte(value, DCCP_STATE)?)?,
            client: byte(value, DCCP_ROLE) == Some(0),
            handshake: find(value, DCCP_HANDSHAKE).and_then(be64),
        })
    }
}
