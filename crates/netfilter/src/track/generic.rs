//! Every protocol without a tracker (`nf_conntrack_proto_generic.c`): a packet is a packet.

use super::{Change, Judgement};
use crate::settings::Timeouts;

pub(super) const fn next(timeouts: &Timeouts) -> Judgement {
    Judgement::Accept(Change::refresh(timeouts.generic))
}
