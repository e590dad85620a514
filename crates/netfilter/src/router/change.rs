//! What becomes of the flows when an interface goes down or its addresses change.
//!
//! A flow that is masqueraded has the address that its interface had when it began. Without the interface or the address
//! nothing comes back for it, and it would keep a new connection from the same endpoint from being masqueraded anew; so Linux
//! ends it (`masq_device_event`, `masq_inet_event` and `masq_inet6_event` in `net/netfilter/nf_nat_masquerade.c`). Flows
//! that are translated to an address by name (SNAT) stay, and so do those that no rule translates.

use core::net::IpAddr;

use ipnet::IpNet;
use pinhole_sansio::Instant;

use super::Router;
use super::stack::Stack;
use crate::headers::Family;
use crate::interface::InterfaceId;
use crate::status::Direction;

impl Router {
    /// An interface has been switched off: every flow that is masqueraded behind it ends. Its addresses and routes stay.
    pub fn interface_down(&mut self, now: Instant, id: InterfaceId) {
        self.v4.conntrack.delete_all(now, |flow| flow.masquerade == Some(id));
        self.v6.conntrack.delete_all(now, |flow| flow.masquerade == Some(id));
    }

    /// Gives an interface one more address, and the route to its network. The first one of a family is what is masqueraded
    /// with. One that it has already is left alone.
    pub fn add_address(&mut self, id: InterfaceId, net: IpNet) {
        let Some(interface) = self.interfaces.get_mut(id.place()) else { return };
        if interface.has(net.addr()) {
            return;
        }
        interface.addresses.push(net);
        self.v4.routes.add_address(id, net);
        self.v6.routes.add_address(id, net);
        self.forget_ways();
    }

    /// Takes an address from an interface, and the route to its network if no other address is in that. Every flow ends that
    /// is masqueraded behind the interface with this address.
    pub fn remove_address(&mut self, now: Instant, id: InterfaceId, address: IpAddr) {
        let Some(interface) = self.interfaces.get_mut(id.place()) else { return };
        let Some(at) = interface.addresses.iter().position(|net| net.addr() == address) else { return };
        let net = interface.addresses.remove(at);
        let is_shared = interface.addresses.iter().any(|other| other.trunc() == net.trunc());
        if !is_shared {
            self.v4.routes.remove(net, id);
            self.v6.routes.remove(net, id);
        }
        self.v4.routes.set_local(&self.interfaces);
        self.v6.routes.set_local(&self.interfaces);
        match address {
            IpAddr::V4(address) => self.v4.forget_masqueraded(now, id, address),
            IpAddr::V6(address) => self.v6.forget_masqueraded(now, id, address),
        }
        self.forget_ways();
    }
}

impl<A: Family> Stack<A> {
    fn forget_masqueraded(&mut self, now: Instant, id: InterfaceId, address: A) {
        self.conntrack
            .delete_all(now, |flow| flow.masquerade == Some(id) && flow.tuple(Direction::Reply).dst == address);
    }
}
