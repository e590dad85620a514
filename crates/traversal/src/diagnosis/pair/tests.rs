//! The verdicts, all of them: as a table to read, by what must hold for any, and against NATs that are played.

mod play;

use core::net::IpAddr;

use super::super::facts::Dependence;
use super::super::facts::Dependence::AddressAndPortDependent;
use super::*;

/// Every NAT that differs, the most open first; ports matter only where the mapping depends.
fn nats() -> Vec<Side> {
    let mut nats: Vec<Side> = Dependence::ALL
        .into_iter()
        .map(|filtering| Side::behind(EndpointIndependent, filtering, Allocation::Preserving))
        .collect();
    for mapping in [AddressDependent, AddressAndPortDependent] {
        for filtering in Dependence::ALL {
            let side = |allocation| Side::behind(mapping, filtering, allocation);
            nats.extend(Allocation::ALL.map(side));
        }
    }
    nats
}

fn name(side: &Side) -> String {
    let short = |dependence: Option<Dependence>| match dependence {
        Some(EndpointIndependent) => "EI",
        Some(AddressDependent) => "AD",
        Some(AddressAndPortDependent) => "APD",
        None => "?",
    };
    let ports = match (side.mapping, side.allocation) {
        (Some(EndpointIndependent), _) | (_, None) => "",
        (_, Some(Allocation::Preserving)) => " kept",
        (_, Some(Allocation::Sequential)) => " counted",
        (_, Some(Allocation::Block)) => " block",
        (_, Some(Allocation::Random)) => " random",
    };
    format!("{}/{}{ports}", short(side.mapping), short(side.filtering))
}

/// `c` call, `p` punch, `o` open for an address, `g` guess, `s` spray, `-` relay; capitals are sure.
fn letter(verdict: &Verdict) -> char {
    let (letter, is_sure) = match verdict.outcome {
        Outcome::Direct { way, is_sure } => match way {
            Way::Call(_) => ('c', is_sure),
            Way::Punch => ('p', is_sure),
            Way::OpenAddress(_) => ('o', is_sure),
            Way::Guess => ('g', is_sure),
            Way::Spray => ('s', is_sure),
            Way::Ipv6 | Way::SameNetwork | Way::Hairpin | Way::MappedPort(_) => ('?', false),
        },
        Outcome::Unclear => ('?', false),
        Outcome::Relay(_) => ('-', false),
    };
    if is_sure { letter.to_ascii_uppercase() } else { letter }
}

fn mirrored(verdict: &Verdict) -> Verdict {
    let callee = |callee| match callee {
        Callee::Us => Callee::Them,
        Callee::Them => Callee::Us,
    };
    let outcome = match verdict.outcome.clone() {
        Outcome::Direct { way, is_sure } => {
            let way = match way {
                Way::Call(who) => Way::Call(callee(who)),
                Way::MappedPort(who) => Way::MappedPort(callee(who)),
                Way::OpenAddress(who) => Way::OpenAddress(callee(who)),
                way @ (Way::Ipv6 | Way::SameNetwork | Way::Hairpin | Way::Punch | Way::Guess | Way::Spray) => way,
            };
            Outcome::Direct { way, is_sure }
        }
        Outcome::Relay(Obstacle::UdpBlocked(Who::Us)) => Outcome::Relay(Obstacle::UdpBlocked(Who::Them)),
        Outcome::Relay(Obstacle::UdpBlocked(Who::Them)) => Outcome::Relay(Obstacle::UdpBlocked(Who::Us)),
        outcome @ (Outcome::Unclear | Outcome::Relay(_)) => outcome,
    };
    Verdict { outcome, fixes: Vec::new() }
}

#[test]
fn the_table_is_this_one() {
    let nats = nats();
    let mut table = String::new();
    for us in &nats {
        let row: String = nats.iter().map(|them| letter(&judge(us, them))).collect();
        table.push_str(&format!("{:<15} {row}\n", name(us)));
    }
    assert_eq!(table, include_str!("tests/table.txt"), "\n{table}");
}

#[test]
fn the_other_side_comes_to_the_same_verdict() {
    let mut sides = nats();
    sides.extend([Side::OPEN, Side::BLOCKED, Side::UNKNOWN]);
    for us in &sides {
        for them in &sides {
            let (here, there) = (judge(us, them), judge(them, us));
            // Where both may be called, each calls the other.
            let both = matches!((&here.outcome, &there.outcome), (
                Outcome::Direct { way: Way::Call(a), is_sure: x },
                Outcome::Direct { way: Way::Call(b), is_sure: y },
            ) if a == b && x == y);
            assert!(both || mirrored(&here).outcome == there.outcome, "{} and {}", name(us), name(them));
        }
    }
}

#[test]
fn ports_do_not_matter_where_mappings_are_endpoint_independent() {
    for filtering in Dependence::ALL {
        let verdicts = Allocation::ALL.map(|allocation| {
            let us = Side::behind(EndpointIndependent, filtering, allocation);
            nats().iter().map(|them| judge(&us, them)).collect::<Vec<_>>()
        });
        assert!(verdicts.windows(2).all(|pair| pair[0] == pair[1]), "{filtering:?}");
    }
}

