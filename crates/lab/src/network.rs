//! A network of any depth as plain data: hosts behind homes behind carriers behind the Internet.
//!
//! Every place hangs from one other by one link, with one address in the network of that one; what hangs from nothing is
//! attached to the Internet. [`Topology`](crate::Topology) is what of this can be built from namespaces today: homes with
//! hosts, and hosts with public addresses.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::Ipv4Addr;

use ipnet::Ipv4Net;

use crate::clock::Clock;
use crate::link::Link;
use crate::topology::RouterKind;

/// Routers between two homes, a plausible number; more than the time to live of a packet that is to open a NAT only.
pub const USUAL_HOPS: u8 = 8;

/// More places than this are a mistake.
const MAX_PLACES: usize = 10_000;

/// Which place.
pub type PlaceId = usize;

/// Places around one Internet.
#[derive(Clone, Debug, PartialEq)]
pub struct Network {
    /// The address of the Internet's router.
    pub router: Ipv4Addr,
    /// How many routers it counts for.
    pub hops: u8,
    /// All places; one that others hang from comes before them.
    pub places: Vec<Place>,
}

/// A host or a router.
#[derive(Clone, Debug, PartialEq)]
pub struct Place {
    /// Its name.
    pub name: String,
    /// Its address in the network that it hangs from.
    pub address: Ipv4Addr,
    /// What it hangs from; the Internet, if from nothing.
    pub behind: Option<PlaceId>,
    /// Its link to that.
    pub link: Link,
    /// What it is.
    pub kind: PlaceKind,
}

/// What a place is.
#[derive(Clone, Debug, PartialEq)]
pub enum PlaceKind {
    /// A host, with a clock of its own.
    Host(Clock),
    /// A router that translates, for what hangs from it.
    Router {
        /// Its address inside, and the network there.
        inside: Ipv4Net,
        /// How it translates.
        nat: RouterKind,
    },
}

/// What cannot be built about a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NetworkFault {
    /// Which place it is about.
    pub place: PlaceId,
    /// What is wrong.
    pub what: String,
}

impl Network {
    /// An Internet without places.
    pub const fn new() -> Self {
        Self { router: Ipv4Addr::new(203, 0, 113, 254), hops: USUAL_HOPS, places: Vec::new() }
    }

    /// Adds a place, and says which it is.
    pub fn add(&mut self, place: Place) -> PlaceId {
        self.places.push(place);
        self.places.len() - 1
    }

    /// The place with this name.
    pub fn find(&self, name: &str) -> Option<PlaceId> {
        self.places.iter().position(|place| place.name == name)
    }

    /// The routers between a place and the Internet, the nearest first.
    pub fn routers_of(&self, place: PlaceId) -> Vec<PlaceId> {
        let mut routers = Vec::new();
        let mut at = self.places[place].behind;
        while let Some(router) = at {
            routers.push(router);
            at = self.places[router].behind;
        }
        routers
    }

    /// Says what cannot be built.
    ///
    /// # Errors
    /// The first fault.
    pub fn check(&self) -> Result<(), NetworkFault> {
        let mut names = BTreeSet::from(["internet"]);
        let mut taken: BTreeMap<Option<PlaceId>, BTreeSet<Ipv4Addr>> = BTreeMap::new();
        taken.entry(None).or_default().insert(self.router);
        for (id, place) in self.places.iter().enumerate() {
            let fault = |what: String| Err(NetworkFault { place: id, what });
            if id >= MAX_PLACES {
                return fault(format!("more than {MAX_PLACES} hosts and routers"));
            }
            if place.name.is_empty() || place.name.len() > 15 || place.name.contains(['\0', '/', ' ']) {
                return fault(format!("{:?} is no name: 1 to 15 letters, digits and dashes", place.name));
            }
            if !names.insert(&place.name) {
                return fault(format!("there are two places called {}", place.name));
            }
            if let Some(behind) = place.behind {
                let PlaceKind::Router { inside, .. } = self.router_before(id, behind)? else {
                    return fault(format!("{} is a host: nothing is behind it", self.places[behind].name));
                };
                if !inside.contains(&place.address) {
                    return fault(format!(
                        "{} is not in {}, the network inside of {}",
                        place.address,
                        inside.trunc(),
                        self.places[behind].name
                    ));
                }
                taken.entry(Some(behind)).or_default().insert(inside.addr());
            }
            if !taken.entry(place.behind).or_default().insert(place.address) {
                return fault(format!("{} is taken there", place.address));
            }
        }
        Ok(())
    }

    fn router_before(&self, id: PlaceId, behind: PlaceId) -> Result<&PlaceKind, NetworkFault> {
        let known = self.places.get(behind).filter(|_| behind < id);
        let unknown =
            || NetworkFault { place: id, what: "it hangs from a place that comes later, or is not there".into() };
        known.map(|place| &place.kind).ok_or_else(unknown)
    }
}

impl Default for Network {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for NetworkFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl std::error::Error for NetworkFault {}
