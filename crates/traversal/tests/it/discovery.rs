//! Every behaviour is recognised, with losses, and what cannot be known is not claimed.

use std::collections::BTreeMap;

use pinhole_netfilter::behaviour::{
    Allocation as Gives, Behaviour, Dependence as Depends, Hairpin as Turns, Pairing, Pooling as Pools,
};
use pinhole_sansio::Duration;
use pinhole_traversal::discovery::{
    Allocation, Classic, Confidence, Dependence, Hairpin, Note, Pooling, Report, Translation, Verdict,
};

use crate::world::{Between, Knows, World};

pub const SEEDS: u64 = 20;
pub const LOSS: f64 = 0.02;
/// How many honest "unsure" there may be.
const UNSURE: f64 = 0.05;

/// All pairings with this allocation, otherwise as RFC 4787 wants it but without the parity that would make it a mixture.
pub fn nine(allocation: Gives) -> impl Iterator<Item = Behaviour> {
    let pairings =
        Depends::ALL.into_iter().flat_map(|mapping| Depends::ALL.map(|filter| Pairing::new(mapping, filter)));
    pairings.map(move |udp| Behaviour {
        udp,
        allocation,
        keep_parity: false,
        keep_class: false,
        ..Behaviour::rfc4787()
    })
}

fn find(between: &Between, knows: Knows, loss: f64, seed: u64) -> Report {
    World::new(between, knows, loss, seed).discover(None)
}

fn one(behaviour: Behaviour) -> Between {
    Between::Nats(vec![(behaviour, 1)])
}

pub fn ours(depends: Depends) -> Dependence {
    match depends {
        Depends::EndpointIndependent => Dependence::EndpointIndependent,
        Depends::AddressDependent => Dependence::AddressDependent,
        Depends::AddressAndPortDependent => Dependence::AddressAndPortDependent,
    }
}

/// Counts right, unsure and wrong verdicts, by what they were about.
#[derive(Debug, Default)]
pub struct Tally {
    wrong: Vec<String>,
    /// Of each question: how often asked, how often unsure.
    unsure: BTreeMap<&'static str, (u32, u32)>,
}

impl Tally {
    pub fn check<T: core::fmt::Debug>(
        &mut self,
        what: &'static str,
        case: &str,
        verdict: &Verdict<T>,
        is_right: impl Fn(&T) -> bool,
    ) {
        let (asked, unsure) = self.unsure.entry(what).or_default();
        *asked += 1;
        match verdict.value() {
            Some(value) if is_right(value) => {}
            Some(value) => self.wrong.push(format!("{what} of {case}: {value:?}")),
            None => *unsure += 1,
        }
    }

    pub fn assert(&self) {
        assert!(
            self.wrong.is_empty(),
            "{} wrong verdicts: {:#?}",
            self.wrong.len(),
            &self.wrong[..self.wrong.len().min(20)]
        );
        let much = self.unsure.iter().find(|(_, (asked, unsure))| f64::from(*unsure) >= UNSURE * f64::from(*asked));
        assert_eq!(much, None, "asked, unsure");
    }
}

pub fn is_allocation(found: &Allocation, gives: Gives) -> bool {
    match (found, gives) {
        (Allocation::Preserving, Gives::Preserving | Gives::PreservingOrRandom) => true,
        (Allocation::Random { .. }, Gives::Random) => true,
        (Allocation::Sequential { step }, Gives::Sequential { step: real }) => *step == i32::from(real),
        (Allocation::Block { .. }, Gives::Blocks { .. } | Gives::Deterministic { .. }) => true,
        (
            Allocation::Preserving
            | Allocation::Random { .. }
            | Allocation::Sequential { .. }
            | Allocation::Block { .. },
            Gives::Preserving
            | Gives::PreservingOrRandom
            | Gives::Random
            | Gives::Sequential { .. }
            | Gives::Blocks { .. }
            | Gives::Deterministic { .. },
        ) => false,
    }
}

