//! A packet's way through the hooks, in the order of their priorities.

use pinhole_sansio::Instant;
use pinhole_wire::answer::Trouble;
use pinhole_wire::ip;

use super::answer;
use super::route::{Way, is_unicast};
use super::stack::Stack;
use super::{Outbox, Packet, Reason, Verdict};
use crate::conntrack::{Ask, Happened, Seen, Stopped, Unconfirmed, Untranslated};
use crate::headers::{Family, Headers};
use crate::interface::{Interface, InterfaceId};
use crate::nat::{Manip, Range};
use crate::rules::{
    AddressKind, Decision, Delivery, Device, Effect, Flow, Hook, Host, Subject, TableName, Template, Tracking,
    Translation,
};
use crate::status::{CtInfo, Direction};
use crate::tuple::Address;
use crate::watch::{Topic, Watch};

/// What belongs to one packet on its way.
struct Passage<A> {
    now: Instant,
    input: Option<InterfaceId>,
    output: Option<InterfaceId>,
    headers: Headers<A>,
    seen: Seen,
    template: Option<Template>,
    /// Whether every rule is noted (TRACE).
    traced: bool,
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
        let seen = Seen::Invalid;
        let mut passage =
            Passage { now, input: Some(input), output: None, headers, seen, template: None, traced: false };
        let mut walk = Walk { stack: self, interfaces, outbox, watch };
        let result = walk.receive(packet, &mut passage);
        self.conntrack.leave(now, passage.seen);
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
        let seen = Seen::Invalid;
        let mut passage = Passage { now, input: None, output: None, headers, seen, template: None, traced: false };
        let mut walk = Walk { stack: self, interfaces, outbox, watch };
        let result = walk.send(packet, &mut passage);
        self.conntrack.leave(now, passage.seen);
        result.unwrap_or_else(Verdict::Drop)
    }
}

/// A packet's way, and all that it can meet.
struct Walk<'a, A: Family, W> {
    stack: &'a mut Stack<A>,
    interfaces: &'a [Interface],
    outbox: &'a mut Outbox,
    watch: &'a mut W,
}

