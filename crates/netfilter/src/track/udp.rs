//! UDP and UDP-Lite (`nf_conntrack_proto_udp.c`): a flow is a stream once it was answered and is older than two seconds.

use core::time::Duration;

use pinhole_sansio::Instant;
use pinhole_wire::udp;

use super::{Change, Context, Judgement, u16_at};
use crate::settings::Timeouts;
use crate::status::Status;
use crate::watch::{Topic, Watch};

/// How old a flow must be to be a stream, so that a question with its answer is not one.
const STREAM_AGE: Duration = Duration::from_secs(2);

/// A UDP flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Udp {
    /// When it is old enough to be a stream.
    stream_at: Instant,
}

impl Udp {
    #[inline]
    pub(super) fn next(
        &mut self,
        body: &[u8],
        context: &Context<'_>,
        timeouts: &Timeouts,
        watch: &mut impl Watch,
    ) -> Judgement {
        let length = u16_at(body, 4).map_or(0, usize::from);
        if length < udp::HEADER_LEN || length > body.len() {
            let len = body.len();
            watch.note(Topic::Track, || format!("INVALID: the UDP length is {length}, and there are {len} bytes"));
            return Judgement::INVALID;
        }
        if !context.status.contains(Status::CONFIRMED) {
            self.stream_at = context.now + STREAM_AGE;
        }
        if !context.status.contains(Status::SEEN_REPLY) {
            return Judgement::Accept(Change::refresh(timeouts.udp));
        }
        if context.now <= self.stream_at {
            watch.note(Topic::Track, || "answered, but younger than two seconds: not a stream yet");
            return Judgement::Accept(Change::refresh(timeouts.udp));
        }
        Judgement::Accept(Change { assured: becomes_assured(context.status), ..Change::refresh(timeouts.udp_stream) })
    }
}

/// How long a flow lives from now on whose state a datagram does not change and that need not be read for it: one that nobody
/// has answered, or that is a stream already.
#[inline(always)]
pub(super) fn settled(body: &[u8], status: Status, timeouts: &Timeouts) -> Option<Duration> {
    let length = usize::from(u16_at(body, 4)?);
    if length < udp::HEADER_LEN || length > body.len() {
        return None;
    }
    if !status.contains(Status::SEEN_REPLY) {
        return status.contains(Status::CONFIRMED).then_some(timeouts.udp);
    }
    status.contains(Status::ASSURED).then_some(timeouts.udp_stream)
}

/// A UDP-Lite flow is a stream as soon as it was answered. Its length field is the checksum's coverage (RFC 3828 §3.1), and
/// the checksum may not be absent.
pub(super) fn next_lite(body: &[u8], context: &Context<'_>, timeouts: &Timeouts, watch: &mut impl Watch) -> Judgement {
    let (Some(coverage), Some(checksum)) = (u16_at(body, 4), u16_at(body, 6)) else {
        watch.note(Topic::Track, || "INVALID: the UDP-Lite header is not whole");
        return Judgement::INVALID;
    };
    let coverage = usize::from(coverage);
    if coverage != 0 && !(udp::HEADER_LEN..=body.len()).contains(&coverage) || checksum == 0 {
        watch.note(Topic::Track, || format!("INVALID: coverage {coverage}, checksum {checksum:#06x}"));
        return Judgement::INVALID;
    }
    if !context.status.contains(Status::SEEN_REPLY) {
        return Judgement::Accept(Change::refresh(timeouts.udp));
    }
    Judgement::Accept(Change { assured: becomes_assured(context.status), ..Change::refresh(timeouts.udp_stream) })
}

/// Whether an answered flow becomes ASSURED now: not if it is, and never if it lost a clash, since it ends soon.
pub(super) const fn becomes_assured(status: Status) -> bool {
    !status.intersects(Status(Status::ASSURED.0 | Status::NAT_CLASH.0))
}