#[test]
fn a_more_open_filter_makes_no_pair_worse() {
    let worth = |verdict: &Verdict| match verdict.outcome {
        Outcome::Direct { is_sure: true, .. } => 2,
        Outcome::Direct { is_sure: false, .. } => 1,
        Outcome::Unclear | Outcome::Relay(_) => 0,
    };
    for us in nats() {
        for them in nats() {
            for filtering in Dependence::ALL.into_iter().filter(|filtering| Some(*filtering) <= us.filtering) {
                let opener = Side { filtering: Some(filtering), ..us.clone() };
                let (before, after) = (judge(&us, &them), judge(&opener, &them));
                // A sure spray is hard work; a call that works as a rule is tried before it and does not replace it.
                let is_spray = matches!(before.outcome, Outcome::Direct { way: Way::Spray, .. });
                assert!(is_spray || worth(&after) >= worth(&before), "{} and {}", name(&opener), name(&them));
                assert!(worth(&before) == 0 || worth(&after) > 0, "{} and {}", name(&opener), name(&them));
            }
        }
    }
}

#[test]
fn what_is_not_nat_comes_first() {
    let hard = Side::behind(AddressAndPortDependent, AddressAndPortDependent, Allocation::Random);
    let way = |us: &Side, them: &Side| judge(us, them).outcome;
    let sure = |way| Outcome::Direct { way, is_sure: true };
    let with = |change: &dyn Fn(&mut Side)| {
        let mut side = hard.clone();
        change(&mut side);
        side
    };
    let v6 = with(&|side| side.ipv6 = true);
    assert_eq!(way(&v6, &v6), sure(Way::Ipv6));
    assert_eq!(way(&v6, &hard), Outcome::Relay(Obstacle::BothRandom));
    assert_eq!(judge(&v6, &hard).fixes.last(), Some(&Fix::Relay));
    assert!(judge(&v6, &hard).fixes.contains(&Fix::Ipv6(Who::Them)));
    let mapped = with(&|side| side.mapped_port = true);
    assert_eq!(way(&mapped, &hard), sure(Way::MappedPort(Callee::Us)));
    assert_eq!(way(&hard, &mapped), sure(Way::MappedPort(Callee::Them)));
    let cone = Side::behind(EndpointIndependent, AddressDependent, Allocation::Preserving);
    let both = Side { mapped_port: true, ipv6: true, ..cone };
    assert_eq!(way(&both, &both), sure(Way::Punch), "what works by itself comes first");
    assert_eq!(way(&Side { ipv6: true, ..Side::BLOCKED }, &v6), sure(Way::Ipv6), "blocked is IPv4");
    assert_eq!(way(&Side::BLOCKED, &mapped), Outcome::Relay(Obstacle::UdpBlocked(Who::Us)));
    assert_eq!(way(&Side::UNKNOWN, &Side::OPEN), Outcome::Unclear);
}

#[test]
fn neighbours_use_their_network_or_the_hairpin() {
    let public: IpAddr = "198.51.100.1".parse().expect("an address");
    let router: IpAddr = "192.168.1.1".parse().expect("an address");
    let at = |host: u8, third: u8, hairpin: Option<bool>| Side {
        public: Some(public),
        hairpin,
        network: Some(([192, 168, third, host].into(), 24, Some(router))),
        ..Side::behind(EndpointIndependent, AddressAndPortDependent, Allocation::Preserving)
    };
    let way = |us: &Side, them: &Side| judge(us, them).outcome;
    let sure = |way| Outcome::Direct { way, is_sure: true };
    assert_eq!(way(&at(10, 1, None), &at(11, 1, None)), sure(Way::SameNetwork));
    assert_eq!(way(&at(10, 1, Some(true)), &at(10, 2, None)), sure(Way::Hairpin));
    assert_eq!(way(&at(10, 1, Some(false)), &at(10, 2, None)), Outcome::Relay(Obstacle::NoHairpin));
    assert_eq!(way(&at(10, 1, None), &at(10, 2, None)), Outcome::Unclear);
    // The same numbers behind another public address are another home.
    let elsewhere = Side { public: Some("192.0.2.1".parse().expect("an address")), ..at(11, 1, None) };
    assert_eq!(way(&at(10, 1, None), &elsewhere), sure(Way::Punch));
}

#[test]
fn a_pair_that_needs_a_relay_is_told_what_would_make_it_direct() {
    let hard = Side::behind(AddressAndPortDependent, AddressAndPortDependent, Allocation::Random);
    let carrier = Side { layers: 2, ..hard.clone() };
    let fixes = judge(&hard, &carrier).fixes;
    assert_eq!(
        fixes,
        [Fix::MapPort(Who::Us), Fix::EasyMapping(Who::Us), Fix::Ipv6OnBoth, Fix::PublicAddress(Who::Them), Fix::Relay]
    );
    // Each of them does.
    let mapped = Side { mapped_port: true, ..hard.clone() };
    let easy = Side { mapping: Some(EndpointIndependent), ..hard.clone() };
    for (us, them) in [(&mapped, &carrier), (&easy, &carrier), (&hard, &Side::OPEN)] {
        assert!(matches!(judge(us, them).outcome, Outcome::Direct { .. }));
    }
    assert_eq!(judge(&Side::behind(EndpointIndependent, AddressDependent, Allocation::Random), &Side::OPEN).fixes, []);
}
