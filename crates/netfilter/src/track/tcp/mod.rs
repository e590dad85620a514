//! TCP (`nf_conntrack_proto_tcp.c`): what both sides have said, seen from the middle.
//!
//! A packet is an [`Event`] that the [`TRANSITIONS`] table maps to the next state; special cases come before the window check
//! ([`window`]) and decide whether there is one. Packets that may belong to a connection this side knows nothing of (a host
//! has restarted, an entry is out of date) are let through and remembered: the other side's answer tells.

mod established;
mod segment;
mod table;
#[cfg(test)]
mod tests;
mod window;

use core::time::Duration;

use super::{Change, Context, Judgement};
use crate::settings::{InexactRst, Settings, TcpTimeouts, Timeouts};
use crate::status::{Direction, Status};
use crate::watch::{Topic, Watch};
use segment::{Segment, is_before};
use table::{Event, Next, TRANSITIONS};
use window::Window;

pub use table::TcpState;
pub use window::{Side, SideFlags};

/// Below this an entry's timeout is not worth cutting when both sides give up out of window (`nf_tcp_handle_invalid`).
const SHORT_ENOUGH: Duration = Duration::from_secs(120);

/// A TCP flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tcp {
    sides: [Side; 2],
    last: Last,
    /// The options of an ignored SYN, and what is expected after it.
    noted: SideFlags,
    /// The scale of an ignored SYN.
    noted_scale: u8,
    /// How often the last acknowledgment has come again.
    retransmissions: u8,
    state: TcpState,
}

/// The last packet: an acknowledgment that was accepted, or anything that was let through unjudged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Last {
    seq: u32,
    ack: u32,
    end: u32,
    window: u16,
    event: Event,
    direction: Direction,
}

impl Last {
    /// No packet yet.
    const NOTHING: Self =
        Self { seq: 0, ack: 0, end: 0, window: 0, event: Event::None, direction: Direction::Original };
}

/// What is to be done before, or instead of, the window check.
enum Step {
    /// Check the window, and go from one state to another if it holds.
    Check(TcpState, TcpState),
    /// Go from one state to another without a check.
    Go(TcpState, TcpState),
    /// Nothing more.
    Done(Judgement),
}

impl Tcp {
    /// The state of a flow that begins with this segment: a SYN, or in the middle anything that data travels on if
    /// `tcp_loose` is set.
    pub(super) fn begin(body: &[u8], settings: &Settings, watch: &mut impl Watch) -> Option<Self> {
        let segment = Segment::of(body, watch)?;
        let begun = match TRANSITIONS[0][segment.event as usize][TcpState::None as usize] {
            Next::To(state) => state,
            Next::Ignore | Next::Invalid => {
                watch.note(Topic::Track, || format!("INVALID: {} begins no flow", segment.event));
                return None;
            }
        };
        let mut sides = [Side::default(), Side::default()];
        let maxwin = u32::from(segment.window).max(1);
        sides[0] = Side { end: segment.end, maxend: segment.end, maxwin, ..Side::default() };
        if begun == TcpState::SynSent {
            sides[0].read_options(&segment);
        } else if settings.tcp_loose {
            watch.note(Topic::Track, || "picked up in the middle: the window is guessed and not enforced");
            sides[0].maxend = segment.end.wrapping_add(maxwin);
            for side in &mut sides {
                side.flags = SideFlags::SACK_PERM | SideFlags::BE_LIBERAL;
            }
        } else {
            watch.note(Topic::Track, || "INVALID: not a SYN, and nf_conntrack_tcp_loose is 0");
            return None;
        }
        Some(Self {
            sides,
            last: Last::NOTHING,
            noted: SideFlags(0),
            noted_scale: 0,
            retransmissions: 0,
            state: TcpState::None,
        })
    }

    /// What a segment of this flow does to it.
    #[inline]
    pub(super) fn next(
        &mut self,
        body: &[u8],
        context: &Context<'_>,
        settings: &Settings,
        timeouts: &Timeouts,
        watch: &mut impl Watch,
    ) -> Judgement {
        if Self::may_be_established(context.status)
            && context.seqadj.is_none()
            && let Some(timeout) = self.established(body, context.direction, settings, &timeouts.tcp, watch)
        {
            return Judgement::Accept(Change::refresh(timeout));
        }
        self.next_of_any(body, context, settings, timeouts, watch)
    }

