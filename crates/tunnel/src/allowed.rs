//! Cryptokey routing: which peer owns an address (the protocol paper §2). The longest prefix wins; a prefix has one owner.
//!
//! The model: one hash table per prefix length that is in use, tried from the longest to the shortest. A tunnel has few
//! lengths (mostly /32, /128 and the default route), so a lookup is one to three probes however many peers there are; the
//! bound is 33 for IPv4 and 129 for IPv6.

use core::net::IpAddr;
use std::collections::HashMap;

use ipnet::IpNet;

/// The prefixes of one address family by length, longest first. Keys are the network's address bits, at the top of the word.
type Lengths<Owner> = Vec<(u8, HashMap<u128, Owner>)>;

/// Which peer owns an address.
#[derive(Debug)]
pub(crate) struct AllowedIps<Owner> {
    v4: Lengths<Owner>,
    v6: Lengths<Owner>,
}

impl<Owner> Default for AllowedIps<Owner> {
    fn default() -> Self {
        Self { v4: Vec::new(), v6: Vec::new() }
    }
}

impl<Owner: Copy + PartialEq> AllowedIps<Owner> {
    /// Gives `prefix` to `owner`; returns whom it is taken from.
    pub(crate) fn insert(&mut self, prefix: IpNet, owner: Owner) -> Option<Owner> {
        let len = prefix.prefix_len();
        let lengths = self.family_mut(prefix.addr());
        let at = lengths.partition_point(|(other, _)| *other > len);
        if lengths.get(at).is_none_or(|(other, _)| *other != len) {
            lengths.insert(at, (len, HashMap::new()));
        }
        lengths[at].1.insert(bits(prefix.addr(), len), owner).filter(|old| *old != owner)
    }

    /// Takes `prefix` away from `owner`, if it has it.
    pub(crate) fn remove(&mut self, prefix: IpNet, owner: Owner) {
        let (len, key) = (prefix.prefix_len(), bits(prefix.addr(), prefix.prefix_len()));
        let lengths = self.family_mut(prefix.addr());
        if let Some((_, table)) = lengths.iter_mut().find(|(other, _)| *other == len)
            && table.get(&key) == Some(&owner)
        {
            table.remove(&key);
        }
        lengths.retain(|(_, table)| !table.is_empty());
    }

    /// Who owns `address`.
    pub(crate) fn owner(&self, address: IpAddr) -> Option<Owner> {
        let lengths = if address.is_ipv4() { &self.v4 } else { &self.v6 };
        lengths.iter().find_map(|(len, table)| table.get(&bits(address, *len)).copied())
    }

    fn family_mut(&mut self, address: IpAddr) -> &mut Lengths<Owner> {
        if address.is_ipv4() { &mut self.v4 } else { &mut self.v6 }
    }
}

/// The first `len` bits of an address at the top of a word, the rest zero.
fn bits(address: IpAddr, len: u8) -> u128 {
    let word = match address {
        IpAddr::V4(v4) => u128::from(v4.to_bits()) << 96,
        IpAddr::V6(v6) => v6.to_bits(),
    };
    word & u128::MAX.checked_shl(128 - u32::from(len)).unwrap_or(0)
}

#[cfg(test)]
mod tests;
