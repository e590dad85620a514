//! Tells the changes of the network that matter to a tunnel from those that do not.
//!
//! A host that runs containers sees links and addresses come and go all day. What matters is how packets leave for the other
//! end: through which interface and router, and from which address.

use std::collections::BTreeMap;
use std::net::IpAddr;

use pinhole_host::netlink::route::{self, table};

/// How packets leave for an address: interface, router, own address; none where there is no way.
type Way = Option<(Option<u32>, Option<IpAddr>, Option<IpAddr>)>;
type Ways = BTreeMap<IpAddr, Way>;

/// Remembers the ways that were last seen.
#[derive(Debug, Default)]
pub struct Underlay {
    ways: Ways,
}

impl Underlay {
    /// Looks up the ways to ends that are new, for packets with `fwmark`, and forgets those that are gone.
    pub fn learn(&mut self, ends: impl Iterator<Item = IpAddr>, fwmark: u32) {
        let mut before = std::mem::take(&mut self.ways);
        self.ways = ends.map(|end| (end, before.remove(&end).unwrap_or_else(|| way(end, fwmark)))).collect();
    }

    /// Looks all ways up again; true if one has changed.
    pub fn has_changed(&mut self, fwmark: u32) -> bool {
        let mut changed = false;
        for (&end, before) in &mut self.ways {
            let now = way(end, fwmark);
            changed |= *before != now;
            *before = now;
        }
        changed
    }
}

fn way(end: IpAddr, fwmark: u32) -> Way {
    let mut socket = route::open().ok()?;
    let route = table::lookup(&mut socket, end, fwmark).ok()?;
    Some((route.interface, route.gateway, route.source))
}