impl<A: Family, W: Watch> Walk<'_, A, W> {
    fn receive(&mut self, packet: &mut Packet, passage: &mut Passage<A>) -> Result<Verdict, Reason> {
        if !is_unicast(passage.headers.src) {
            return Err(Reason::NotUnicast);
        }
        self.note(Topic::Hook, || "PRE_ROUTING".into());
        self.ask(TableName::Raw, Hook::PreRouting, packet, passage)?;
        self.track(packet, passage, true)?;
        self.ask(TableName::Mangle, Hook::PreRouting, packet, passage)?;
        self.translate(Hook::PreRouting, packet, passage)?;
        match self.stack.routes.way(passage.headers.dst) {
            Way::Local | Way::Many => {
                self.note(Topic::Route, || "to this host".into());
                self.input(packet, passage)
            }
            Way::Out(output) => {
                passage.output = Some(output);
                let interfaces = self.interfaces;
                self.note(Topic::Route, || format!("out by {}", name(interfaces, Some(output))));
                self.forward(packet, passage, output)
            }
            Way::None => {
                if let Some(input) = passage.input {
                    answer::complain::<A>(packet, Trouble::HostUnreachable, input, self.interfaces, self.outbox);
                }
                Err(Reason::NoRoute)
            }
        }
    }

    fn input(&mut self, packet: &mut Packet, passage: &mut Passage<A>) -> Result<Verdict, Reason> {
        self.note(Topic::Hook, || "LOCAL_IN".into());
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
            self.complain(packet, passage, Trouble::TimeExceeded);
            return Err(Reason::TimeExceeded);
        }
        self.fits(packet, passage, output)?;
        if let Ok(mut ip) = ip::Packet::new_checked(&mut packet.bytes[..]) {
            let _ = ip.decrement_ttl();
        }
        passage.headers.ttl -= 1;
        self.note(Topic::Hook, || "FORWARD".into());
        self.ask(TableName::Mangle, Hook::Forward, packet, passage)?;
        self.ask(TableName::Filter, Hook::Forward, packet, passage)?;
        self.leave(packet, passage, output)
    }

    fn leave(&mut self, packet: &mut Packet, passage: &mut Passage<A>, output: InterfaceId) -> Result<Verdict, Reason> {
        self.note(Topic::Hook, || "POST_ROUTING".into());
        self.ask(TableName::Mangle, Hook::PostRouting, packet, passage)?;
        self.translate(Hook::PostRouting, packet, passage)?;
        self.confirm(packet, passage)?;
        Ok(Verdict::Forward(output))
    }

    fn send(&mut self, packet: &mut Packet, passage: &mut Passage<A>) -> Result<Verdict, Reason> {
        let Way::Out(output) = self.stack.routes.way(passage.headers.dst) else { return Err(Reason::NoRoute) };
        passage.output = Some(output);
        self.note(Topic::Hook, || "LOCAL_OUT".into());
        self.ask(TableName::Raw, Hook::Output, packet, passage)?;
        self.track(packet, passage, false)?;
        self.ask(TableName::Mangle, Hook::Output, packet, passage)?;
        self.translate(Hook::Output, packet, passage)?;
        self.ask(TableName::Filter, Hook::Output, packet, passage)?;
        match self.stack.routes.way(passage.headers.dst) {
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
        if passage.seen == Seen::Untracked {
            self.stack.said = Some(Seen::Untracked);
            return Ok(());
        }
        let ask = Ask { now: passage.now, template: passage.template.as_ref(), mark: packet.mark, arrives };
        let entered = self.stack.conntrack.enter(&ask, &packet.bytes, &passage.headers, self.watch);
        passage.seen = entered.map_err(|stopped| match stopped {
            Stopped::TableFull => Reason::TableFull,
            Stopped::Tracker => Reason::Tracker,
        })?;
        self.stack.said = Some(passage.seen);
        Ok(())
    }

    /// Decides a new flow's translation, and makes the packet look so (`nf_nat_inet_fn`).
    #[inline]
    fn translate(&mut self, hook: Hook, packet: &mut Packet, passage: &mut Passage<A>) -> Result<(), Reason> {
        let Seen::Flow { at, info } = passage.seen else { return Ok(()) };
        let manip = manip_at(hook);
        if self.stack.translates {
            let is_error = matches!(info, CtInfo::Related | CtInfo::RelatedReply)
                && pinhole_wire::Protocol::from(passage.headers.protocol) == A::ICMP;
            let is_first = matches!(info, CtInfo::New | CtInfo::Related) && !is_error;
            if is_first && !self.stack.conntrack.is_decided(at, manip) {
                self.decide(hook, manip, at, packet, passage)?;
            } else if !is_error {
                self.stays(at, info, hook, passage)?;
            }
        } else if self.stack.conntrack.table.is_empty() {
            return Ok(());
        }
        let Passage { headers, seen, .. } = passage;
        let translated = self.stack.conntrack.translate(&mut packet.bytes, headers, *seen, manip, self.watch);
        translated.map_err(|untranslated| match untranslated {
            Untranslated::IcmpError(refused) => Reason::IcmpError(refused),
            Untranslated::TooShort => Reason::TooShort,
        })
    }

    /// A masqueraded flow must not leave by another interface than before (`nf_nat_oif_changed`).
    #[inline]
    fn stays(&mut self, at: u32, info: CtInfo, hook: Hook, passage: &Passage<A>) -> Result<(), Reason> {
        let masquerade = self.stack.conntrack.table.flow(at).masquerade;
        let leaves = hook == Hook::PostRouting && info.direction() == Direction::Original;
        if leaves && masquerade.is_some() && masquerade != passage.output {
            self.stack.conntrack.table.flow_mut(at).status |= crate::Status::DYING;
            return Err(Reason::OtherInterface);
        }
        Ok(())
    }

    /// Asks the nat table how a new flow is translated.
    fn decide(
        &mut self,
        hook: Hook,
        manip: Manip,
        at: u32,
        packet: &mut Packet,
        passage: &mut Passage<A>,
    ) -> Result<(), Reason> {
        let now = passage.now;
        match self.run(TableName::Nat, hook, packet, passage) {
            Decision::Accept => {}
            Decision::Drop => return Err(Reason::Rule(TableName::Nat, hook)),
            Decision::Reject(_) => return Err(Reason::Rejected(TableName::Nat, hook)),
            Decision::Nat(translation) => {
                let range = match translation {
                    Translation::To(_, range) => range,
                    Translation::Masquerade(range) => {
                        let own = self.address_of(passage.output).ok_or(Reason::NoAddress)?;
                        self.stack.conntrack.table.flow_mut(at).masquerade = passage.output;
                        Range { addresses: Some((own, own)), ..range }
                    }
                    Translation::Redirect(range) => {
                        let own = match hook {
                            Hook::Output => loopback::<A>(),
                            _ => self.address_of(passage.input),
                        };
                        let own = own.ok_or(Reason::NoAddress)?;
                        Range { addresses: Some((own, own)), ..range }
                    }
                };
                let manip = translation.manip();
                self.note(Topic::Nat, || format!("a rule asks for {range}"));
                self.stack.conntrack.decide(now, at, &range, manip, self.watch);
            }
        }
        if !self.stack.conntrack.is_decided(at, manip) {
            self.stack.conntrack.bind_as_is(now, at, manip, self.watch);
        }
        Ok(())
    }

    #[inline]
    fn confirm(&mut self, packet: &mut Packet, passage: &mut Passage<A>) -> Result<(), Reason> {
        let Passage { now, headers, seen, .. } = passage;
        let confirmed = self.stack.conntrack.confirm(*now, &mut packet.bytes, headers, *seen, self.watch);
        *seen = confirmed.map_err(|unconfirmed| match unconfirmed {
            Unconfirmed::Clash => Reason::Clash,
            Unconfirmed::Helper => Reason::Helper,
        })?;
        Ok(())
    }

    /// Asks a table that filters, marks or prepares.
    #[inline]
    fn ask(
        &mut self,
        table: TableName,
        hook: Hook,
        packet: &mut Packet,
        passage: &mut Passage<A>,
    ) -> Result<(), Reason> {
        if !self.stack.is_busy(table, hook) {
            return Ok(());
        }
        match self.run(table, hook, packet, passage) {
            Decision::Accept | Decision::Nat(_) => Ok(()),
            Decision::Drop => Err(Reason::Rule(table, hook)),
            Decision::Reject(reject) => {
                if let Some(input) = passage.input {
                    answer::reject(packet, &passage.headers, reject, input, self.interfaces, self.outbox);
                }
                Err(Reason::Rejected(table, hook))
            }
        }
    }

    fn run(&mut self, table: TableName, hook: Hook, packet: &mut Packet, passage: &mut Passage<A>) -> Decision<A> {
        let (device, headers) = (|id: Option<InterfaceId>| device(self.interfaces, id), passage.headers);
        let Stack { conntrack, rules, routes, .. } = &mut *self.stack;
        let tracking = match passage.seen {
            Seen::Invalid => Tracking::Invalid,
            Seen::Untracked => Tracking::Untracked,
            Seen::Flow { at, info } => {
                let flow = conntrack.table.flow(at);
                let [original, reply] = flow.tuples();
                Tracking::Flow(Flow {
                    info,
                    status: flow.status,
                    original,
                    reply,
                    zone: flow.zone.id,
                    mark: flow.mark,
                    remaining: flow.remaining(passage.now),
                    master_helper: conntrack.table.extra(at).and_then(|extra| extra.master_helper),
                })
            }
        };
        let Packet { bytes, mark } = packet;
        let is_headless = headers.fragment == Some(crate::Fragment::Later);
        let subject = Subject {
            now: passage.now,
            input: device(passage.input),
            output: device(passage.output),
            src: headers.src,
            dst: headers.dst,
            protocol: headers.protocol,
            body: (!is_headless).then(|| headers.body(bytes)),
            length: bytes.len() as u32,
            ttl: headers.ttl,
            mark: *mark,
            delivery: Delivery::Unicast,
            tracking,
        };
        let (mut seen, mut flow_mark) = (passage.seen, None);
        let mut around = Around {
            now: passage.now,
            bytes,
            mark: *mark,
            seen: &mut seen,
            flow_mark: &mut flow_mark,
            template: &mut passage.template,
            traced: &mut passage.traced,
            outbox: self.outbox,
            kind: |address: A| kind(routes, address),
        };
        let decision = rules.run(table, hook, &subject, &mut around, self.watch);
        *mark = around.mark;
        passage.seen = seen;
        if let (Some(new), Seen::Flow { at, .. }) = (flow_mark, seen) {
            conntrack.table.flow_mut(at).mark = new;
            conntrack.happened(Happened::MARK);
        }
        decision
    }

    fn address_of(&self, id: Option<InterfaceId>) -> Option<A> {
        self.interfaces.get(id?.place()).and_then(Interface::address)
    }

    /// Tells the sender of a packet what is wrong with it.
    fn complain(&mut self, packet: &Packet, passage: &Passage<A>, trouble: Trouble) {
        if let Some(input) = passage.input {
            answer::complain::<A>(packet, trouble, input, self.interfaces, self.outbox);
        }
    }

    /// Whether a packet is short enough for its way out, or may be cut there.
    fn fits(&mut self, packet: &Packet, passage: &Passage<A>, output: InterfaceId) -> Result<(), Reason> {
        let mtu = self.interfaces[output.place()].mtu;
        let may_be_cut = A::IS_V4 && packet.bytes[6] & 0x40 == 0;
        if packet.bytes.len() <= usize::from(mtu) || may_be_cut {
            return Ok(());
        }
        self.complain(packet, passage, Trouble::TooBig { mtu });
        Err(Reason::TooBig)
    }

    #[inline]
    fn note(&mut self, topic: Topic, text: impl FnOnce() -> String) {
        self.watch.note(topic, text);
    }
}