#[test]
fn each_of_the_nine_behaviours_with_each_allocation_is_recognised_with_losses() {
    let allocations = [
        Gives::Preserving,
        Gives::PreservingOrRandom,
        Gives::Random,
        Gives::Sequential { step: 1 },
        Gives::Sequential { step: 2 },
        Gives::Blocks { size: 512, most: 4 },
        Gives::Deterministic { size: 1_024, bits: 6 },
    ];
    let mut tally = Tally::default();
    for behaviour in allocations.into_iter().flat_map(nine) {
        for seed in 0..SEEDS {
            let report = find(&one(behaviour), Knows::Behaviour, LOSS, seed);
            let case = format!("{:?} {:?} seed {seed}", behaviour.udp, behaviour.allocation);
            let Pairing { mapping, filtering } = behaviour.udp;
            tally.check("translation", &case, &report.translation, |found| *found == Translation::Translated);
            tally.check("mapping", &case, &report.mapping, |found| *found == ours(mapping));
            tally.check("filtering", &case, &report.filtering, |found| *found == ours(filtering));
            tally.check("allocation", &case, &report.allocation, |found| is_allocation(found, behaviour.allocation));
            tally.check("pooling", &case, &report.pooling, |found| *found == Pooling::Paired);
        }
    }
    tally.assert();
}

#[test]
fn without_losses_every_verdict_is_certain_and_takes_less_than_three_seconds() {
    for behaviour in nine(Gives::Random) {
        let report = find(&one(behaviour), Knows::Behaviour, 0.0, 1);
        let confidence = [report.mapping.confidence, report.filtering.confidence];
        assert_eq!(confidence, [Confidence::Certain; 2], "{:?}: {report:#?}", behaviour.udp);
        assert!(report.took < Duration::from_secs(3), "{:?}: {:?}", behaviour.udp, report.took);
    }
}

#[test]
fn the_old_names_stand_beside_the_terms() {
    let names = nine(Gives::Preserving).map(|behaviour| find(&one(behaviour), Knows::Behaviour, 0.0, 1).classic());
    let cones = [Classic::FullCone, Classic::RestrictedCone, Classic::PortRestrictedCone];
    let expected: Vec<_> = cones.into_iter().chain([Classic::Symmetric; 6]).map(Some).collect();
    assert_eq!(names.collect::<Vec<_>>(), expected);
    assert_eq!(cones.map(Classic::number), [Some("NAT1"), Some("NAT2"), Some("NAT3")]);
}

#[test]
fn several_servers_that_know_only_binding_tell_the_mapping_with_less_certainty() {
    for behaviour in nine(Gives::Random) {
        for seed in 0..SEEDS {
            let report = find(&one(behaviour), Knows::Binding(3), LOSS, seed);
            let case = format!("{:?} seed {seed}", behaviour.udp);
            let (mapping, filtering) = (ours(behaviour.udp.mapping), ours(behaviour.udp.filtering));
            assert!(report.mapping.notes.contains(&Note::OnlyBinding), "{case}");
            if mapping == Dependence::EndpointIndependent {
                assert_eq!(
                    (report.mapping.value(), report.mapping.confidence),
                    (Some(&mapping), Confidence::Likely),
                    "{case}"
                );
                // The NAT turns packets around, and shows its filter by it.
                assert_eq!(report.filtering.value(), Some(&filtering), "{case}: {report:#?}");
                assert!(report.filtering.notes.contains(&Note::ByHairpin), "{case}");
            } else {
                let dependent = vec![Dependence::AddressDependent, Dependence::AddressAndPortDependent];
                assert_eq!(
                    (&report.mapping.possible, report.mapping.confidence),
                    (&dependent, Confidence::Unsure),
                    "{case}"
                );
                assert_eq!(report.filtering.value(), None, "{case}");
                assert_eq!(report.classic(), Some(Classic::Symmetric), "{case}");
            }
        }
    }
}

