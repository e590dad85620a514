//! The short way: a plain ACK of an established flow inside the window, which is nearly every packet. It does what the long way
//! does with such a packet, with the same pieces, and leaves every other packet to it, untouched.

use core::time::Duration;

use pinhole_wire::tcp::{Flags, HEADER_LEN};

use super::segment::highest_sack;
use super::window::{Numbers, are_inside, learn, note_inside};
use super::{Event, SideFlags, Tcp, TcpState};
use crate::settings::{Settings, TcpTimeouts};
use crate::status::{Direction, Status};
use crate::watch::Watch;

/// The flags that make a segment more than an ACK.
const MORE: u8 = Flags::SYN.0 | Flags::FIN.0 | Flags::RST.0 | Flags::ACK.0;

impl Tcp {
    /// Whether a flow of this status may be one of which [`established`](Self::established) knows what a segment does.
    #[inline(always)]
    pub(in crate::track) const fn may_be_established(status: Status) -> bool {
        status.contains(Status(Status::SEEN_REPLY.0 | Status::ASSURED.0))
    }

    /// How long the flow lives after a segment that is a plain ACK inside the window, with nothing special about it. If there
    /// is, nothing has happened.
    #[inline(always)]
    pub(in crate::track) fn established(
        &mut self,
        body: &[u8],
        direction: Direction,
        settings: &Settings,
        timeouts: &TcpTimeouts,
        watch: &mut impl Watch,
    ) -> Option<Duration> {
        let (header, rest) = body.split_first_chunk::<HEADER_LEN>()?;
        if header[13] & MORE != Flags::ACK.0 || self.state != TcpState::Established {
            return None;
        }
        let (options, payload) = rest.split_at_checked((usize::from(header[12] >> 4) * 4).checked_sub(HEADER_LEN)?)?;
        let u32_at = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        let (seq, ack, window) = (u32_at(4), u32_at(8), u16::from_be_bytes([header[14], header[15]]));

        let [original, reply] = &mut self.sides;
        let (sender, receiver) = match direction {
            Direction::Original => (original, reply),
            Direction::Reply => (reply, original),
        };
        let may_have_sack = !options.is_empty() && receiver.flags.contains(SideFlags::SACK_PERM);
        let sack = if may_have_sack { highest_sack(options, ack) } else { ack };
        let numbers = Numbers { seq, end: seq.wrapping_add(payload.len() as u32), ack, sack };
        if !are_inside(numbers, sender, receiver) {
            return None;
        }
        note_inside(numbers, sender, receiver, watch);
        learn(numbers, u32::from(window) << sender.scale, true, sender, receiver);
        self.count_retransmission(direction, numbers, window);
        self.last.event = Event::Ack;
        self.last.direction = direction;
        let flags = self.sides[0].flags | self.sides[1].flags;
        let is_amiss = self.retransmissions >= settings.tcp_max_retrans
            || flags.contains(SideFlags::DATA_UNACKNOWLEDGED)
            || window == 0;
        Some(match is_amiss {
            true => self.timeout(Event::Ack, settings, timeouts, watch),
            false => timeouts.of(TcpState::Established),
        })
    }
}
