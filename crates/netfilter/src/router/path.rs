//! A packet's way through the hooks, in the order of their priorities.
//!
//! What happens at a hook is told by one each of the modules below: [`tables`] are asked, a flow's [`translation`] is decided
//! and carried out; and a packet that gets no further may be a reason for a [`complaint`] to its sender.

mod complaint;
mod tables;
mod translation;

use pinhole_sansio::Instant;
use pinhole_wire::answer::Trouble;

use super::fragments::Gathered;
use super::route::Way;
use super::stack::Stack;
use super::{Outbox, Packet, Reason, Verdict};
use crate::conntrack::{Ask, Seen, Stopped, Unconfirmed};
use crate::explain::{Ending, FlowState};
use crate::fragment::{Place, Whole};
use crate::headers::{Family, Headers};
use crate::interface::{Interface, InterfaceId};
use crate::rules::{Hook, TableName, Template};
use crate::script::Info;
use crate::status::{CtInfo, Status};
use crate::watch::{Topic, Watch};

/// What belongs to one packet on its way.
pub(super) struct Passage<A> {
    pub(super) now: Instant,
    pub(super) input: Option<InterfaceId>,
    output: Option<InterfaceId>,
    pub(super) headers: Headers<A>,
    pub(super) seen: Seen,
    template: Option<Box<Template>>,
    /// In what pieces it came, if it was put together.
    pub(super) whole: Option<Box<Whole>>,
    /// Whether every rule is noted (TRACE).
    traced: bool,
}

impl<A> Passage<A> {
    const fn new(now: Instant, input: Option<InterfaceId>, headers: Headers<A>, seen: Seen) -> Self {
        Self { now, input, output: None, headers, seen, template: None, whole: None, traced: false }
    }
}

impl<A: Family> Stack<A> {
    /// A packet comes in.
    #[inline]
    pub(super) fn receive<W: Watch>(
        &mut self,
        now: Instant,
        input: InterfaceId,
        interfaces: &[Interface],
        packet: &mut Packet,
        outbox: &mut Outbox,
        watch: &mut W,
    ) -> Verdict {
        if input.place() >= interfaces.len() {
            return Verdict::Drop(Reason::NotForUs);
        }
        self.said = None;
        let headers = match A::headers(&packet.bytes) {
            Ok(headers) => headers,
            Err(malformed) => return Verdict::Drop(Reason::Malformed(malformed)),
        };
        packet.bytes.truncate(headers.end);
        let mut passage = Passage::new(now, Some(input), headers, Seen::Invalid);
        let mut walk = Walk { stack: self, interfaces, outbox, watch };
        let result = walk.receive(input, packet, &mut passage);
        self.leave(&passage, watch);
        result.unwrap_or_else(Verdict::Drop)
    }

    /// This host sends a packet.
    pub(super) fn send<W: Watch>(
        &mut self,
        now: Instant,
        interfaces: &[Interface],
        packet: &mut Packet,
        outbox: &mut Outbox,
        watch: &mut W,
    ) -> Verdict {
        self.said = None;
        let headers = match A::headers(&packet.bytes) {
            Ok(headers) => headers,
            Err(malformed) => return Verdict::Drop(Reason::Malformed(malformed)),
        };
        let mut passage = Passage::new(now, None, headers, Seen::Invalid);
        let mut walk = Walk { stack: self, interfaces, outbox, watch };
        let result = walk.send(packet, &mut passage);
        self.leave(&passage, watch);
        result.unwrap_or_else(Verdict::Drop)
    }

    /// A packet's way is over.
    #[inline]
    fn leave<W: Watch>(&mut self, passage: &Passage<A>, watch: &mut W) {
        let &Passage { now, seen, .. } = passage;
        if let Seen::Flow { at, .. } = seen
            && !self.conntrack.table.flow(at).status.contains(Status::CONFIRMED)
        {
            watch.note(Topic::Table, || "the flow that it began was never confirmed: nothing of it stays");
        }
        watch.end(|| self.ending(now, seen));
        self.conntrack.leave(now, seen);
    }

    /// What is known of a packet's flow in the end.
    #[cold]
    fn ending(&self, now: Instant, seen: Seen) -> Ending {
        let (info, flow) = match seen {
            Seen::Invalid => (None, None),
            Seen::Untracked => (Some(CtInfo::Untracked), None),
            Seen::Flow { at, info } => {
                let status = self.conntrack.table.flow(at).status;
                let stays = status.contains(Status::CONFIRMED) && !status.contains(Status::DYING);
                (Some(info), stays.then(|| FlowState::of(&self.conntrack.table, at, now)))
            }
        };
        Ending { info: info.into(), flow }
    }
}

/// A packet's way, and all that it can meet.
pub(super) struct Walk<'a, A: Family, W> {
    pub(super) stack: &'a mut Stack<A>,
    pub(super) interfaces: &'a [Interface],
    pub(super) outbox: &'a mut Outbox,
    pub(super) watch: &'a mut W,
}