#[test]
fn one_server_at_one_address_says_nothing_about_the_mapping() {
    let report = find(&one(Behaviour::cloud_nat()), Knows::Binding(1), 0.0, 1);
    assert_eq!((report.mapping.value(), report.mapping.confidence), (None, Confidence::Unsure));
    assert!(report.mapping.notes.contains(&Note::OneServer));
    assert_eq!(report.classic(), None);
}

#[test]
fn a_server_whose_other_address_is_down_proves_no_filter() {
    for behaviour in nine(Gives::Preserving) {
        let report = find(&one(behaviour), Knows::HalfBehaviour, 0.0, 1);
        let filtering = ours(behaviour.udp.filtering);
        assert!(report.filtering.possible.contains(&filtering), "{:?}: {:?}", behaviour.udp, report.filtering);
        // The other port answers, and that is enough to tell a filter by port from the rest.
        let by_port = filtering == Dependence::AddressAndPortDependent;
        assert_eq!(report.filtering.value().is_some(), by_port, "{:?}: {:?}", behaviour.udp, report.filtering);
    }
}

#[test]
fn a_server_that_answers_only_so_often_makes_no_verdict_wrong() {
    for behaviour in nine(Gives::Random) {
        for burst in (2..120).step_by(4) {
            let report = find(&one(behaviour), Knows::Limited(burst), 0.0, u64::from(burst));
            let case = format!("{:?} burst {burst}", behaviour.udp);
            let mapping = report.mapping.value();
            assert!(mapping.is_none_or(|found| *found == ours(behaviour.udp.mapping)), "{case}: {mapping:?}");
            let filtering = report.filtering.value();
            assert!(filtering.is_none_or(|found| *found == ours(behaviour.udp.filtering)), "{case}: {:#?}", report);
            let hops = report.outermost_filter.value();
            assert!(hops.is_none_or(|hops| *hops == 1), "{case}: {hops:?}");
            let is_random = |found: &Allocation| matches!(found, Allocation::Random { .. });
            assert!(report.allocation.value().is_none_or(is_random), "{case}: {:?}", report.allocation);
        }
    }
}

#[test]
fn heavy_losses_make_verdicts_unsure_and_not_wrong() {
    for loss in [0.1, 0.2, 0.35] {
        for behaviour in nine(Gives::Random) {
            for seed in 0..SEEDS {
                let report = find(&one(behaviour), Knows::Behaviour, loss, seed);
                let case = format!("{:?} loss {loss} seed {seed}", behaviour.udp);
                let mapping = report.mapping.value();
                assert!(mapping.is_none_or(|found| *found == ours(behaviour.udp.mapping)), "{case}: {mapping:?}");
                let filtering = report.filtering.value();
                assert!(filtering.is_none_or(|found| *found == ours(behaviour.udp.filtering)), "{case}: {filtering:?}");
                let hops = report.outermost_filter.value();
                assert!(hops.is_none_or(|hops| *hops == 1), "{case}: {hops:?}");
            }
        }
    }
}

#[test]
fn a_server_that_only_says_that_it_knows_rfc_5780_proves_no_filter() {
    for behaviour in nine(Gives::Random).map(|behaviour| Behaviour { hairpin: Turns::None, ..behaviour }) {
        let report = find(&one(behaviour), Knows::Pretends, LOSS, 1);
        assert_eq!(report.mapping.value(), Some(&ours(behaviour.udp.mapping)), "its endpoints answer");
        assert_eq!(report.filtering.value(), None, "{:?}: {:?}", behaviour.udp, report.filtering);
        assert!(report.filtering.notes.contains(&Note::ChangeIgnored), "{:?}: {:?}", behaviour.udp, report.filtering);
    }
}

