//! PPTP's control messages, so far as they name calls (RFC 2637 §2).

/// Where a message's body begins: behind length, type, cookie, message type and a reserved field.
pub const BODY: usize = 12;
/// The type of messages that control.
const CONTROL: [u8; 2] = [0, 1];
const MAGIC_COOKIE: [u8; 4] = [0x1a, 0x2b, 0x3c, 0x4d];

/// What a message is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    StartRequest,
    StartReply,
    StopRequest,
    StopReply,
    EchoRequest,
    EchoReply,
    OutCallRequest,
    OutCallReply,
    InCallRequest,
    InCallReply,
    InCallConnected,
    CallClearRequest,
    CallDisconnectNotify,
    WanErrorNotify,
    SetLinkInfo,
}

/// By message type, 1 first: the kind, and the length of its body in bytes.
const KINDS: [(Kind, usize); 15] = [
    (Kind::StartRequest, 144),
    (Kind::StartReply, 144),
    (Kind::StopRequest, 4),
    (Kind::StopReply, 4),
    (Kind::EchoRequest, 4),
    (Kind::EchoReply, 8),
    (Kind::OutCallRequest, 156),
    (Kind::OutCallReply, 20),
    (Kind::InCallRequest, 208),
    (Kind::InCallReply, 12),
    (Kind::InCallConnected, 16),
    (Kind::CallClearRequest, 4),
    (Kind::CallDisconnectNotify, 136),
    (Kind::WanErrorNotify, 28),
    (Kind::SetLinkInfo, 12),
];

impl Kind {
    /// Where in the body a client's message names the client's call, if it is one that NAT must change.
    pub const fn client_call_at(self) -> Option<usize> {
        match self {
            Self::OutCallRequest | Self::InCallReply | Self::CallClearRequest => Some(0),
            Self::StartRequest
            | Self::StartReply
            | Self::StopRequest
            | Self::StopReply
            | Self::EchoRequest
            | Self::EchoReply
            | Self::OutCallReply
            | Self::InCallRequest
            | Self::InCallConnected
            | Self::CallDisconnectNotify
            | Self::WanErrorNotify
            | Self::SetLinkInfo => None,
        }
    }

    /// Where in the body a server's message names the client's call.
    pub const fn server_call_at(self) -> Option<usize> {
        match self {
            Self::OutCallReply => Some(2),
            Self::InCallConnected | Self::CallDisconnectNotify | Self::WanErrorNotify | Self::SetLinkInfo => Some(0),
            Self::StartRequest
            | Self::StartReply
            | Self::StopRequest
            | Self::StopReply
            | Self::EchoRequest
            | Self::EchoReply
            | Self::OutCallRequest
            | Self::InCallRequest
            | Self::InCallReply
            | Self::CallClearRequest => None,
        }
    }
}

/// A control message at the start of a segment.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// What it is about.
    pub kind: Kind,
    /// At least as long as its kind says.
    body: &'a [u8],
}

impl<'a> Message<'a> {
    /// The message, if it is whole and one that controls.
    pub fn parse(payload: &'a [u8]) -> Option<Self> {
        let (header, body) = payload.split_at_checked(BODY)?;
        if header[2..4] != CONTROL || header[4..8] != MAGIC_COOKIE {
            return None;
        }
        let number = usize::from(u16::from_be_bytes([header[8], header[9]]));
        let &(kind, len) = KINDS.get(number.checked_sub(1)?)?;
        (body.len() >= len).then_some(Self { kind, body })
    }

    /// The first field of the body: the sender's call, and in a message that has only one, that one.
    pub fn call(&self) -> u16 {
        u16::from_be_bytes([self.body[0], self.body[1]])
    }

    /// The second field of the body: the receiver's call.
    pub fn peer_call(&self) -> u16 {
        u16::from_be_bytes([self.body[2], self.body[3]])
    }

    /// Whether the result code is 1, which is success in every reply.
    pub fn is_success(&self) -> bool {
        let at = match self.kind {
            Kind::StopReply => 0,
            Kind::StartReply => 2,
            Kind::OutCallReply | Kind::InCallReply => 4,
            Kind::StartRequest
            | Kind::StopRequest
            | Kind::EchoRequest
            | Kind::EchoReply
            | Kind::OutCallRequest
            | Kind::InCallRequest
            | Kind::InCallConnected
            | Kind::CallClearRequest
            | Kind::CallDisconnectNotify
            | Kind::WanErrorNotify
            | Kind::SetLinkInfo => return false,
        };
        self.body[at] == 1
    }
}