impl<A: Family, W: Watch> Walk<'_, A, W> {
    fn receive(
        &mut self,
        input: InterfaceId,
        packet: &mut Packet,
        passage: &mut Passage<A>,
    ) -> Result<Verdict, Reason> {
        if A::is_lost(passage.headers.src, passage.headers.dst) {
            return Err(self.martian(passage));
        }
        self.watch.hook(Hook::PreRouting);
        if self.gather(Place::Arriving(input), packet, passage)? == Gathered::Waits {
            return Ok(Verdict::Hold);
        }
        self.ask(TableName::Raw, Hook::PreRouting, packet, passage)?;
        self.track(packet, passage, true)?;
        self.ask(TableName::Mangle, Hook::PreRouting, packet, passage)?;
        self.translate(Hook::PreRouting, packet, passage)?;
        let Headers { src, dst, .. } = passage.headers;
        let is_itself = A::REFUSES_ITSELF && self.stack.routes.is_local(src);
        if is_itself || !src.may_reach(dst) || !dst.is_joined() {
            return Err(self.martian(passage));
        }
        match self.stack.routes.way_from(input, dst) {
            way @ (Way::Local | Way::Many) => {
                self.note_way(passage.headers.dst, way);
                self.input(packet, passage)
            }
            way @ Way::Out(output) => {
                passage.output = Some(output);
                self.note_way(passage.headers.dst, way);
                self.forward(packet, passage, output)
            }
            way @ Way::None => {
                self.note_way(passage.headers.dst, way);
                self.complain(packet, passage, Trouble::NoRoute);
                Err(Reason::NoRoute)
            }
        }
    }

    /// The packet is from or to where nothing may come from or go.
    #[cold]
    fn martian(&mut self, passage: &Passage<A>) -> Reason {
        let Headers { src, dst, .. } = passage.headers;
        self.note(Topic::Route, || format!("nothing that comes in may go from {src} to {dst}"));
        Reason::NotUnicast
    }

    fn input(&mut self, packet: &mut Packet, passage: &mut Passage<A>) -> Result<Verdict, Reason> {
        self.watch.hook(Hook::Input);
        self.ask(TableName::Mangle, Hook::Input, packet, passage)?;
        self.ask(TableName::Filter, Hook::Input, packet, passage)?;
        if self.stack.conntrack.settings.personality.nat_local_in {
            self.translate(Hook::Input, packet, passage)?;
        }
        self.confirm(packet, passage)?;
        Ok(Verdict::Deliver)
    }

    fn forward(
        &mut self,
        packet: &mut Packet,
        passage: &mut Passage<A>,
        output: InterfaceId,
    ) -> Result<Verdict, Reason> {
        if passage.headers.ttl <= 1 {
            let ttl = passage.headers.ttl;
            self.note(Topic::Route, || format!("its time to live is {ttl}: this is one router too many"));
            self.complain(packet, passage, Trouble::TimeExceeded);
            return Err(Reason::TimeExceeded);
        }
        if !passage.headers.src.may_leave() && passage.input != Some(output) {
            return Err(self.martian(passage));
        }
        self.fits(packet, passage, output)?;
        A::decrement_ttl(&mut packet.bytes);
        passage.headers.ttl -= 1;
        let ttl = passage.headers.ttl;
        self.note(Topic::Route, || format!("its time to live goes from {} to {ttl}", ttl + 1));
        self.watch.hook(Hook::Forward);
        self.ask(TableName::Mangle, Hook::Forward, packet, passage)?;
        self.ask(TableName::Filter, Hook::Forward, packet, passage)?;
        self.leave(packet, passage, output)
    }

    fn leave(&mut self, packet: &mut Packet, passage: &mut Passage<A>, output: InterfaceId) -> Result<Verdict, Reason> {
        self.watch.hook(Hook::PostRouting);
        self.ask(TableName::Mangle, Hook::PostRouting, packet, passage)?;
        self.translate(Hook::PostRouting, packet, passage)?;
        self.confirm(packet, passage)?;
        if let Seen::Flow { at, info } = passage.seen
            && passage.input.is_some()
        {
            let flow = self.stack.conntrack.table.flow_mut(at);
            if !flow.has_extra() {
                flow.ways[info.direction().index()] = Some(output);
            }
        }
        self.cut(output, packet, passage)?;
        Ok(Verdict::Forward(output))
    }

    fn send(&mut self, packet: &mut Packet, passage: &mut Passage<A>) -> Result<Verdict, Reason> {
        let way = self.stack.routes.way(passage.headers.dst);
        self.note_way(passage.headers.dst, way);
        let Way::Out(output) = way else { return Err(Reason::NoRoute) };
        passage.output = Some(output);
        self.watch.hook(Hook::Output);
        if self.gather(Place::Leaving, packet, passage)? == Gathered::Waits {
            return Ok(Verdict::Hold);
        }
        self.ask(TableName::Raw, Hook::Output, packet, passage)?;
        self.track(packet, passage, false)?;
        self.ask(TableName::Mangle, Hook::Output, packet, passage)?;
        self.translate(Hook::Output, packet, passage)?;
        self.ask(TableName::Filter, Hook::Output, packet, passage)?;
        let way = self.stack.routes.way(passage.headers.dst);
        if way != Way::Out(output) {
            self.note_way(passage.headers.dst, way);
        }
        match way {
            Way::Out(output) => {
                passage.output = Some(output);
                self.leave(packet, passage, output)
            }
            Way::Local => Ok(Verdict::Deliver),
            Way::Many | Way::None => Err(Reason::NoRoute),
        }
    }

    /// Asks conntrack, unless a rule has said that the packet is not to be tracked.
    #[inline]
    fn track(&mut self, packet: &Packet, passage: &mut Passage<A>, arrives: bool) -> Result<(), Reason> {
        if passage.seen != Seen::Invalid {
            self.stack.said = Some(passage.seen);
            let is_untracked = passage.seen == Seen::Untracked;
            self.note(Topic::Table, || match is_untracked {
                true => "UNTRACKED, as a rule in raw says: no flow is looked up, nothing is translated".into(),
                false => "it belongs to the flow of the packet that it answers".into(),
            });
            return Ok(());
        }
        let checks = arrives && !packet.is_vouched_for && self.stack.conntrack.settings.checksum;
        let ask = Ask { now: passage.now, template: passage.template.as_deref(), mark: packet.mark, checks };
        let entered = self.stack.conntrack.enter(&ask, &packet.bytes, &passage.headers, self.watch);
        passage.seen = entered.map_err(|stopped| match stopped {
            Stopped::TableFull => Reason::TableFull,
            Stopped::Tracker => Reason::Tracker,
        })?;
        let seen = passage.seen;
        self.note(Topic::Table, || match seen {
            Seen::Invalid => "the packet is INVALID: it goes on without a flow, and nothing is translated".into(),
            Seen::Untracked => "the packet is UNTRACKED: messages of this kind never have a flow".into(),
            Seen::Flow { info, .. } => format!("the packet is {}", Info::Tracked(info)),
        });
        self.stack.said = Some(passage.seen);
        Ok(())
    }

    #[inline]
    fn confirm(&mut self, packet: &mut Packet, passage: &mut Passage<A>) -> Result<(), Reason> {
        let Passage { now, headers, seen, whole, .. } = passage;
        let confirmed = self.stack.conntrack.confirm(*now, &mut packet.bytes, headers, *seen, self.watch);
        if self.stack.conntrack.take_gathered()
            && let Some(whole) = whole
        {
            whole.lengths.clear();
        }
        *seen = confirmed.map_err(|unconfirmed| match unconfirmed {
            Unconfirmed::Clash => Reason::Clash,
            Unconfirmed::Helper => Reason::Helper,
        })?;
        Ok(())
    }

    pub(super) fn address_of(&self, id: Option<InterfaceId>) -> Option<A> {
        self.interfaces.get(id?.place()).and_then(Interface::address)
    }

    /// Says which way was chosen, and by which route.
    #[inline]
    fn note_way(&mut self, to: A, way: Way) {
        let Self { stack, interfaces, watch, .. } = self;
        watch.note(Topic::Route, || match way {
            Way::Local => format!("{to} is this host's own address: in"),
            Way::Many => format!("{to} is no single host's address: in"),
            Way::Out(output) => {
                let route = stack.routes.network_of(to).map_or_else(String::new, |net| format!(" (route {net})"));
                format!("{to}: out by {}{route}", name(interfaces, Some(output)))
            }
            Way::None => format!("no route leads to {to}"),
        });
    }

    /// Whether a packet is short enough for its way out, or may be cut there.
    fn fits(&mut self, packet: &Packet, passage: &Passage<A>, output: InterfaceId) -> Result<(), Reason> {
        let mtu = self.interfaces[output.place()].mtu;
        if packet.bytes.len() <= usize::from(mtu) || passage.may_be_cut(packet, mtu) {
            return Ok(());
        }
        let length = packet.bytes.len();
        self.note(Topic::Route, || {
            format!("it has {length} bytes, the way out takes {mtu}, and it may not be fragmented")
        });
        self.complain(packet, passage, Trouble::TooBig { mtu });
        Err(Reason::TooBig)
    }

    #[inline]
    pub(super) fn note(&mut self, topic: Topic, text: impl FnOnce() -> String) {
        self.watch.note(topic, text);
    }
}

fn name(interfaces: &[Interface], id: Option<InterfaceId>) -> &str {
    id.and_then(|id| interfaces.get(id.place())).map_or("nowhere", |interface| &interface.name)
}
