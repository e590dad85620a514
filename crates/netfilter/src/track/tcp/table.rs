//! The states and their transitions (`tcp_conntracks`).

use core::fmt;

use pinhole_wire::tcp::Flags;

/// Where a connection is, seen from the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TcpState {
    /// Nothing was seen.
    None,
    /// A SYN of the original side.
    SynSent,
    /// A SYN and ACK of the reply side.
    SynRecv,
    /// The handshake is complete.
    Established,
    /// One side has sent its FIN.
    FinWait,
    /// That FIN was acknowledged.
    CloseWait,
    /// Both sides have sent their FIN.
    LastAck,
    /// The last FIN was acknowledged.
    TimeWait,
    /// It was reset.
    Close,
    /// A SYN of both sides: a simultaneous open.
    SynSent2,
}

impl TcpState {
    /// All states, in the kernel's order.
    pub const ALL: [Self; 10] = [
        Self::None,
        Self::SynSent,
        Self::SynRecv,
        Self::Established,
        Self::FinWait,
        Self::CloseWait,
        Self::LastAck,
        Self::TimeWait,
        Self::Close,
        Self::SynSent2,
    ];

    /// As `conntrack -L` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::SynSent => "SYN_SENT",
            Self::SynRecv => "SYN_RECV",
            Self::Established => "ESTABLISHED",
            Self::FinWait => "FIN_WAIT",
            Self::CloseWait => "CLOSE_WAIT",
            Self::LastAck => "LAST_ACK",
            Self::TimeWait => "TIME_WAIT",
            Self::Close => "CLOSE",
            Self::SynSent2 => "SYN_SENT2",
        }
    }

    /// Whether a FIN or a RST was seen (`tcp_can_early_drop`).
    pub const fn is_closing(self) -> bool {
        match self {
            Self::FinWait | Self::CloseWait | Self::LastAck | Self::TimeWait | Self::Close => true,
            Self::None | Self::SynSent | Self::SynRecv | Self::Established | Self::SynSent2 => false,
        }
    }
}

impl fmt::Display for TcpState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a segment is to the state table, by its flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Event {
    Syn,
    SynAck,
    Fin,
    Ack,
    Rst,
    /// No packet yet.
    None,
}

impl Event {
    #[inline]
    pub const fn of(flags: Flags) -> Self {
        if flags.contains(Flags::RST) {
            Self::Rst
        } else if flags.contains(Flags::SYN) {
            if flags.contains(Flags::ACK) { Self::SynAck } else { Self::Syn }
        } else if flags.contains(Flags::FIN) {
            Self::Fin
        } else if flags.contains(Flags::ACK) {
            Self::Ack
        } else {
            Self::None
        }
    }
}

impl fmt::Display for Event {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Syn => "SYN",
            Self::SynAck => "SYN+ACK",
            Self::Fin => "FIN",
            Self::Ack => "ACK",
            Self::Rst => "RST",
            Self::None => "no flag",
        })
    }
}

/// What an event does in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The state becomes this one, or stays it.
    To(TcpState),
    /// The packet is let through, and the state stays: our view may be out of date.
    Ignore,
    /// The packet is INVALID.
    Invalid,
}

const SS: Next = Next::To(TcpState::SynSent);
const SR: Next = Next::To(TcpState::SynRecv);
const ES: Next = Next::To(TcpState::Established);
const FW: Next = Next::To(TcpState::FinWait);
const CW: Next = Next::To(TcpState::CloseWait);
const LA: Next = Next::To(TcpState::LastAck);
const TW: Next = Next::To(TcpState::TimeWait);
const CL: Next = Next::To(TcpState::Close);
const S2: Next = Next::To(TcpState::SynSent2);
const IG: Next = Next::Ignore;
const IV: Next = Next::Invalid;

/// What happens next, by direction, event and state. Columns are the states in order: none, SYN_SENT, SYN_RECV, ESTABLISHED,
/// FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE, SYN_SENT2.
#[rustfmt::skip]
pub(super) static TRANSITIONS: [[[Next; 10]; 6]; 2] = [
    [ // the original side sends
        [SS, SS, IG, IG, IG, IG, IG, SS, SS, S2], // SYN
        [IV, IV, SR, IV, IV, IV, IV, IV, IV, SR], // SYN+ACK
        [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV], // FIN
        [ES, IV, ES, ES, CW, CW, TW, TW, CL, IV], // ACK
        [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL], // RST
        [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV], // no flag
    ],
    [ // the reply side sends
        [IV, S2, IV, IV, IV, IV, IV, SS, IV, S2], // SYN
        [IV, SR, IG, IG, IG, IG, IG, IG, IG, SR], // SYN+ACK
        [IV, IV, FW, FW, LA, LA, LA, TW, CL, IV], // FIN
        [IV, IG, SR, ES, CW, CW, TW, TW, CL, IG], // ACK
        [IV, CL, CL, CL, CL, CL, CL, CL, CL, CL], // RST
        [IV, IV, IV, IV, IV, IV, IV, IV, IV, IV], // no flag
    ],
];
