//! What the tables are asked about a packet, and what they do to it and to its flow.

use pinhole_sansio::Instant;

use super::{Passage, Walk};
use crate::conntrack::{Happened, Seen};
use crate::headers::Family;
use crate::interface::{Interface, InterfaceId};
use crate::router::route::Routes;
use crate::router::stack::Stack;
use crate::router::{Outbox, Packet, Reason};
use crate::rules::{
    AddressKind, Decision, Delivery, Device, Effect, Flow, Hook, Host, Subject, TableName, Template, Tracking,
};
use crate::tuple::Address;
use crate::watch::{Topic, Watch};

impl<A: Family, W: Watch> Walk<'_, A, W> {
    /// Asks a table that filters, marks or prepares, if it may have something to say.
    #[inline(always)]
    pub(super) fn ask(
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

    pub(super) fn run(
        &mut self,
        table: TableName,
        hook: Hook,
        packet: &mut Packet,
        passage: &mut Passage<A>,
    ) -> Decision<A> {
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

fn kind<A: Family>(routes: &Routes<A>, address: A) -> AddressKind {
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

#[inline]
fn device(interfaces: &[Interface], id: Option<InterfaceId>) -> Device {
    id.and_then(|id| interfaces.get(id.place())).map_or(Device::NONE, Interface::device)
}
