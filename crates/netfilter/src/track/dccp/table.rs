//! The states and their transitions (`dccp_state_table`).

/// Where a connection is, seen from the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DccpState {
    /// Nothing was seen.
    None,
    /// A Request.
    Request,
    /// A Response of the server.
    Respond,
    /// The client's first Ack.
    Partopen,
    /// The server has sent something after that.
    Open,
    /// A CloseReq of the server.
    Closereq,
    /// A Close.
    Closing,
    /// A Reset.
    Timewait,
}

impl DccpState {
    /// All states, in the kernel's order.
    pub const ALL: [Self; 8] = [
        Self::None,
        Self::Request,
        Self::Respond,
        Self::Partopen,
        Self::Open,
        Self::Closereq,
        Self::Closing,
        Self::Timewait,
    ];

    /// As `conntrack -L` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Request => "REQUEST",
            Self::Respond => "RESPOND",
            Self::Partopen => "PARTOPEN",
            Self::Open => "OPEN",
            Self::Closereq => "CLOSEREQ",
            Self::Closing => "CLOSING",
            Self::Timewait => "TIMEWAIT",
        }
    }

    /// Whether the end has begun (`dccp_can_early_drop`).
    pub const fn is_closing(self) -> bool {
        match self {
            Self::Closereq | Self::Closing | Self::Timewait => true,
            Self::None | Self::Request | Self::Respond | Self::Partopen | Self::Open => false,
        }
    }
}

/// Who a side is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It has sent the Request.
    Client,
    /// It has got it.
    Server,
}

/// Packet types (RFC 4340 §5.1).
pub(super) mod kind {
    pub const REQUEST: u8 = 0;
    pub const RESPONSE: u8 = 1;
    pub const DATA: u8 = 2;
    pub const ACK: u8 = 3;
    pub const RESET: u8 = 7;
    pub const SYNC_ACK: u8 = 9;
}

/// What a packet does in a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// The state becomes this one, or stays it.
    To(DccpState),
    /// The packet is let through, and the state stays: our view may be out of date.
    Ignore,
    /// The packet is INVALID.
    Invalid,
}

const RQ: Next = Next::To(DccpState::Request);
const RS: Next = Next::To(DccpState::Respond);
const PO: Next = Next::To(DccpState::Partopen);
const OP: Next = Next::To(DccpState::Open);
const CR: Next = Next::To(DccpState::Closereq);
const CG: Next = Next::To(DccpState::Closing);
const TW: Next = Next::To(DccpState::Timewait);
const IG: Next = Next::Ignore;
const IV: Next = Next::Invalid;

/// What happens next, by role, packet type and state. Columns are the states in order: none, REQUEST, RESPOND, PARTOPEN, OPEN,
/// CLOSEREQ, CLOSING, TIMEWAIT.
#[rustfmt::skip]
pub(super) static TRANSITIONS: [[[Next; 8]; 10]; 2] = [
    [ // the client sends
        [RQ, RQ, RS, IG, IG, IG, IG, RQ], // Request
        [IV, IG, IG, IG, IG, IG, IG, IV], // Response
        [IV, IV, IV, IV, OP, CR, CG, IV], // Data
        [IV, IV, PO, PO, OP, CR, CG, IV], // Ack
        [IV, IV, PO, PO, OP, CR, CG, IV], // DataAck
        [IV, IV, IV, IV, IV, IV, IV, IV], // CloseReq
        [IV, IV, IV, CG, CG, CG, IV, IV], // Close
        [IV, TW, TW, TW, TW, TW, TW, IG], // Reset
        [IV, IG, IG, IG, IG, IG, IG, IG], // Sync
        [IV, IG, IG, IG, IG, IG, IG, IG], // SyncAck
    ],
    [ // the server sends
        [IV, IG, IG, IG, IG, IG, IG, RQ], // Request
        [IV, RS, RS, IG, IG, IG, IG, IV], // Response
        [IV, IV, IV, OP, OP, IV, CG, IV], // Data
        [IV, IV, IV, OP, OP, IV, CG, IV], // Ack
        [IV, IV, IV, OP, OP, IV, CG, IV], // DataAck
        [IV, IV, IV, CR, CR, CR, CR, IV], // CloseReq
        [IV, IV, IV, CG, CG, IV, CG, IV], // Close
        [IV, TW, TW, TW, TW, TW, TW, TW], // Reset: in TIMEWAIT too, where the client's is let through
        [IV, IG, IG, IG, IG, IG, IG, IG], // Sync
        [IV, IG, IG, IG, IG, IG, IG, IG], // SyncAck
    ],
];
