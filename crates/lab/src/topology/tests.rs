//! What can be built and what cannot.

use super::{Fault, Nat, Topology};
use crate::Link;

#[test]
fn the_two_homes_can_be_built_and_have_the_addresses_they_say() {
    let topology = Topology::two_homes(Nat::CONE, Nat::SYMMETRIC, Link::default(), 1);
    assert_eq!(topology.check(), Ok(()));
    let home = topology.sites[1].home.as_ref().expect("a home");
    assert_eq!(home.gateway().to_string(), "192.168.1.1");
    assert_eq!(home.address(0).to_string(), "192.168.1.10");
}

#[test]
fn faults_are_named() {
    type Spoil = fn(&mut Topology);
    let cases: [(Spoil, Fault); 5] = [
        (|t| t.sites[0].name = "alice".into(), Fault::NameTaken("alice".into())),
        (|t| t.sites[0].name = String::new(), Fault::BadName(String::new())),
        (|t| t.sites[0].name = "a-name-of-17-byte".into(), Fault::BadName("a-name-of-17-byte".into())),
        (|t| t.sites[0].public = t.router, Fault::AddressTaken([203, 0, 113, 254].into())),
        (
            |t| t.sites[1].home.as_mut().expect("a home").lan = "10.0.0.0/30".parse().expect("a network"),
            Fault::HomeTooFull("alice-home".into()),
        ),
    ];
    for (spoil, fault) in cases {
        let mut topology = Topology::two_homes(Nat::CONE, Nat::CONE, Link::default(), 1);
        spoil(&mut topology);
        assert_eq!(topology.check(), Err(fault));
    }
}
