//! A packet's way through the hooks, in the order of their priorities.

use pinhole_sansio::Instant;
use pinhole_wire::answer::Trouble;

use super::answer;
use super::fragments::Gathered;
use super::route::Way;
use super::stack::Stack;
use super::{Outbox, Packet, Reason, Verdict};
use crate::conntrack::{Ask, Happened, Seen, Stopped, Unconfirmed, Untranslated};
use crate::explain::{Ending, FlowState};
use crate::fragment::{Place, Whole};
use crate::headers::{Family, Headers};
use crate::interface::{Interface, InterfaceId};
use crate::nat::{Manip, Range};
use crate::rules::{
    AddressKind, Decision, Delivery, Device, Effect, Flow, Hook, Host, Reject, Subject, TableName, Template, Tracking,
    Translation,
};
use crate::script::Info;
use crate::status::{CtInfo, Direction, Status};
use crate::tuple::Address;
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
        } else {
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
            self.stack.conntrack.table.flow_mut(at).status |= Status::DYING;
            let [old, new] = [masquerade, passage.output].map(|id| name(self.interfaces, id));
            self.watch.note(Topic::Nat, || {
                format!("its flow is masqueraded behind {old}, and it leaves by {new}: the flow and the packet go")
            });
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
        let length = packet.bytes.len() as u32;
        let decision = match self.stack.rules.run_empty(TableName::Nat, hook, length, self.watch) {
            Some(decision) => decision,
            None => self.run(TableName::Nat, hook, packet, passage),
        };
        match decision {
            Decision::Accept => {}
            Decision::Drop => return Err(Reason::Rule(TableName::Nat, hook)),
            Decision::Reject(_) => return Err(Reason::Rejected(TableName::Nat, hook)),
            Decision::Nat(translation) => {
                let range = match translation {
                    Translation::To(_, range) => range,
                    Translation::Masquerade(range) => {
                        let own = self.address_of(passage.output);
                        self.note_own("masquerade", passage.output, own);
                        let own = own.ok_or(Reason::NoAddress)?;
                        self.stack.conntrack.table.flow_mut(at).masquerade = passage.output;
                        Range { addresses: Some((own, own)), ..range }
                    }
                    Translation::Redirect(range) => {
                        let own = match hook {
                            Hook::Output => loopback::<A>(),
                            Hook::PreRouting | Hook::Input | Hook::Forward | Hook::PostRouting => {
                                self.address_of(passage.input)
                            }
                        };
                        self.note_own("redirect", passage.input, own);
                        let own = own.ok_or(Reason::NoAddress)?;
                        Range { addresses: Some((own, own)), ..range }
                    }
                };
                let manip = translation.manip();
                self.note(Topic::Nat, || format!("the rule allows as {manip}: {range}"));
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

    /// Asks a table that filters, marks or prepares, if it may have something to say.
    #[inline(always)]
    fn ask(
        &mut self,
        table: TableName,
        hook: Hook,
        packet: &mut Packet,
        passage: &mut Passage<A>,
    ) -> Result<(), Reason> {
        if !self.stack.is_busy(table, hook) {
            self.note(Topic::Tried, || format!("{table}: no chain at {hook}"));
            return Ok(());
        }
        self.obey(table, hook, packet, passage)
    }

    /// Does what a table says.
    #[inline(never)]
    fn obey(
        &mut self,
        table: TableName,
        hook: Hook,
        packet: &mut Packet,
        passage: &mut Passage<A>,
    ) -> Result<(), Reason> {
        match self.run(table, hook, packet, passage) {
            Decision::Accept | Decision::Nat(_) => Ok(()),
            Decision::Drop => Err(Reason::Rule(table, hook)),
            Decision::Reject(reject) => {
                self.reject(packet, passage, reject);
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
        let Packet { bytes, mark, .. } = packet;
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

    /// Says which of the router's addresses is used.
    #[inline]
    fn note_own(&mut self, what: &str, id: Option<InterfaceId>, own: Option<A>) {
        let interface = name(self.interfaces, id);
        self.watch.note(Topic::Nat, || match own {
            Some(own) => format!("{what}: the address of {interface} is {own}"),
            None => format!("{what}: {interface} has no address"),
        });
    }

    /// Tells the sender of a packet what is wrong with it.
    pub(super) fn complain(&mut self, packet: &Packet, passage: &Passage<A>, trouble: Trouble) {
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
    fn reject(&mut self, packet: &Packet, passage: &Passage<A>, reject: Reject) {
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
    pub(super) fn emit(&mut self, now: Instant, bytes: Vec<u8>, attached: Seen) {
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

/// What rules can do to a packet and to what is around it.
struct Around<'a, K> {
    now: Instant,
    bytes: &'a [u8],
    mark: u32,
    seen: &'a mut Seen,
    flow_mark: &'a mut Option<u32>,
    template: &'a mut Option<Box<Template>>,
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
            Effect::Template(template) => *self.template = Some(Box::new(template.clone())),
            Effect::Log(log) => self.outbox.log(self.now, log, self.bytes),
            Effect::Trace => *self.traced = true,
        }
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
