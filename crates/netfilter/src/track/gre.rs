//! GRE (`nf_conntrack_proto_gre.c`): the keys are in the tuple, the state is only how long to live.

use core::time::Duration;

use super::{Change, Context, Judgement, udp};
use crate::settings::Timeouts;
use crate::status::Status;

/// A GRE flow.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gre {
    timeout_ms: u32,
    stream_timeout_ms: u32,
}

impl Gre {
    /// Makes the flow live this long while unanswered and this long afterwards. What is set before the flow is confirmed is
    /// overwritten by its first packet, as in Linux.
    pub fn set_timeouts(&mut self, unanswered: Duration, stream: Duration) {
        let millis = |timeout: Duration| u32::try_from(timeout.as_millis()).unwrap_or(u32::MAX);
        (self.timeout_ms, self.stream_timeout_ms) = (millis(unanswered), millis(stream));
    }

    pub(super) fn next(&mut self, context: &Context<'_>, timeouts: &Timeouts) -> Judgement {
        if !context.status.contains(Status::CONFIRMED) {
            self.set_timeouts(timeouts.gre, timeouts.gre_stream);
        }
        let millis = |timeout| Duration::from_millis(u64::from(timeout));
        if !context.status.contains(Status::SEEN_REPLY) {
            return Judgement::Accept(Change::refresh(millis(self.timeout_ms)));
        }
        let assured = udp::becomes_assured(context.status);
        Judgement::Accept(Change { assured, ..Change::refresh(millis(self.stream_timeout_ms)) })
    }
}
