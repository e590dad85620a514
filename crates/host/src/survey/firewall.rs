//! What this host's own filter does with packets to itself: the chains of nf_tables, followed as a packet would follow them.
//!
//! The rules are read by netlink, and a UDP packet of which only some fields are known is sent through them in thought. A rule
//! that asks for something unknown (another address, a rate, a set that could not be read) may match or not: if the packet's
//! fate depends on that, the fate is unclear, and says where.
//!
//! Not here: the old ip_tables without nf_tables, of which is only seen that there are rules; bridges, devices' ingress hooks, eBPF.

mod read;
mod rule;

use std::net::Ipv4Addr;

use pinhole_traversal::diagnosis::facts::{Fate, Firewall};

use crate::netlink::Error;
use crate::netlink::route::{self, link};
use rule::{Expression, Match, Packet, Verdict};

/// Jumps deeper than this are not followed; the kernel allows 16 (`NFT_JUMP_STACK_SIZE`).
const MAX_DEPTH: usize = 16;
/// Hooks (include/uapi/linux/netfilter.h).
const PREROUTING: u32 = 0;
const LOCAL_IN: u32 = 1;
const POSTROUTING: u32 = 4;

/// What the filter is asked about.
#[derive(Clone, Debug)]
pub struct Question<'a> {
    /// The interface by which packets come in.
    pub interface: &'a str,
    /// The address that they are for.
    pub own: Option<Ipv4Addr>,
    /// The port that is to be reached.
    pub port: u16,
}

/// A chain with its rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chain {
    family: u8,
    table: String,
    name: String,
    /// Hook and priority of a base chain.
    hook: Option<(u32, i32)>,
    drops: bool,
    kind: String,
    rules: Vec<Vec<Expression>>,
}

/// Reads the rules and follows them.
pub fn look(question: &Question<'_>) -> Firewall {
    match read::chains() {
        Ok(chains) => judge(&chains, question, has_old_rules()),
        Err(error) if error.is_permission() => Firewall::Hidden,
        // EPROTONOSUPPORT, or EINVAL for a subsystem that is not there: no filter of this kind.
        Err(error) if error.is_unsupported() => match has_old_rules() {
            true => judge(&[], question, true),
            false => Firewall::Unsupported,
        },
        Err(Error::Socket(_) | Error::Kernel { .. } | Error::Malformed(_) | Error::Overrun) => Firewall::Unsupported,
    }
}

/// Whether the old ip_tables have a filter table in this network namespace.
fn has_old_rules() -> bool {
    let names = std::fs::read_to_string("/proc/thread-self/net/ip_tables_names").unwrap_or_default();
    names.lines().any(|name| name == "filter")
}

fn judge(chains: &[Chain], question: &Question<'_>, has_old_rules: bool) -> Firewall {
    /// No service has it by default, and no rule names it.
    const ELSEWHERE: u16 = 9;
    let index = route::open().and_then(|mut socket| link::find(&mut socket, question.interface));
    let index = index.map_or(0, |link| link.index);
    let packet = |port, state| Packet { interface: question.interface, index, own: question.own, port, state };
    let fate = |port, state| match input(chains, &packet(port, state)) {
        Fate::Accepted if has_old_rules => Fate::Unclear { by: "ip_tables filter INPUT".into() },
        fate => fate,
    };
    let masquerades = chains.iter().any(|chain| {
        let is_nat = chain.kind == "nat" && chain.hook.is_some_and(|(hook, _)| hook == POSTROUTING);
        let family = |other: &&Chain| other.family == chain.family && other.table == chain.table;
        // Rules may be in chains that are jumped to.
        is_nat && chains.iter().filter(family).flat_map(|chain| &chain.rules).flatten().any(Expression::translates)
    });
    Firewall::Seen {
        stranger: fate(question.port, rule::NEW),
        answer: fate(question.port, rule::ESTABLISHED),
        elsewhere: fate(ELSEWHERE, rule::NEW),
        masquerades,
    }
}

/// What becomes of a packet that comes in.
fn input(chains: &[Chain], packet: &Packet<'_>) -> Fate {
    let mut base: Vec<(u32, i32, &Chain)> = chains
        .iter()
        .filter(|chain| chain.kind == "filter")
        .filter_map(|chain| chain.hook.map(|(hook, priority)| (hook, priority, chain)))
        .filter(|(hook, ..)| matches!(*hook, PREROUTING | LOCAL_IN))
        .collect();
    base.sort_by_key(|&(hook, priority, _)| (hook, priority));
    for (.., chain) in base {
        let by = || format!("{} {} {}", rule::family(chain.family), chain.table, chain.name);
        match walk(chains, chain, packet, 0) {
            Walk::Accept => {}
            Walk::Drop => return Fate::Dropped { by: by() },
            Walk::Unclear => return Fate::Unclear { by: by() },
            Walk::Return if chain.drops => return Fate::Dropped { by: by() },
            Walk::Return => {}
        }
    }
    Fate::Accepted
}

/// How a walk through a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Walk {
    Accept,
    Drop,
    /// At the chain's end, or by a return.
    Return,
    Unclear,
}

fn walk(chains: &[Chain], chain: &Chain, packet: &Packet<'_>, depth: usize) -> Walk {
    if depth > MAX_DEPTH {
        return Walk::Unclear;
    }
    // What rules that may or may not match would do with it.
    let mut maybe: Vec<Walk> = Vec::new();
    let mut end = Walk::Return;
    for rule in &chain.rules {
        let (matches, verdict) = rule::evaluate(rule, packet);
        let outcome = match verdict {
            Verdict::Continue => continue,
            Verdict::Accept => Walk::Accept,
            Verdict::Drop => Walk::Drop,
            Verdict::Return => Walk::Return,
            Verdict::Unknown => Walk::Unclear,
            Verdict::Jump(name) | Verdict::Goto(name) if matches != Match::No => {
                let is_target =
                    |other: &&Chain| other.family == chain.family && other.table == chain.table && other.name == *name;
                let inner = chains
                    .iter()
                    .find(is_target)
                    .map_or(Walk::Unclear, |target| walk(chains, target, packet, depth + 1));
                match (inner, verdict) {
                    (Walk::Return, Verdict::Jump(_)) => continue,
                    (inner, _) => inner,
                }
            }
            Verdict::Jump(_) | Verdict::Goto(_) => continue,
        };
        match matches {
            Match::No => {}
            Match::Maybe => maybe.push(outcome),
            Match::Yes => {
                end = outcome;
                break;
            }
        }
    }
    let unsettled = |at_end: Walk| maybe.iter().any(|&other| resolved(other, chain) != resolved(at_end, chain));
    if unsettled(end) { Walk::Unclear } else { end }
}

/// What an end means in a base chain; in another one a return goes on with the caller.
fn resolved(walk: Walk, chain: &Chain) -> Walk {
    match walk {
        Walk::Return if chain.hook.is_some() => {
            if chain.drops {
                Walk::Drop
            } else {
                Walk::Accept
            }
        }
        Walk::Accept | Walk::Drop | Walk::Return | Walk::Unclear => walk,
    }
}

#[cfg(test)]
mod tests;