    /// The long way, for any segment.
    #[inline(never)]
    fn next_of_any(
        &mut self,
        body: &[u8],
        context: &Context<'_>,
        settings: &Settings,
        timeouts: &Timeouts,
        watch: &mut impl Watch,
    ) -> Judgement {
        let Some(segment) = Segment::of(body, watch) else { return Judgement::INVALID };
        let (old, new) = match self.step(&segment, context, settings, watch) {
            Step::Go(old, new) => (old, new),
            Step::Done(judgement) => return judgement,
            Step::Check(old, new) => match self.check_window(&segment, context, settings, watch) {
                Window::In => (old, new),
                Window::Ignore => return Judgement::PASS,
                Window::Out => return self.given_up(&segment, context, timeouts, watch),
            },
        };
        self.commit(&segment, old, new, context, settings, &timeouts.tcp, watch)
    }

    /// The state.
    pub const fn state(&self) -> TcpState {
        self.state
    }

    /// What is known of the side that sends in `direction`.
    pub const fn side(&self, direction: Direction) -> &Side {
        &self.sides[direction.index()]
    }

    /// Whether a new flow may take this one's place in source NAT: it is as good as over
    /// (`nf_nat_may_kill` in `nf_nat_core.c`).
    pub const fn may_be_evicted(&self) -> bool {
        match self.state {
            TcpState::TimeWait | TcpState::Close | TcpState::SynSent2 => true,
            TcpState::None
            | TcpState::SynSent
            | TcpState::SynRecv
            | TcpState::Established
            | TcpState::FinWait
            | TcpState::CloseWait
            | TcpState::LastAck => false,
        }
    }

    /// Lets packets of both sides pass outside the window from now on, where something that knows better has said so.
    pub fn set_liberal(&mut self) {
        for side in &mut self.sides {
            side.flags |= SideFlags::BE_LIBERAL;
        }
    }

    /// What the state table and the special cases say.
    fn step(
        &mut self,
        segment: &Segment<'_>,
        context: &Context<'_>,
        settings: &Settings,
        watch: &mut impl Watch,
    ) -> Step {
        let (old, event, direction) = (self.state, segment.event, context.direction);
        match TRANSITIONS[direction.index()][event as usize][old as usize] {
            Next::Invalid => {
                watch.note(Topic::Track, || format!("INVALID: {event} of the {direction} side in state {old}"));
                Step::Done(Judgement::INVALID)
            }
            Next::Ignore => self.ignore(segment, direction, watch),
            Next::To(TcpState::SynSent) if matches!(old, TcpState::TimeWait | TcpState::Close) => {
                self.reopen(segment, direction, watch)
            }
            Next::To(TcpState::TimeWait) if self.is_expected_challenge(event, direction) => {
                self.noted.clear(SideFlags::EXPECT_CHALLENGE_ACK);
                watch.note(Topic::Track, || "taken for a challenge ACK, which acknowledges no FIN: let through");
                Step::Done(Judgement::PASS)
            }
            Next::To(TcpState::SynSent2) => {
                self.noted |= SideFlags::SIMULTANEOUS_OPEN;
                Step::Check(old, TcpState::SynSent2)
            }
            Next::To(TcpState::SynRecv)
                if direction == Direction::Reply
                    && event == Event::Ack
                    && self.noted.contains(SideFlags::SIMULTANEOUS_OPEN) =>
            {
                Step::Check(old, TcpState::Established)
            }
            Next::To(TcpState::Close) if event == Event::Rst => self.reset(segment, context, settings, watch),
            Next::To(new) => Step::Check(old, new),
        }
    }

    /// A SYN after the end: a new connection if the old one was ended in front of us, else possibly one.
    fn reopen(&mut self, segment: &Segment<'_>, direction: Direction, watch: &mut impl Watch) -> Step {
        let closed = self.sides.iter().any(|side| side.flags.contains(SideFlags::CLOSE_INIT));
        if closed || (self.last.direction == direction && self.last.event == Event::Rst) {
            watch.note(Topic::Track, || "a SYN after the end: the entry goes, and a new flow begins");
            return Step::Done(Judgement::Restart);
        }
        self.ignore(segment, direction, watch)
    }

