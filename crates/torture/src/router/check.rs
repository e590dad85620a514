//! What must be true of connection tracking after every operation.

use std::collections::{BTreeMap, BTreeSet};

use pinhole_netfilter::conntrack::Conntrack;
use pinhole_netfilter::helper::Helper;
use pinhole_netfilter::table::FlowId;
use pinhole_netfilter::{Direction, Family, Fragment, Status, Tuple};
use pinhole_sansio::Instant;
use pinhole_wire::{Protocol, text};

const GRE: u8 = 47;

/// In which order flows have come, which their table does not say.
#[derive(Debug, Default)]
pub(super) struct Order {
    since: BTreeMap<FlowId, u64>,
    next: u64,
}

/// The flows before a packet.
pub(super) struct Before<A> {
    ids: BTreeSet<FlowId>,
    tuples: Vec<([Tuple<A>; 2], bool)>,
}

/// Remembers the flows that there are.
pub(super) fn before<A: Family>(conntrack: &Conntrack<A>) -> Before<A> {
    let ids = conntrack.table.iter().map(|(id, _)| id).collect();
    Before { ids, tuples: tuples(conntrack) }
}

/// The tuples of all flows, and whether a helper may change the ports of their packets.
fn tuples<A: Family>(conntrack: &Conntrack<A>) -> Vec<([Tuple<A>; 2], bool)> {
    let entry = |(id, flow): (FlowId, &pinhole_netfilter::table::Flow<A>)| {
        let extra = conntrack.table.place(id).and_then(|at| conntrack.table.extra(at));
        let helper = extra.and_then(|extra| extra.helper.as_ref()).map(|state| state.helper());
        (flow.tuples(), helper == Some(Helper::Sip))
    };
    conntrack.table.iter().map(entry).collect()
}

/// What holds after every operation.
pub(super) fn always<A: Family>(conntrack: &mut Conntrack<A>, order: &mut Order) {
    let table = &conntrack.table;
    table.audit().unwrap_or_else(|wrong| panic!("the table: {wrong}"));
    assert_eq!(table.len(), table.iter().count(), "no flow is left that belongs to no packet and is not found");
    order.since.retain(|id, _| table.place(*id).is_some());
    for (id, flow) in table.iter() {
        assert!(!flow.status.contains(Status::DYING), "who is leaving has left: {:?}", flow.tuples());
        order.since.entry(id).or_insert_with(|| {
            order.next += 1;
            order.next
        });
    }
    by_source(conntrack, order);
    for (id, expectation) in conntrack.expectations.iter() {
        let master = conntrack.table.place(expectation.master.into());
        let master = master.unwrap_or_else(|| panic!("{expectation} has no master"));
        let extra = conntrack.table.extra(master);
        assert!(extra.is_some_and(|extra| extra.helper.is_some()), "{expectation} has a master without a helper");
        assert!(conntrack.expectations.of_master(expectation.master).any(|(other, _)| other == id));
    }
}

/// Flows of the same source, newest first.
fn by_source<A: Family>(conntrack: &Conntrack<A>, order: &Order) {
    let mut sources: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for (id, flow) in conntrack.table.iter().filter(|(_, flow)| flow.status.contains(Status::SRC_NAT_DONE)) {
        let tuple = flow.tuple(Direction::Original);
        let zone = flow.zone.in_direction(Direction::Original);
        let source = (tuple.src, tuple.src_id, tuple.protocol, zone);
        sources.entry(source).or_default().push((order.since[&id], flow));
    }
    for (source, mut flows) in sources {
        flows.sort_by_key(|&(since, _)| core::cmp::Reverse(since));
        let expected = flows.iter().map(|(_, flow)| flow.tuples());
        let listed = conntrack.table.same_source(flows[0].1).map(|flow| flow.tuples());
        assert!(listed.eq(expected), "flows of {source:?} are listed newest first");
    }
}

/// Flows and expectations whose time is over are gone after a sweep.
pub(super) fn swept<A: Family>(conntrack: &Conntrack<A>, now: Instant) {
    for (_, flow) in conntrack.table.iter() {
        assert!(flow.expires > now, "its time is over: {:?}", flow.tuples());
    }
    for (_, expectation) in conntrack.expectations.iter() {
        assert!(expectation.expires > now, "its time is over: {expectation}");
    }
}

/// A packet that was dropped has begun no flow.
pub(super) fn dropped<A: Family>(conntrack: &Conntrack<A>, before: &Before<A>, sent: &[u8]) {
    for (id, flow) in conntrack.table.iter() {
        assert!(before.ids.contains(&id), "{} was dropped and has begun {:?}", text::write(sent), flow.tuples());
    }
}

/// A packet that was changed belongs to a flow, and looks as that flow's answers say.
pub(super) fn passed<A: Family>(conntrack: &Conntrack<A>, before: &Before<A>, sent: &[u8], became: &[u8]) {
    let (Ok(old), Ok(new)) = (A::headers(sent), A::headers(became)) else {
        panic!("{} became {}, which cannot be read", text::write(sent), text::write(became));
    };
    if old.fragment == Some(Fragment::Later) || is_error::<A>(old.protocol, &sent[old.offset..old.end]) {
        return;
    }
    let (Some(was), Some(is)) = (old.tuple(sent), new.tuple(became)) else { return };
    if was == is {
        return;
    }
    let Some(answer) = is.inverse() else { return };
    let now = tuples(conntrack);
    let fits = |(pair, moves): &([Tuple<A>; 2], bool)| {
        [(0, 1), (1, 0)].into_iter().any(|(own, other)| {
            let (own, other) = (pair[own], pair[other]);
            // ICMPv6's node information has an identifier in its tuple, and no translation of it (`icmpv6_manip_pkt`).
            let ids = *moves
                || is_node_information::<A>(&was)
                || other.dst_id == answer.dst_id && other.src_id == answer.src_id;
            if was.protocol == GRE {
                return (own.src, own.dst, other.src, other.dst) == (was.src, was.dst, answer.src, answer.dst);
            }
            own == was && (other.src, other.dst) == (answer.src, answer.dst) && ids
        })
    };
    assert!(
        now.iter().chain(&before.tuples).any(fits),
        "{} became {}, and no flow says so: {now:?}",
        text::write(sent),
        text::write(became)
    );
}

fn is_node_information<A: Family>(tuple: &Tuple<A>) -> bool {
    !A::IS_V4 && tuple.is_icmp() && matches!(tuple.dst_id >> 8, 139 | 140)
}

fn is_error<A: Family>(protocol: u8, body: &[u8]) -> bool {
    Protocol::from(protocol) == A::ICMP && body.first().is_none_or(|&kind| A::is_icmp_error(kind))
}