#[test]
fn hairpinning_is_seen_with_its_source() {
    for (hairpin, expected) in [
        (Turns::ExternalSource, Hairpin::ExternalSource),
        (Turns::InternalSource, Hairpin::InternalSource),
        (Turns::None, Hairpin::None),
    ] {
        let mut tally = Tally::default();
        for filtering in Depends::ALL {
            let udp = Pairing::new(Depends::EndpointIndependent, filtering);
            let behaviour = Behaviour { udp, hairpin, ..Behaviour::rfc4787() };
            for seed in 0..SEEDS {
                let report = find(&one(behaviour), Knows::Behaviour, LOSS, seed);
                let case = format!("{hairpin:?} {filtering:?} seed {seed}");
                tally.check("hairpin", &case, &report.hairpin, |found| *found == expected);
            }
        }
        tally.assert();
    }
}

#[test]
fn a_carriers_nat_behind_the_homes_shows_what_both_do_together() {
    // The home's filter and the carrier's mapping are what a peer meets.
    let home = Behaviour::home_router();
    let mut tally = Tally::default();
    for (carrier, mapping) in [
        (Behaviour::cgn_rfc6888(), Dependence::EndpointIndependent),
        (Behaviour::mobile_carrier(), Dependence::AddressAndPortDependent),
    ] {
        for seed in 0..SEEDS {
            let between = Between::Nats(vec![(home, 1), (carrier, 1)]);
            let report = find(&between, Knows::Behaviour, LOSS, seed);
            let case = format!("{:?} seed {seed}", carrier.udp);
            tally.check("mapping", &case, &report.mapping, |found| *found == mapping);
            let filter = Dependence::AddressAndPortDependent;
            tally.check("filtering", &case, &report.filtering, |found| *found == filter);
            let gives = carrier.allocation;
            tally.check("allocation", &case, &report.allocation, |found| is_allocation(found, gives));
        }
    }
    tally.assert();
}

#[test]
fn openers_that_die_on_the_way_tell_the_carriers_filter_from_the_homes() {
    let nat = |mapping, filtering| Behaviour { udp: Pairing::new(mapping, filtering), ..Behaviour::rfc4787() };
    let mut tally = Tally::default();
    for home in Depends::ALL {
        for carrier in Depends::ALL {
            let open = Depends::EndpointIndependent;
            let between = Between::Nats(vec![(nat(open, home), 1), (nat(open, carrier), 1)]);
            for seed in 0..SEEDS {
                let report = find(&between, Knows::Behaviour, LOSS, seed);
                let case = format!("{home:?} before {carrier:?}, seed {seed}");
                tally.check("beyond", &case, &report.filtering_beyond, |found| *found == ours(carrier));
                if carrier != open {
                    tally.check("outermost", &case, &report.outermost_filter, |hops| *hops == 2);
                } else if home != open {
                    tally.check("outermost", &case, &report.outermost_filter, |hops| *hops == 1);
                } else {
                    assert_eq!(report.outermost_filter.value(), None, "{case}");
                }
            }
        }
    }
    tally.assert();
}

#[test]
fn behind_one_nat_of_any_behaviour_nothing_is_said_to_filter_beyond_the_first_hop() {
    for behaviour in nine(Gives::Random) {
        for seed in 0..SEEDS {
            let report = find(&one(behaviour), Knows::Behaviour, LOSS, seed);
            let case = format!("{:?} seed {seed}", behaviour.udp);
            let (hops, beyond) = (report.outermost_filter.value(), report.filtering_beyond.value());
            assert!(hops.is_none_or(|hops| *hops == 1), "{case}: {hops:?}");
            assert!(beyond.is_none_or(|beyond| *beyond == Dependence::EndpointIndependent), "{case}: {beyond:?}");
        }
    }
}

