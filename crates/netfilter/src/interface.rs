//! Interfaces of the router: numbers inside the engine, names for people and rules.

use core::fmt;
use core::net::IpAddr;
use core::num::NonZeroU16;

use ipnet::IpNet;

use crate::rules::Device;
use crate::tuple::Address;

/// The number of an interface: the first one that was added is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct InterfaceId(NonZeroU16);

impl InterfaceId {
    /// The interface at a place of the list of interfaces, which has at most 65,535.
    pub(crate) fn at(place: usize) -> Self {
        let number = u16::try_from(place + 1).ok().and_then(NonZeroU16::new);
        Self(number.expect("a router has fewer than 65,536 interfaces"))
    }

    /// Its place in the list of interfaces.
    pub(crate) const fn place(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl fmt::Debug for InterfaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "InterfaceId({})", self.0)
    }
}

/// An interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Interface {
    /// Its name.
    pub name: String,
    /// Its addresses with their networks. The first one of a family is what MASQUERADE and REDIRECT use.
    pub addresses: Vec<IpNet>,
    /// The longest packet that it takes, in bytes.
    pub mtu: u16,
    device: Device,
}

impl Interface {
    /// An interface with an MTU of 1,500 bytes.
    pub fn new(name: &str, addresses: impl IntoIterator<Item = IpNet>) -> Self {
        Self { name: name.into(), addresses: addresses.into_iter().collect(), mtu: 1_500, device: Device::named(name) }
    }

    /// The same with another MTU.
    #[must_use]
    pub fn with_mtu(self, mtu: u16) -> Self {
        Self { mtu, ..self }
    }

    /// Its name as rules compare it.
    pub(crate) const fn device(&self) -> Device {
        self.device
    }

    /// Its first address of a family.
    pub fn address<A: Address>(&self) -> Option<A> {
        self.addresses.iter().find_map(|net| A::of(net.addr()))
    }

    /// Whether one of its addresses is this one.
    pub fn has(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|net| net.addr() == address)
    }
}
