//! Two hosts with nothing between them but a [`Gateway`]: what it is tested and measured in.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;
use pinhole_host::gateway::{Gateway, Plane};
use pinhole_host::namespace::Namespace;
use pinhole_host::netlink;
use pinhole_host::netlink::route::{self, address, link, table};
use pinhole_host::tun::Tun;
use pinhole_netfilter::Interface;

/// The hosts' only interface.
const INTERFACE: &str = "eth0";
/// Of both links, in bytes.
const MTU: u16 = 1_500;

/// A host behind a gateway and a host before it, whose default routes lead into the gateway's two TUN devices.
#[derive(Debug)]
pub struct Crossing {
    // Dropped in this order: the devices go before the namespaces they are in.
    gateway: Gateway,
    inside: Namespace,
    outside: Namespace,
}

/// What the TUN devices can.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offload {
    /// All that the kernel knows.
    Offered,
    /// Nothing: each packet is read and written as it is on a cable.
    None,
}

impl Crossing {
    /// The addresses of the host inside, which is three subscribers.
    pub const INSIDE: [Ipv4Addr; 3] =
        [Ipv4Addr::new(10, 0, 0, 2), Ipv4Addr::new(10, 0, 0, 3), Ipv4Addr::new(10, 0, 0, 4)];
    /// The address of the host inside.
    pub const INSIDE_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 2);
    /// The gateway's address inside.
    pub const GATEWAY: Ipv4Addr = Ipv4Addr::new(10, 0, 0, 1);
    /// The gateway's address outside.
    pub const EXTERNAL: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    /// The gateway's address outside.
    pub const EXTERNAL_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 1, 0, 0, 0, 0, 1);
    /// The addresses of the host outside.
    pub const OUTSIDE: [Ipv4Addr; 2] = [Ipv4Addr::new(203, 0, 113, 1), Ipv4Addr::new(203, 0, 113, 2)];
    /// The address of the host outside.
    pub const OUTSIDE_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 2, 0, 0, 0, 0, 1);

    /// Builds both hosts, with names that begin with `name`, and starts to carry packets.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn build(name: &str, plane: Plane, offload: Offload) -> io::Result<Self> {
        let [inside, outside] = ["in", "out"].map(|side| Namespace::create(&format!("{name}-{side}")));
        let (inside, outside) = (inside?, outside?);
        let insides = Self::INSIDE.map(IpAddr::V4).into_iter().chain([Self::INSIDE_V6.into()]);
        let outsides = Self::OUTSIDE.map(IpAddr::V4).into_iter().chain([Self::OUTSIDE_V6.into()]);
        let (inner, outer) = (attach(&inside, insides, offload)?, attach(&outside, outsides, offload)?);
        let gateway = Gateway::start(plane, inner, outer)?;
        Ok(Self { gateway, inside, outside })
    }

    /// The interfaces `lan` and `wan` of a gateway with rules.
    pub fn interfaces(offload: Offload) -> [Interface; 2] {
        // What stands for many packets is cut after the gateway, and may be long.
        let mtu = match offload {
            Offload::Offered => u16::MAX,
            Offload::None => MTU,
        };
        let lan = [net(Self::GATEWAY.into(), 24), net(Ipv6Addr::new(0xfd00, 0, 0, 0, 0, 0, 0, 1).into(), 64)];
        let wan = [net(Self::EXTERNAL.into(), 32), net(Self::EXTERNAL_V6.into(), 128)];
        [Interface::new("lan", lan).with_mtu(mtu), Interface::new("wan", wan).with_mtu(mtu)]
    }

    /// The gateway.
    pub fn gateway(&self) -> &Gateway {
        &self.gateway
    }

    /// The host inside.
    pub fn inside(&self) -> &Namespace {
        &self.inside
    }

    /// The host outside.
    pub fn outside(&self) -> &Namespace {
        &self.outside
    }
}

/// Makes a host's TUN device, and sends everything there.
fn attach(host: &Namespace, addresses: impl Iterator<Item = IpAddr> + Send, offload: Offload) -> io::Result<Tun> {
    // Nobody else is on the link: there is no address to be found twice and no router to be asked.
    for setting in ["accept_dad", "router_solicitations"] {
        // A kernel without IPv6 has no such setting.
        let _ = host.set(&format!("net/ipv6/conf/default/{setting}"), "0");
    }
    let plug = || -> io::Result<Tun> {
        let tun = match offload {
            Offload::Offered => Tun::create(INTERFACE, MTU)?,
            Offload::None => Tun::create_plain(INTERFACE, MTU)?,
        };
        configure(tun.index(), addresses).map_err(io::Error::other)?;
        Ok(tun)
    };
    host.run(plug)?
}

fn configure(index: u32, addresses: impl Iterator<Item = IpAddr>) -> Result<(), netlink::Error> {
    let mut socket = route::open()?;
    link::set(&mut socket, index, &link::Change { up: Some(true), ..Default::default() })?;
    for one in addresses {
        address::add(&mut socket, index, IpNet::from(one))?;
    }
    for everything in [IpNet::V4(ipnet::Ipv4Net::default()), IpNet::V6(ipnet::Ipv6Net::default())] {
        table::add(&mut socket, &table::Route::to(everything, index))?;
    }
    Ok(())
}

fn net(address: IpAddr, length: u8) -> IpNet {
    IpNet::new_assert(address, length)
}

impl fmt::Display for Offload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Offered => "with offload",
            Self::None => "without offload",
        })
    }
}