    /// A packet that may belong to a connection we know nothing of: it is let through and remembered, unless it answers
    /// such a one. Then that is the connection.
    fn ignore(&mut self, segment: &Segment<'_>, direction: Direction, watch: &mut impl Watch) -> Step {
        let last = self.last;
        let answers = last.event == Event::Syn && last.direction != direction && segment.ack == last.end;
        if segment.event == Event::SynAck && answers {
            watch.note(Topic::Track, || format!("it answers the SYN that ended at {}: in step again", last.end));
            let sender = &mut self.sides[last.direction.index()];
            sender.end = last.end;
            sender.maxend = last.end;
            sender.maxwin = u32::from(last.window).max(1);
            sender.scale = self.noted_scale;
            self.noted.clear(SideFlags::EXPECT_CHALLENGE_ACK);
            sender.flags = self.noted;
            self.sides[direction.index()].reset();
            return Step::Check(TcpState::SynSent, TcpState::SynRecv);
        }
        watch.note(Topic::Track, || {
            let (event, state, end) = (segment.event, self.state, segment.end);
            format!("{event} of the {direction} side in state {state}: let through and remembered, ends at {end}")
        });
        let Segment { seq, end, window, event, .. } = *segment;
        self.last = Last { seq, ack: last.ack, end, window, event, direction };
        if event == Event::Syn && direction == Direction::Original {
            let mut side = Side::default();
            side.read_options(segment);
            self.noted = side.flags;
            self.noted_scale = side.scale;
            if self.state == TcpState::LastAck {
                self.noted |= SideFlags::EXPECT_CHALLENGE_ACK;
            }
        }
        if self.state == TcpState::SynSent && event == Event::Ack && direction == Direction::Reply {
            self.last.ack = segment.ack;
        }
        Step::Done(Judgement::PASS)
    }

    /// Whether an ACK in LAST_ACK is the answer to a SYN that was let through (RFC 5961 §4), and not the last one.
    fn is_expected_challenge(&self, event: Event, direction: Direction) -> bool {
        let Last { event: last, direction: by, .. } = self.last;
        self.state == TcpState::LastAck
            && event == Event::Ack
            && last == Event::Syn
            && by != direction
            && self.noted.contains(SideFlags::EXPECT_CHALLENGE_ACK)
    }

    /// A RST: who may end the flow, and who is only to be believed if the window says so.
    fn reset(
        &mut self,
        segment: &Segment<'_>,
        context: &Context<'_>,
        settings: &Settings,
        watch: &mut impl Watch,
    ) -> Step {
        let (old, last, direction, seq) = (self.state, self.last, context.direction, segment.seq);
        if old.is_closing() {
            watch.note(Topic::Track, || format!("a RST in state {old}: believed, whatever its numbers"));
            return Step::Go(old, TcpState::Close);
        }
        let assured = context.status.contains(Status::ASSURED);
        let established = old == TcpState::Established && assured;
        let peer = self.side(!direction);
        let mut new = TcpState::Close;
        if peer.flags.contains(SideFlags::MAXACK_SET) && last.event != Event::Syn {
            if seq == 0 && !established {
                return Step::Check(old, TcpState::Close);
            }
            let maxack = peer.maxack;
            if is_before(seq, maxack) && !settings.tcp_ignore_invalid_rst {
                watch.note(Topic::Track, || format!("INVALID: a RST at {seq}, before {maxack}, which is acknowledged"));
                return Step::Done(Judgement::INVALID);
            }
            let follows = last.event == Event::Ack && last.direction == direction && seq == last.end;
            if !established || seq == maxack || follows {
                return Step::Check(old, TcpState::Close);
            }
            watch.note(Topic::Track, || {
                format!("a RST at {seq}, not exactly {maxack}: the state stays, the peer may challenge it")
            });
            new = old;
        }
        let unjudged = match last.event {
            Event::Syn => context.status.contains(Status::SEEN_REPLY) && last.direction != direction,
            Event::Ack => !assured,
            Event::SynAck | Event::Fin | Event::Rst | Event::None => false,
        };
        let challenged = old == TcpState::SynSent && last.event == Event::Ack && last.direction == Direction::Reply;
        if (unjudged && segment.ack == last.end) || (challenged && seq == last.ack) {
            watch.note(Topic::Track, || "a RST that answers a packet we let through: believed");
            return Step::Go(old, new);
        }
        Step::Check(old, new)
    }

