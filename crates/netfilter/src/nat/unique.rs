//! The search for a tuple that a rule allows and that no other flow uses (`get_unique_tuple` and
//! `nf_nat_l4proto_unique_tuple` in `net/netfilter/nf_nat_core.c`).

use core::fmt;

use pinhole_sansio::Instant;

use super::{Dice, Manip, Range, Which, spread};
use crate::headers::ip;
use crate::settings::{Clash, Personality, PortSearch};
use crate::status::{Direction, Status};
use crate::table::{Flow, Source, Table, Zone};
use crate::track::TcpState;
use crate::tuple::{Address, GRE, Tuple};
use crate::watch::{Topic, Watch};

/// The longest round of a search (`NF_NAT_MAX_ATTEMPTS`); each further one has half as many tries.
const LONGEST_ROUND: u32 = 128;
/// A round with fewer tries than this is the last one.
const SHORTEST_ROUND: u32 = 16;
/// With so many tries left in a round, flows that are as good as over are evicted (`NF_NAT_HARDER_THRESH`).
const HARDER: u32 = 32;

/// What a flow's packets become: `current`, with the end that is translated as `range` allows it and, if there is one, as no
/// other flow has it. `source` is what is known of the flow's source, if that is translated; else it is the destination.
pub(crate) fn unique<A: Address, W: Watch>(
    table: &mut Table<A>,
    search: &mut Search<'_, W>,
    at: u32,
    current: &Tuple<A>,
    range: &Range<A>,
    source: Option<&Source>,
) -> Tuple<A> {
    let flow = table.flow(at);
    let own = Own { at, tuples: flow.tuples(), zone: flow.zone };
    let manip = if source.is_some() { Manip::Source } else { Manip::Destination };
    let is_random = matches!(range.which, Which::Random | Which::FullyRandom);
    if let Some(source) = source
        && !is_random
    {
        if in_range(current, range, search.personality) {
            if !is_taken_for_good(table, search, &own, current) {
                search.say(|| format!("{current} is allowed as it is, and no other flow has it: it stays"));
                return *current;
            }
            let now = search.now;
            search.say(|| format!("{current} is allowed as it is, but taken{}", by_whom(table, now, &own, current)));
        } else if let Some(same) = of_same_source(table, source, current, range, search.personality) {
            let (now, [from, to]) = (search.now, [current, &same]);
            if !is_taken(table, now, &own, &same) {
                search
                    .say(|| format!("the last flow from {} became {}: so does this one", from.src_end(), to.src_end()));
                return same;
            }
            search.say(|| {
                let (from, to) = (from.src_end(), to.src_end());
                format!(
                    "the last flow from {from} became {to}, but {same} is taken{}",
                    by_whom(table, now, &own, &same)
                )
            });
        }
    }
    let mut tuple = *current;
    choose_address(&mut tuple, range, manip, own.zone.id);
    if !W::LISTENS && !is_random && range.ports.is_none() && candidates(&tuple, range, manip, search).is_none() {
        // There is no port to choose: whether it is taken makes no difference.
        return tuple;
    }
    if !is_random {
        match range.ports {
            Some((min, max)) if !matches!(range.which, Which::Shifted { .. }) => {
                let (min, max) = (min.min(max), min.max(max));
                let fits = (min..=max).contains(port(&tuple, manip));
                if min == max && !fits {
                    search.say(|| format!("the rule has one port, {min}"));
                }
                // A range of one port is not tested: if it is taken, confirm will find out.
                if fits && (min == max || !is_taken(table, search.now, &own, &tuple)) {
                    let untested = if min == max { ", and one port is not tested for others that have it" } else { "" };
                    search.say(|| format!("the port is in the range{untested}: {tuple}"));
                    return tuple;
                }
            }
            Some(_) => {}
            None if !is_taken(table, search.now, &own, &tuple) => {
                search.say(|| format!("the port may stay: no other flow has {tuple}"));
                return tuple;
            }
            None => {
                let now = search.now;
                search.say(|| format!("the port cannot stay: {tuple} is taken{}", by_whom(table, now, &own, &tuple)));
            }
        }
    }
    search_port(table, search, &own, &mut tuple, range, manip);
    tuple
}

