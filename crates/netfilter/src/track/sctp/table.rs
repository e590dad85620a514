//! The states and their transitions (`sctp_conntracks`).

use super::kind;
use crate::status::Direction;

/// Where an association is, seen from the middle.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SctpState {
    /// Nothing was seen.
    None,
    /// Not open: an INIT of the original side was seen, or the end.
    Closed,
    /// An INIT ACK of the reply side.
    CookieWait,
    /// A COOKIE ECHO.
    CookieEchoed,
    /// A COOKIE ACK.
    Established,
    /// A SHUTDOWN of the original side.
    ShutdownSent,
    /// A SHUTDOWN of the reply side.
    ShutdownRecd,
    /// A SHUTDOWN ACK.
    ShutdownAckSent,
    /// A HEARTBEAT of a flow that is new: a further path of an association.
    HeartbeatSent,
}

impl SctpState {
    /// All states, in the kernel's order.
    pub const ALL: [Self; 9] = [
        Self::None,
        Self::Closed,
        Self::CookieWait,
        Self::CookieEchoed,
        Self::Established,
        Self::ShutdownSent,
        Self::ShutdownRecd,
        Self::ShutdownAckSent,
        Self::HeartbeatSent,
    ];

    /// As `conntrack -L` prints it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "NONE",
            Self::Closed => "CLOSED",
            Self::CookieWait => "COOKIE_WAIT",
            Self::CookieEchoed => "COOKIE_ECHOED",
            Self::Established => "ESTABLISHED",
            Self::ShutdownSent => "SHUTDOWN_SENT",
            Self::ShutdownRecd => "SHUTDOWN_RECD",
            Self::ShutdownAckSent => "SHUTDOWN_ACK_SENT",
            Self::HeartbeatSent => "HEARTBEAT_SENT",
        }
    }

    /// Whether the end has begun (`sctp_can_early_drop`).
    pub const fn is_closing(self) -> bool {
        match self {
            Self::ShutdownSent | Self::ShutdownRecd | Self::ShutdownAckSent => true,
            Self::None
            | Self::Closed
            | Self::CookieWait
            | Self::CookieEchoed
            | Self::Established
            | Self::HeartbeatSent => false,
        }
    }
}

/// The chunk types that change states, in the order of the table's rows.
pub(super) const ROWS: [u8; 11] = [
    kind::INIT,
    kind::INIT_ACK,
    kind::ABORT,
    kind::SHUTDOWN,
    kind::SHUTDOWN_ACK,
    kind::ERROR,
    kind::COOKIE_ECHO,
    kind::COOKIE_ACK,
    kind::SHUTDOWN_COMPLETE,
    kind::HEARTBEAT,
    kind::HEARTBEAT_ACK,
];

const CL: Option<SctpState> = Some(SctpState::Closed);
const CW: Option<SctpState> = Some(SctpState::CookieWait);
const CE: Option<SctpState> = Some(SctpState::CookieEchoed);
const ES: Option<SctpState> = Some(SctpState::Established);
const SS: Option<SctpState> = Some(SctpState::ShutdownSent);
const SR: Option<SctpState> = Some(SctpState::ShutdownRecd);
const SA: Option<SctpState> = Some(SctpState::ShutdownAckSent);
const HS: Option<SctpState> = Some(SctpState::HeartbeatSent);
const IV: Option<SctpState> = None;

/// The next state, or nothing for INVALID, by direction, chunk and state. Columns are the states in order: none, CLOSED,
/// COOKIE_WAIT, COOKIE_ECHOED, ESTABLISHED, SHUTDOWN_SENT, SHUTDOWN_RECD, SHUTDOWN_ACK_SENT, HEARTBEAT_SENT.
#[rustfmt::skip]
static TRANSITIONS: [[[Option<SctpState>; 9]; 11]; 2] = [
    [ // the original side sends
        [CL, CL, CW, CE, ES, CL, CL, SA, CW], // INIT
        [CL, CL, CW, CE, ES, SS, SR, SA, CL], // INIT ACK
        [CL, CL, CL, CL, CL, CL, CL, CL, CL], // ABORT
        [CL, CL, CW, CE, SS, SS, SR, SA, CL], // SHUTDOWN
        [SA, CL, CW, CE, ES, SA, SA, SA, SA], // SHUTDOWN ACK
        [CL, CL, CW, CE, ES, SS, SR, SA, CL], // ERROR
        [CL, CL, CE, CE, ES, SS, SR, SA, CL], // COOKIE ECHO
        [CL, CL, CW, ES, ES, SS, SR, SA, CL], // COOKIE ACK
        [CL, CL, CW, CE, ES, SS, SR, CL, CL], // SHUTDOWN COMPLETE
        [HS, CL, CW, CE, ES, SS, SR, SA, HS], // HEARTBEAT
        [CL, CL, CW, CE, ES, SS, SR, SA, HS], // HEARTBEAT ACK
    ],
    [ // the reply side sends
        [IV, CL, CW, CE, ES, SS, SR, SA, IV], // INIT
        [IV, CW, CW, CE, ES, SS, SR, SA, IV], // INIT ACK
        [IV, CL, CL, CL, CL, CL, CL, CL, IV], // ABORT
        [IV, CL, CW, CE, SR, SS, SR, SA, IV], // SHUTDOWN
        [IV, CL, CW, CE, ES, SA, SA, SA, IV], // SHUTDOWN ACK
        [IV, CL, CW, CL, ES, SS, SR, SA, IV], // ERROR
        [IV, CL, CE, CE, ES, SS, SR, SA, IV], // COOKIE ECHO
        [IV, CL, CW, ES, ES, SS, SR, SA, IV], // COOKIE ACK
        [IV, CL, CW, CE, ES, SS, SR, CL, IV], // SHUTDOWN COMPLETE
        [IV, CL, CW, CE, ES, SS, SR, SA, HS], // HEARTBEAT
        [IV, CL, CW, CE, ES, SS, SR, SA, ES], // HEARTBEAT ACK
    ],
];

/// The state after a chunk, or nothing if it is INVALID. Data, SACKs and unknown chunks change nothing.
pub(super) fn next_state(direction: Direction, state: SctpState, chunk: u8) -> Option<SctpState> {
    match ROWS.iter().position(|&row| row == chunk) {
        Some(row) => TRANSITIONS[direction.index()][row][state as usize],
        None => Some(state),
    }
}