    /// A packet outside the window. If both sides give up, one after the other, out of our window, we are out of step with
    /// them, and the entry must not wait for its long timeout (`nf_tcp_handle_invalid`).
    #[cold]
    fn given_up(
        &mut self,
        segment: &Segment<'_>,
        context: &Context<'_>,
        timeouts: &Timeouts,
        watch: &mut impl Watch,
    ) -> Judgement {
        let status = context.status;
        let ends = |event| matches!(event, Event::Rst | Event::Fin);
        if !status.contains(Status::ASSURED) || status.contains(Status::FIXED_TIMEOUT) || !ends(segment.event) {
            return Judgement::INVALID;
        }
        if self.last.direction == context.direction || !ends(self.last.event) {
            self.last.event = segment.event;
            self.last.direction = context.direction;
            return Judgement::INVALID;
        }
        let timeout = timeouts.tcp.unacknowledged;
        if context.remaining < SHORT_ENOUGH || context.remaining <= timeout {
            return Judgement::INVALID;
        }
        watch.note(Topic::Track, || format!("both sides end it out of our window: {timeout:?} are left"));
        Judgement::Invalid { timeout: Some(timeout), assured: false }
    }

    /// The packet is accepted: the new state, and how long the entry lives.
    #[inline]
    #[expect(clippy::too_many_arguments, reason = "one packet's whole story, told once")]
    fn commit(
        &mut self,
        segment: &Segment<'_>,
        old: TcpState,
        new: TcpState,
        context: &Context<'_>,
        settings: &Settings,
        timeouts: &TcpTimeouts,
        watch: &mut impl Watch,
    ) -> Judgement {
        self.last.event = segment.event;
        self.last.direction = context.direction;
        self.state = new;
        if old != new {
            watch.note(Topic::Track, || format!("{} of the {} side: {old} -> {new}", segment.event, context.direction));
            if new == TcpState::FinWait {
                self.sides[context.direction.index()].flags |= SideFlags::CLOSE_INIT;
            }
        }
        let mut timeout = self.timeout(segment.event, settings, timeouts, watch);
        let mut change = Change { protoinfo: old != new, ..Change::default() };
        if !context.status.contains(Status::SEEN_REPLY) {
            if segment.event == Event::Rst {
                watch.note(Topic::Track, || "a RST before any reply: the entry goes");
                return Judgement::Kill;
            }
            if segment.event == Event::Syn && old == TcpState::SynSent {
                watch.note(Topic::Track, || "the SYN again, without a reply: the timeout runs on");
                return Judgement::Accept(change);
            }
            if new == TcpState::Established {
                timeout = timeout.min(timeouts.unacknowledged);
            }
        } else if new == TcpState::Established
            && matches!(old, TcpState::SynRecv | TcpState::Established)
            && !context.status.contains(Status::ASSURED)
        {
            change.assured = true;
        }
        change.timeout = Some(timeout);
        Judgement::Accept(change)
    }

    /// The timeout of the state, or a shorter one if something is amiss.
    #[inline(never)]
    fn timeout(&self, event: Event, settings: &Settings, timeouts: &TcpTimeouts, watch: &mut impl Watch) -> Duration {
        let by_state = timeouts.of(self.state);
        let &TcpTimeouts { max_retrans, unacknowledged, .. } = timeouts;
        if self.retransmissions >= settings.tcp_max_retrans && by_state > max_retrans {
            watch.note(Topic::Track, || format!("{} retransmissions: the RETRANS timeout", self.retransmissions));
            return max_retrans;
        }
        if event == Event::Rst {
            match settings.personality.inexact_rst {
                InexactRst::Close => {
                    watch.note(Topic::Track, || "a RST: the CLOSE timeout, whether or not the state stays");
                    return timeouts.of(TcpState::Close);
                }
                InexactRst::CappedToUnacknowledged if self.state == TcpState::Established => {
                    return by_state.min(unacknowledged);
                }
                InexactRst::CappedToUnacknowledged => {}
            }
        }
        if (self.sides[0].flags | self.sides[1].flags).contains(SideFlags::DATA_UNACKNOWLEDGED)
            && by_state > unacknowledged
        {
            watch.note(Topic::Track, || "data is not acknowledged: the UNACKNOWLEDGED timeout");
            return unacknowledged;
        }
        if self.last.window == 0 && by_state > max_retrans {
            watch.note(Topic::Track, || "the window is zero: the RETRANS timeout");
            return max_retrans;
        }
        by_state
    }
}
