//! What the router itself says to a packet's sender, while that packet is under way.

use pinhole_sansio::Instant;
use pinhole_wire::answer::Trouble;

use super::{Passage, Walk, name};
use crate::conntrack::Seen;
use crate::headers::Family;
use crate::router::route::Way;
use crate::router::{Packet, Verdict, answer};
use crate::rules::Reject;
use crate::status::{CtInfo, Direction};
use crate::watch::{Topic, Watch};

impl<A: Family, W: Watch> Walk<'_, A, W> {
    /// Tells the sender of a packet what is wrong with it.
    pub(in crate::router) fn complain(&mut self, packet: &Packet, passage: &Passage<A>, trouble: Trouble) {
        if !self.reaches_sender(passage) {
            return;
        }
        let router = self.error_source(passage);
        if let Some(error) = router.and_then(|router| answer::error(&packet.bytes, trouble, router)) {
            self.emit(passage.now, error, attached(passage.seen));
        }
    }

    /// The address that an error comes from: the one that the packet was for, if that is this host's own; else that of the
    /// interface by which its sender is reached (`__icmp_send`, without `icmp_errors_use_inbound_ifaddr`), or in IPv6 by which
    /// the packet came (measured on 6.18).
    fn error_source(&self, passage: &Passage<A>) -> Option<A> {
        let (routes, src, dst) = (&self.stack.routes, passage.headers.src, passage.headers.dst);
        if routes.way(dst) == Way::Local {
            return Some(dst);
        }
        match passage.input.map_or_else(|| routes.way(src), |input| routes.way_from(input, src)) {
            Way::Out(output) if A::IS_V4 => self.address_of(Some(output)),
            Way::Out(_) | Way::Local | Way::Many | Way::None => self.address_of(passage.input),
        }
    }

    /// Whether an answer finds its way. Who is known on its link only gets none elsewhere.
    fn reaches_sender(&self, passage: &Passage<A>) -> bool {
        let src = passage.headers.src;
        let is_there = |input| matches!(self.stack.routes.way_from(input, src), Way::Out(_));
        !src.is_of_link() || passage.input.is_none_or(is_there)
    }

    /// Tells the sender of a packet that a rule rejects it.
    pub(super) fn reject(&mut self, packet: &Packet, passage: &Passage<A>, reject: Reject) {
        if !answer::is_intact(&packet.bytes, &passage.headers) || !self.reaches_sender(passage) {
            return;
        }
        match reject {
            Reject::TcpReset => {
                if let Some(reset) = answer::reset(&packet.bytes, &passage.headers) {
                    self.emit(passage.now, reset, attached(passage.seen));
                }
            }
            Reject::Icmp { code, .. } => {
                let router = self.error_source(passage);
                if let Some(error) = router.and_then(|router| answer::unreachable(&packet.bytes, code, router)) {
                    self.emit(passage.now, error, attached(passage.seen));
                }
            }
        }
    }

    /// Sends a packet of the router's own while another one is under way. It passes the hooks as all that this host sends; one
    /// that has a flow already is not looked up.
    pub(in crate::router) fn emit(&mut self, now: Instant, bytes: Vec<u8>, attached: Seen) {
        let Ok(headers) = A::headers(&bytes) else { return };
        let (said, happened) = (self.stack.said, self.stack.conntrack.set_aside());
        let mut packet = Packet::from(bytes);
        let mut passage = Passage::new(now, None, headers, attached);
        self.watch.aside(true);
        let sent = self.send(&mut packet, &mut passage);
        self.watch.aside(false);
        let interfaces = self.interfaces;
        self.note(Topic::Answer, || match sent {
            Ok(Verdict::Forward(by)) => format!("the router's answer goes out by {}", name(interfaces, Some(by))),
            Ok(Verdict::Deliver | Verdict::Hold | Verdict::Drop(_)) => "the router's answer is for itself".into(),
            Err(reason) => format!("the router's answer is dropped: {reason}"),
        });
        if let Ok(Verdict::Forward(by)) = sent {
            self.outbox.packet(by, packet);
        }
        if attached == Seen::Invalid {
            self.stack.conntrack.leave(now, passage.seen);
        }
        self.stack.conntrack.resume(happened);
        self.stack.said = said;
    }
}

/// The flow of a packet that answers one of it (`nf_ct_attach`).
fn attached(seen: Seen) -> Seen {
    match seen {
        Seen::Invalid | Seen::Untracked => Seen::Invalid,
        Seen::Flow { at, info } => {
            let info = match info.direction() {
                Direction::Original => CtInfo::RelatedReply,
                Direction::Reply => CtInfo::Related,
            };
            Seen::Flow { at, info }
        }
    }
}