/// The flow that something is searched for, as it is before.
struct Own<A> {
    at: u32,
    tuples: [Tuple<A>; 2],
    zone: Zone,
}

impl<A: Address> Own<A> {
    const fn tuple(&self, direction: Direction) -> Tuple<A> {
        self.tuples[direction.index()]
    }
}

/// What a search works with.
pub(crate) struct Search<'a, W> {
    pub(crate) now: Instant,
    pub(crate) dice: &'a mut Dice,
    pub(crate) personality: &'a Personality,
    /// Whether the flow was announced by another one.
    pub(crate) is_child: bool,
    pub(crate) watch: &'a mut W,
}

impl<W: Watch> Search<'_, W> {
    fn say<N: fmt::Display>(&mut self, note: impl FnOnce() -> N) {
        self.watch.note(Topic::Nat, note);
    }
}

/// Who has a tuple, in words.
#[cold]
fn by_whom<A: Address>(table: &mut Table<A>, now: Instant, own: &Own<A>, tuple: &Tuple<A>) -> String {
    let Some((at, _)) = taker(table, now, own, tuple) else { return String::new() };
    let other = table.flow(at).tuple(Direction::Original);
    format!(": its answers would be taken for packets of the flow {other}")
}

/// The ports that a search goes through.
struct Candidates {
    min: u16,
    size: u32,
}

fn candidates<A: Address, W: Watch>(
    tuple: &Tuple<A>,
    range: &Range<A>,
    manip: Manip,
    search: &Search<'_, W>,
) -> Option<Candidates> {
    let between = |(a, b): (u16, u16)| {
        let (min, max) = (a.min(b), a.max(b));
        Candidates { min, size: u32::from(max - min) + 1 }
    };
    let named = range.ports.map(between);
    if tuple.is_icmp() {
        return Some(named.unwrap_or(Candidates { min: 0, size: 65_536 }));
    }
    if tuple.protocol == GRE {
        // Without a master this is not PPTP's, and its keys are not ours to change.
        return search.is_child.then(|| named.unwrap_or(Candidates { min: 1, size: 65_535 }));
    }
    if !search.personality.has_ports(tuple.protocol) {
        return None;
    }
    if named.is_some() {
        return named;
    }
    match (manip, *port(tuple, manip)) {
        // Without ports in the rule the destination's stays.
        (Manip::Destination, _) => None,
        (Manip::Source, 0..512) => Some(between((1, 511))),
        (Manip::Source, 512..1_024) => Some(between((600, 1_023))),
        (Manip::Source, 1_024..) => Some(between((1_024, 65_535))),
    }
}

fn search_port<A: Address, W: Watch>(
    table: &mut Table<A>,
    search: &mut Search<'_, W>,
    own: &Own<A>,
    tuple: &mut Tuple<A>,
    range: &Range<A>,
    manip: Manip,
) {
    let Some(Candidates { min, size }) = candidates(tuple, range, manip, search) else {
        search.say(|| format!("there is no port to choose: it is {tuple}"));
        return;
    };
    let is_random = matches!(range.which, Which::Random | Which::FullyRandom);
    let starts_at_random = is_random || manip == Manip::Source && range.which == Which::Same;
    let mut offset = match range.which {
        Which::Shifted { base } => port(tuple, manip).wrapping_sub(base),
        Which::Random | Which::FullyRandom => search.dice.start(manip, min, size),
        Which::Same if is_random || manip == Manip::Source => search.dice.start(manip, min, size),
        Which::Same => 0,
    };
    let longest = match search.personality.port_search {
        PortSearch::Windows => LONGEST_ROUND,
        PortSearch::Sequential => size,
    };
    let (mut tries, mut tried) = (size.min(longest), 0);
    loop {
        for n in 0..tries {
            *port_mut(tuple, manip) = min.wrapping_add((u32::from(offset) % size) as u16);
            offset = offset.wrapping_add(1);
            tried += 1;
            if !is_taken_or_evicted(table, search, own, tuple, tries - n) {
                search.say(|| {
                    let (last, start) = (last(min, size), if starts_at_random { " from a random start" } else { "" });
                    format!("searched in {min}-{last}{start}: {} is free, at try {tried}", port(tuple, manip))
                });
                return;
            }
        }
        if tries >= size || tries < SHORTEST_ROUND {
            search.say(|| {
                format!("no free port in {min}-{} after {tried} tries: given up, it will clash", last(min, size))
            });
            return;
        }
        tries /= 2;
        offset = search.dice.start(manip, min, size);
    }
}

