//! DNS-SD (RFC 6763): service instances out of whatever servers and resolvers answer.
//!
//! A [`Resolution`] takes in answers and says what to ask next. It is tolerant where servers differ: it follows the SRV
//! target instead of assuming it, takes an address of either family from any section and whatever was asked, follows
//! aliases, and asks for addresses and text by themselves where the additional section was left out or cut.

use core::net::IpAddr;

use crate::message::Message;
use crate::record::Srv;
use crate::{Name, RData, Rcode, Record, Type};

/// Aliases that are followed from an SRV target.
const MAX_ALIASES: usize = 8;
/// Addresses kept of one instance.
const MAX_ADDRESSES: usize = 16;
/// Records kept while resolving one instance; more than any honest answer has.
const MAX_RECORDS: usize = 256;

/// The instances that the answer to a browse (PTR) question lists, in its order, each once.
pub fn instances(message: &Message, service: &Name) -> Vec<Name> {
    let mut names = Vec::new();
    for record in message.answers.iter().filter(|record| record.owner == *service) {
        if let RData::Ptr(target) = &record.data
            && !names.contains(target)
        {
            names.push(target.clone());
        }
    }
    names
}

/// A service instance, resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instance {
    /// Its name.
    pub name: Name,
    /// Its host and port.
    pub srv: Srv,
    /// The host's addresses, in the order they came.
    pub addresses: Vec<IpAddr>,
    /// Its text, as [`entries`]; `None` if nobody gave one.
    pub text: Option<Vec<Vec<u8>>>,
}

/// What is known so far of one instance.
#[derive(Clone, Debug)]
pub struct Resolution {
    name: Name,
    want_text: bool,
    records: Vec<Record>,
    /// Questions that have been answered, one way or the other.
    answered: Vec<(Name, Type)>,
}

/// Why an instance cannot be resolved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unresolved {
    /// Ask this next.
    Ask(Name, Type),
    /// There is no such instance.
    NoInstance,
    /// There is one, but its host has no address.
    NoAddress(Name),
}

impl Resolution {
    /// Nothing is known yet. `want_text` says whether the text is worth a question of its own.
    pub fn new(name: Name, want_text: bool) -> Self {
        Self { name, want_text, records: Vec::new(), answered: Vec::new() }
    }

    /// Takes in the answer to the question `name` `qtype`. A truncated one counts as far as it goes: what is missing is
    /// asked for.
    pub fn absorb(&mut self, name: &Name, qtype: Type, message: &Message) {
        self.answered.push((name.clone(), qtype));
        if message.rcode() != Rcode::NOERROR {
            return;
        }
        for record in message.answers.iter().chain(&message.additional) {
            if self.records.len() < MAX_RECORDS && !self.records.contains(record) {
                self.records.push(record.clone());
            }
        }
    }

    /// The instance, as soon as nothing more is to be asked.
    ///
    /// # Errors
    /// [`Unresolved`]: the next question, or why there is no use in any.
    pub fn instance(&self) -> Result<Instance, Unresolved> {
        let Some(srv) = self.srv() else {
            return Err(self.ask_or(&self.name, Type::SRV, Unresolved::NoInstance));
        };
        let host = self.canonical(&srv.target);
        let addresses = self.addresses(host);
        if addresses.is_empty() {
            let none = Unresolved::NoAddress(srv.target.clone());
            let v6 = self.ask_or(&srv.target, Type::AAAA, none);
            return Err(self.ask_or(&srv.target, Type::A, v6));
        }
        let text = self.text();
        if text.is_none() && self.want_text && !self.has_answer(&self.name, Type::TXT) {
            return Err(Unresolved::Ask(self.name.clone(), Type::TXT));
        }
        Ok(Instance { name: self.name.clone(), srv: srv.clone(), addresses, text })
    }

    fn ask_or(&self, name: &Name, qtype: Type, otherwise: Unresolved) -> Unresolved {
        if self.has_answer(name, qtype) { otherwise } else { Unresolved::Ask(name.clone(), qtype) }
    }

    fn has_answer(&self, name: &Name, qtype: Type) -> bool {
        self.answered.iter().any(|(known, rtype)| known == name && *rtype == qtype)
    }

    /// The SRV record of the lowest priority; the first of several.
    fn srv(&self) -> Option<&Srv> {
        let owner = self.canonical(&self.name);
        let services = self.records.iter().filter(|record| record.owner == *owner);
        services
            .filter_map(|record| if let RData::Srv(srv) = &record.data { Some(srv) } else { None })
            // A target of "." says that there is no such service here (RFC 2782).
            .filter(|srv| !srv.target.is_root())
            .min_by_key(|srv| srv.priority)
    }

    fn addresses(&self, host: &Name) -> Vec<IpAddr> {
        let mut addresses = Vec::new();
        for record in self.records.iter().filter(|record| record.owner == *host) {
            let address = match record.data {
                RData::A(address) => IpAddr::V4(address),
                RData::Aaaa(address) => IpAddr::V6(address).to_canonical(),
                _ => continue,
            };
            if addresses.len() < MAX_ADDRESSES && !addresses.contains(&address) {
                addresses.push(address);
            }
        }
        addresses
    }

    fn text(&self) -> Option<Vec<Vec<u8>>> {
        let owner = self.canonical(&self.name);
        self.records.iter().filter(|record| record.owner == *owner).find_map(|record| match &record.data {
            RData::Txt(strings) => Some(entries(strings)),
            _ => None,
        })
    }

    /// Where aliases lead from `name`.
    fn canonical<'a>(&'a self, name: &'a Name) -> &'a Name {
        let mut name = name;
        for _ in 0..MAX_ALIASES {
            let alias =
                self.records.iter().filter(|record| record.owner == *name).find_map(|record| match &record.data {
                    RData::Cname(target) => Some(target),
                    _ => None,
                });
            match alias {
                Some(target) => name = target,
                None => break,
            }
        }
        name
    }
}

/// The entries of a TXT record: a string of 255 bytes is continued by the next one, and empty entries do not count
/// (RFC 6763 §6.1). The reverse of [`RData::txt`].
pub fn entries(strings: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let mut entries: Vec<Vec<u8>> = Vec::new();
    let mut continued = false;
    for string in strings {
        match entries.last_mut() {
            Some(entry) if continued => entry.extend_from_slice(string),
            _ => entries.push(string.clone()),
        }
        continued = string.len() == 255;
    }
    entries.retain(|entry| !entry.is_empty());
    entries
}

/// The value of the first entry `key=value`; keys have no case (RFC 6763 §6.4).
pub fn value<'a>(entries: &'a [Vec<u8>], key: &str) -> Option<&'a [u8]> {
    entries.iter().find_map(|entry| {
        let at = entry.iter().position(|byte| *byte == b'=')?;
        entry[..at].eq_ignore_ascii_case(key.as_bytes()).then(|| &entry[at + 1..])
    })
}

#[cfg(test)]
mod tests;
