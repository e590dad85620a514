//! DCCP (`nf_conntrack_proto_dccp.c`, RFC 4340), which Linux has tracked up to 6.12: who is client, who server, and where
//! they are.

mod table;
#[cfg(test)]
mod tests;

use super::{Change, Context, Judgement, u16_at, u32_at};
use crate::settings::{Settings, Timeouts};
use crate::status::{Direction, Status};
use crate::watch::{Topic, Watch};
use table::{Next, TRANSITIONS, kind};

pub use table::{DccpState, Role};

/// A DCCP flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dccp {
    /// The sequence number of the Response, as two halves, so that a flow is no wider than it must be.
    handshake: [u32; 2],
    state: DccpState,
    /// The role of the original side.
    role: Role,
    last_kind: u8,
    last_direction: Direction,
}

impl Dccp {
    /// The state of a flow that begins with this packet: a Request.
    pub(super) fn begin(body: &[u8], settings: &Settings, watch: &mut impl Watch) -> Option<Self> {
        let header = Header::of(body, watch)?;
        match TRANSITIONS[Role::Client as usize][usize::from(header.kind)][DccpState::None as usize] {
            Next::To(DccpState::Request) => {}
            Next::To(_) | Next::Ignore if settings.dccp_loose => {}
            Next::To(_) | Next::Ignore | Next::Invalid => {
                watch.note(Topic::Track, || format!("INVALID: DCCP type {} begins no flow", header.kind));
                return None;
            }
        }
        Some(Self {
            handshake: [0; 2],
            state: DccpState::None,
            role: Role::Client,
            last_kind: kind::REQUEST,
            last_direction: Direction::Original,
        })
    }

    /// What a packet of this flow does to it.
    pub(super) fn next(
        &mut self,
        body: &[u8],
        context: &Context<'_>,
        timeouts: &Timeouts,
        watch: &mut impl Watch,
    ) -> Judgement {
        let Some(header) = Header::of(body, watch) else { return Judgement::INVALID };
        let Header { kind, seq, ack } = header;
        let (direction, old) = (context.direction, self.state);
        if kind == kind::RESET && !context.status.contains(Status::SEEN_REPLY) {
            watch.note(Topic::Track, || "a Reset before any reply: the entry goes");
            return Judgement::Kill;
        }
        let mut change = Change::default();
        let role = self.role(direction);
        let new = match TRANSITIONS[role as usize][usize::from(kind)][old as usize] {
            Next::Invalid => {
                watch.note(Topic::Track, || format!("INVALID: DCCP type {kind} of the {role:?} in {}", old.name()));
                return Judgement::INVALID;
            }
            Next::Ignore => {
                let answers = self.last_direction != direction && self.last_kind == kind::REQUEST;
                if !answers || kind != kind::RESPONSE {
                    watch.note(Topic::Track, || format!("DCCP type {kind} in {}: let through", old.name()));
                    (self.last_direction, self.last_kind) = (direction, kind);
                    return Judgement::PASS;
                }
                self.make_server(direction);
                self.set_handshake(seq);
                DccpState::Respond
            }
            Next::To(new) => {
                match (old, new) {
                    (DccpState::Timewait, DccpState::Request) if role == Role::Server => self.make_server(!direction),
                    (DccpState::Request, DccpState::Respond) => self.set_handshake(seq),
                    (DccpState::Respond, DccpState::Partopen) => {
                        let answers = kind == kind::ACK && ack == Some(self.handshake());
                        change.assured = answers && !context.status.contains(Status::ASSURED);
                    }
                    _ => {}
                }
                new
            }
        };
        (self.last_direction, self.last_kind, self.state) = (direction, kind, new);
        if old != new {
            watch.note(Topic::Track, || format!("DCCP type {kind} of the {role:?}: {} -> {}", old.name(), new.name()));
        }
        change.protoinfo = old != new;
        change.timeout = Some(timeouts.dccp.of(new));
        Judgement::Accept(change)
    }

    /// The state.
    pub const fn state(&self) -> DccpState {
        self.state
    }

    /// Which role the side has that sends in `direction`.
    pub const fn role(&self, direction: Direction) -> Role {
        match (self.role, direction) {
            (Role::Client, Direction::Original) | (Role::Server, Direction::Reply) => Role::Client,
            (Role::Client, Direction::Reply) | (Role::Server, Direction::Original) => Role::Server,
        }
    }

    /// The sequence number of the Response.
    pub const fn handshake(&self) -> u64 {
        (self.handshake[0] as u64) << 32 | self.handshake[1] as u64
    }

    fn set_handshake(&mut self, seq: u64) {
        self.handshake = [(seq >> 32) as u32, seq as u32];
    }

    const fn make_server(&mut self, direction: Direction) {
        self.role = match direction {
            Direction::Original => Role::Server,
            Direction::Reply => Role::Client,
        };
    }
}

/// What a packet says (RFC 4340 §5.1).
#[derive(Clone, Copy, Debug)]
struct Header {
    kind: u8,
    seq: u64,
    /// The acknowledged number, where the type has one.
    ack: Option<u64>,
}

impl Header {
    /// The generic header with 24-bit sequence numbers, and the one with 48-bit ones, in bytes.
    const LEN: (usize, usize) = (12, 16);

    fn of(body: &[u8], watch: &mut impl Watch) -> Option<Self> {
        let header = Self::read(body);
        if header.is_none() {
            watch.note(Topic::Track, || "INVALID: not a whole DCCP header of a known type");
        }
        header
    }

    fn read(body: &[u8]) -> Option<Self> {
        let (&offset, &coverage, &octet) = (body.get(4)?, body.get(5)?, body.get(8)?);
        let data_at = usize::from(offset) * 4;
        let (kind, extended) = (octet >> 1 & 0x0f, octet & 1 == 1);
        // How much the checksum covers is counted from the start here, as in Linux.
        let covered = usize::from(coverage & 0x0f).saturating_sub(1) * 4;
        if data_at < Self::LEN.0 || data_at > body.len() || covered > body.len() || kind > kind::SYNC_ACK {
            return None;
        }
        let len = if extended { Self::LEN.1 } else { Self::LEN.0 };
        let rest = match kind {
            kind::REQUEST => 4,
            kind::RESPONSE | kind::RESET => 12,
            kind::DATA => 0,
            _ => 8,
        };
        body.get(..len + rest)?;
        let high = u64::from(u16_at(body, 10)?);
        let seq = if extended { high << 32 | u64::from(u32_at(body, 12)?) } else { u64::from(body[9]) << 16 | high };
        let ack = match rest {
            8 | 12 => Some(u64::from(u16_at(body, len + 2)?) << 32 | u64::from(u32_at(body, len + 4)?)),
            _ => None,
        };
        Some(Self { kind, seq, ack })
    }
}