/// What rules can do to a packet and to what is around it.
struct Around<'a, K> {
    now: Instant,
    bytes: &'a [u8],
    mark: u32,
    seen: &'a mut Seen,
    flow_mark: &'a mut Option<u32>,
    template: &'a mut Option<Template>,
    traced: &'a mut bool,
    outbox: &'a mut Outbox,
    kind: K,
}

impl<A: Address, K: Fn(A) -> AddressKind> Host<A> for Around<'_, K> {
    fn kind(&mut self, address: A, _: Option<Device>) -> AddressKind {
        (self.kind)(address)
    }

    fn apply(&mut self, effect: Effect<'_>) {
        match effect {
            Effect::Mark(mark) => self.mark = mark,
            Effect::FlowMark(mark) => *self.flow_mark = Some(mark),
            Effect::Untrack => *self.seen = Seen::Untracked,
            Effect::Template(template) => *self.template = Some(template.clone()),
            Effect::Log(log) => self.outbox.log(self.now, log, self.bytes),
            Effect::Trace => *self.traced = true,
        }
    }
}

fn kind<A: Family>(routes: &super::route::Routes<A>, address: A) -> AddressKind {
    if routes.is_local(address) {
        AddressKind::Local
    } else if routes.is_broadcast(address) || matches!(address.into(), core::net::IpAddr::V4(v4) if v4.is_broadcast()) {
        AddressKind::Broadcast
    } else if address.into().is_multicast() {
        AddressKind::Multicast
    } else {
        AddressKind::Unicast
    }
}

fn loopback<A: Address>() -> Option<A> {
    A::of(core::net::Ipv4Addr::LOCALHOST.into()).or_else(|| A::of(core::net::Ipv6Addr::LOCALHOST.into()))
}

const fn manip_at(hook: Hook) -> Manip {
    match hook {
        Hook::PreRouting | Hook::Output => Manip::Destination,
        Hook::Input | Hook::Forward | Hook::PostRouting => Manip::Source,
    }
}

#[inline]
fn device(interfaces: &[Interface], id: Option<InterfaceId>) -> Device {
    id.and_then(|id| interfaces.get(id.place())).map_or(Device::NONE, Interface::device)
}

fn name(interfaces: &[Interface], id: Option<InterfaceId>) -> &str {
    id.and_then(|id| interfaces.get(id.place())).map_or("nowhere", |interface| &interface.name)
}