const fn last(min: u16, size: u32) -> u32 {
    min as u32 + size - 1
}

/// The port that is translated: ICMP's identifier counts as one.
const fn port<A>(tuple: &Tuple<A>, manip: Manip) -> &u16 {
    match manip {
        Manip::Source => &tuple.src_id,
        Manip::Destination => &tuple.dst_id,
    }
}

fn port_mut<A: Address>(tuple: &mut Tuple<A>, manip: Manip) -> &mut u16 {
    if tuple.is_icmp() {
        return &mut tuple.src_id;
    }
    match manip {
        Manip::Source => &mut tuple.src_id,
        Manip::Destination => &mut tuple.dst_id,
    }
}

/// Whether a source is one that the range allows (`nf_in_range`).
fn in_range<A: Address>(tuple: &Tuple<A>, range: &Range<A>, personality: &Personality) -> bool {
    let address = range.addresses.is_none_or(|(min, max)| (min..=max).contains(&tuple.src));
    let has_port = personality.has_ports(tuple.protocol) || tuple.is_icmp() || tuple.protocol == GRE;
    let port = range.ports.is_none_or(|(a, b)| !has_port || (a.min(b)..=a.max(b)).contains(&tuple.src_id));
    address && port
}

/// What the newest flow from the same source endpoint has become, if the range allows it (`find_appropriate_src`).
fn of_same_source<A: Address>(
    table: &Table<A>,
    source: &Source,
    current: &Tuple<A>,
    range: &Range<A>,
    personality: &Personality,
) -> Option<Tuple<A>> {
    table.of_source(source).find_map(|flow| {
        let seen = flow.tuple(Direction::Reply).inverse()?;
        let same = Tuple { src: seen.src, src_id: seen.src_id, ..*current };
        in_range(&same, range, personality).then_some(same)
    })
}

/// The address of a range for a flow: always the same for the same source and, unless the range is persistent, the same
/// destination (`find_best_ips_proto`).
fn choose_address<A: Address>(tuple: &mut Tuple<A>, range: &Range<A>, manip: Manip, zone: u16) {
    let Some((min, max)) = range.addresses else { return };
    let (src, dst) = (tuple.src, tuple.dst);
    let address = match manip {
        Manip::Source => &mut tuple.src,
        Manip::Destination => &mut tuple.dst,
    };
    let (low, high) = (min.to_number(), max.to_number());
    if range.netmap {
        let mask = low ^ high;
        *address = A::of_number(low & !mask | address.to_number() & mask);
        return;
    }
    if low == high {
        *address = min;
        return;
    }
    *address = spread::address(src, dst, (min, max), manip, (!range.persistent).then_some(zone));
}

/// Whether another flow's packets look like answers to `tuple` (`nf_nat_used_tuple`).
fn is_taken<A: Address>(table: &mut Table<A>, now: Instant, own: &Own<A>, tuple: &Tuple<A>) -> bool {
    taker(table, now, own, tuple).is_some()
}

/// The flow, and its direction, whose packets look like answers to `tuple`. One with the same original tuple is the same
/// flow, about to clash, which confirm sorts out.
fn taker<A: Address>(table: &mut Table<A>, now: Instant, own: &Own<A>, tuple: &Tuple<A>) -> Option<(u32, Direction)> {
    let answer = tuple.inverse()?;
    let (at, direction) = table.find_in(now, &answer, own.zone, Direction::Reply)?;
    let same = table.flow(at).tuple(Direction::Original) == own.tuple(Direction::Original);
    (!same).then_some((at, direction))
}

