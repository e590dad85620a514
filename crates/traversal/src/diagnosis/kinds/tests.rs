use super::super::facts::Dependence::{
    AddressAndPortDependent as Apd, AddressDependent as Ad, EndpointIndependent as Ei,
};
use super::Share::{AtMost, Exactly, Unknown};
use super::*;

fn nat(mapping: Dependence, filtering: Dependence, beyond: Option<Dependence>) -> Nat {
    Nat { mapping: Some(mapping), filtering: Some(filtering), filtering_beyond: beyond, ..Nat::default() }
}

fn check(nat: &Nat, mappings: [Share; 2], filters: [Share; 2]) {
    let kinds = of(nat, 2);
    assert_eq!([kinds[0].mapping, kinds[1].mapping], mappings, "mapping: {nat:?}");
    assert_eq!([kinds[0].filtering, kinds[1].filtering], filters, "filtering: {nat:?}");
}

#[test]
fn what_all_do_each_does_where_anything_else_would_spoil_it() {
    check(&nat(Ei, Ei, None), [Exactly(Ei); 2], [Exactly(Ei); 2]);
    check(&nat(Ei, Ei, Some(Ei)), [Exactly(Ei); 2], [Exactly(Ei); 2]);
    check(&nat(Apd, Apd, None), [AtMost(Apd); 2], [AtMost(Apd); 2]);
    check(&Nat::default(), [Unknown; 2], [Unknown; 2]);
}

#[test]
fn what_is_let_in_behind_an_opened_first_hop_tells_the_two_apart() {
    check(&nat(Ei, Apd, Some(Ei)), [Exactly(Ei); 2], [Exactly(Apd), Exactly(Ei)]);
    check(&nat(Ei, Apd, Some(Ad)), [Exactly(Ei); 2], [Exactly(Apd), Exactly(Ad)]);
    check(&nat(Ei, Apd, Some(Apd)), [Exactly(Ei); 2], [AtMost(Apd), Exactly(Apd)]);
    // Openers went to the mapping that servers see: it is the home's, and the carrier's is the dependent one.
    check(&nat(Apd, Apd, Some(Ei)), [Exactly(Ei), Exactly(Apd)], [Exactly(Apd), Exactly(Ei)]);
    // Where everybody is let in anyway, openers say nothing.
    check(&nat(Ad, Ei, Some(Ei)), [AtMost(Ad); 2], [Exactly(Ei); 2]);
}

#[test]
fn the_only_nat_is_what_servers_see_and_a_filter_of_this_host_is_not_its() {
    let whole = Nat { allocation: Some(Allocation::Random), hairpin: Some(true), ..nat(Ei, Apd, Some(Ei)) };
    let kind = Kind {
        mapping: Exactly(Ei),
        filtering: Exactly(Apd),
        allocation: Some(Allocation::Random),
        hairpin: Some(true),
    };
    assert_eq!(of(&whole, 1), [kind]);
    let own = Nat { outermost_filter: Some(0), ..whole };
    assert_eq!(of(&own, 1)[0].filtering, Exactly(Ei));
    assert_eq!(of(&own, 0), []);
}

#[test]
fn kept_ports_are_kept_by_all_and_the_outermost_turns_packets_around() {
    let kinds = |allocation| of(&Nat { allocation: Some(allocation), hairpin: Some(true), ..nat(Ei, Apd, None) }, 2);
    let seen = |allocation| kinds(allocation).iter().map(|kind| (kind.allocation, kind.hairpin)).collect::<Vec<_>>();
    let kept = Some(Allocation::Preserving);
    assert_eq!(seen(Allocation::Preserving), [(kept, None), (kept, Some(true))]);
    assert_eq!(seen(Allocation::Random), [(None, None), (None, Some(true))]);
}

#[test]
fn of_three_the_two_behind_the_first_are_known_together() {
    let kinds = of(&nat(Ei, Apd, Some(Ad)), 3);
    assert_eq!(kinds.iter().map(|kind| kind.filtering).collect::<Vec<_>>(), [Exactly(Apd), AtMost(Ad), AtMost(Ad)]);
}