#[test]
fn a_firewall_without_nat_is_told_from_a_nat() {
    for filtering in Dependence::ALL {
        let mut tally = Tally::default();
        for seed in 0..SEEDS {
            let report = find(&Between::Firewall(filtering), Knows::Behaviour, LOSS, seed);
            let case = format!("{filtering:?} seed {seed}");
            tally.check("translation", &case, &report.translation, |found| *found == Translation::None);
            tally.check("filtering", &case, &report.filtering, |found| *found == filtering);
            let open = filtering == Dependence::EndpointIndependent;
            let name = if open { Classic::OpenInternet } else { Classic::SymmetricFirewall };
            assert!([None, Some(name)].contains(&report.classic()), "{case}: {:?}", report.classic());
        }
        tally.assert();
    }
}

#[test]
fn where_udp_is_blocked_nothing_is_claimed_but_that() {
    let report = find(&Between::Nothing, Knows::Behaviour, 0.0, 1);
    assert!(!report.is_answered());
    assert_eq!(report.classic(), None);
    let alone = pinhole_traversal::discovery::is_udp_blocked(&report, None);
    assert_eq!((alone.value(), alone.confidence), (None, Confidence::Unsure), "a server that is down looks the same");
    assert!(report.took < Duration::from_secs(4), "{:?}", report.took);
}

#[test]
fn a_pool_of_addresses_is_noticed_where_it_is_not_paired() {
    for (pooling, expected) in [(Pools::Arbitrary, Pooling::Arbitrary), (Pools::Paired, Pooling::Paired)] {
        let mut tally = Tally::default();
        for behaviour in nine(Gives::Random).map(|behaviour| Behaviour { pooling, ..behaviour }) {
            for seed in 0..SEEDS {
                let report = find(&Between::Nats(vec![(behaviour, 4)]), Knows::Behaviour, LOSS, seed);
                let case = format!("{pooling:?} {:?} seed {seed}", behaviour.udp);
                tally.check("pooling", &case, &report.pooling, |found| *found == expected);
                tally.check("mapping", &case, &report.mapping, |found| *found == ours(behaviour.udp.mapping));
                tally.check("filtering", &case, &report.filtering, |found| *found == ours(behaviour.udp.filtering));
            }
        }
        tally.assert();
    }
}

#[test]
fn parity_is_seen_where_ports_are_random_otherwise() {
    for keep_parity in [true, false] {
        let mut tally = Tally::default();
        for behaviour in nine(Gives::Random).map(|behaviour| Behaviour { keep_parity, ..behaviour }) {
            for seed in 0..SEEDS {
                let report = find(&one(behaviour), Knows::Behaviour, LOSS, seed);
                tally.check("parity", &format!("{:?} seed {seed}", behaviour.udp), &report.parity, |found| {
                    *found == keep_parity
                });
            }
        }
        tally.assert();
    }
}

#[test]
fn a_nat_that_early_packets_poison_is_told_from_one_that_they_do_not() {
    for poisoning in [true, false] {
        let udp = Pairing::new(Depends::EndpointIndependent, Depends::AddressAndPortDependent);
        let behaviour = Behaviour { udp, poisoning, ..Behaviour::linux_masquerade() };
        let mut tally = Tally::default();
        for seed in 0..SEEDS {
            let report = find(&one(behaviour), Knows::Behaviour, LOSS, seed);
            tally.check("poisoning", &format!("{poisoning} seed {seed}"), &report.poisoning, |found| {
                *found == poisoning
            });
            tally.check("mapping", "poisoned", &report.mapping, |found| *found == Dependence::EndpointIndependent);
            tally.check("filtering", "poisoned", &report.filtering, |found| {
                *found == Dependence::AddressAndPortDependent
            });
        }
        tally.assert();
    }
}

#[test]
fn it_costs_a_few_hundred_datagrams_and_the_same_seed_costs_the_same() {
    let run = || {
        let mut world = World::new(&one(Behaviour::home_router()), Knows::Behaviour, LOSS, 5);
        let report = world.discover(None);
        (world.sent, report)
    };
    let (sent, report) = run();
    assert!(sent < 300, "{sent}");
    assert_eq!((sent, report), run());
}