/// The same for a tuple that would stay as it is: a flow that is exactly the reverse of this one, neither of them
/// translated, does not stand in its way if the protocol's clashes are resolved (`nf_nat_used_tuple_new`).
fn is_taken_for_good<A: Address, W: Watch>(
    table: &mut Table<A>,
    search: &Search<'_, W>,
    own: &Own<A>,
    tuple: &Tuple<A>,
) -> bool {
    if !is_taken(table, search.now, own, tuple) {
        return false;
    }
    if !search.personality.spares_reverse || !allows_clash(table.flow(own.at), search.personality) {
        return true;
    }
    // The flow that is looked at is the one that the tuple finds, or else its answer: where directions are in zones of their
    // own, that need not be the one that has the tuple.
    let mut found = |tuple: &Tuple<A>| {
        let found = table.find_in(search.now, tuple, own.zone, Direction::Original);
        found.or_else(|| own.zone.only.and_then(|_| table.find_in(search.now, tuple, own.zone, Direction::Reply)))
    };
    let Some((at, _)) = found(tuple).or_else(|| found(&tuple.inverse()?)) else { return false };
    let other = table.flow(at);
    let is_reverse = other.tuple(Direction::Original) == own.tuple(Direction::Reply)
        && other.tuple(Direction::Reply) == own.tuple(Direction::Original);
    other.status.intersects(Status::NAT | Status::SEQ_ADJUST) || !is_reverse
}

/// Whether clashes of a flow's protocol are resolved at confirm (`allow_clash` of its tracker).
pub(crate) fn allows_clash<A: Address>(flow: &Flow<A>, personality: &Personality) -> bool {
    let is_icmp = flow.tuple(Direction::Original).is_icmp();
    match personality.clash {
        Clash::Never => false,
        Clash::Datagrams => !is_icmp && is_datagram(flow.protocol()),
        Clash::DatagramsAndIcmp => is_icmp || is_datagram(flow.protocol()),
    }
}

/// UDP, UDP-Lite, GRE and all protocols without a tracker of their own.
const fn is_datagram(protocol: u8) -> bool {
    !matches!(protocol, 1 | 6 | 58 | crate::tuple::SCTP | crate::tuple::DCCP)
}

/// Whether `tuple` is taken, after a flow that is as good as over has made way for a new connection whose sequence number
/// is ahead (`nf_nat_used_tuple_harder`).
fn is_taken_or_evicted<A: Address, W: Watch>(
    table: &mut Table<A>,
    search: &Search<'_, W>,
    own: &Own<A>,
    tuple: &Tuple<A>,
    tries_left: u32,
) -> bool {
    let Some((at, direction)) = taker(table, search.now, own, tuple) else { return false };
    if !search.personality.evicts_closing {
        return true;
    }
    let (Some(new), Some(old)) = (table.flow(own.at).state.tcp(), table.flow(at).state.tcp()) else { return true };
    if tries_left > HARDER || new.state() != TcpState::SynSent || direction == Direction::Original {
        return true;
    }
    let status = table.flow(at).status;
    let may_go = old.may_be_evicted()
        && status.contains(Status::SRC_NAT)
        && !status.intersects(Status::FIXED_TIMEOUT | Status::DYING | Status::OFFLOAD);
    let [new_end, old_end] = [new, old].map(|tcp| tcp.side(Direction::Original).end);
    if !may_go || (new_end.wrapping_sub(old_end) as i32) <= 0 {
        return true;
    }
    table.expire(at);
    false
}

/// In words, for whoever wants to know why.
impl<A: Address> fmt::Display for Range<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addresses {
            None => f.write_str("the same address")?,
            Some((min, max)) if min == max => write!(f, "{}", ip(min))?,
            Some((min, max)) => write!(f, "{}-{}", ip(min), ip(max))?,
        }
        match self.ports {
            None => {}
            Some((min, max)) if min == max => write!(f, ", port {min}")?,
            Some((min, max)) => write!(f, ", ports {min}-{max}")?,
        }
        match self.which {
            Which::Same => {}
            Which::Random => f.write_str(", at random")?,
            Which::FullyRandom => f.write_str(", fully at random")?,
            Which::Shifted { base } => write!(f, ", shifted from {base}")?,
        }
        f.write_str(if self.persistent { ", persistent" } else { "" })
    }
}
