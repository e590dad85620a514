//! An authoritative zone as data: an origin, its start of authority, and records in the order they were added.
//!
//! A `Zone` answers nothing by itself; [`Answers::compile`](crate::answers::Answers::compile) turns zones into something
//! that does. There are no delegations and no wildcards in it.

use core::fmt;

use crate::{Name, RData, Record, Soa, Type};

/// The negative TTL of [`Zone::soa_for`], in seconds: short, so that a peer which appears after a miss is seen soon.
pub const NEGATIVE_TTL: u32 = 5;

/// The records of one zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    origin: Name,
    soa: Soa,
    soa_ttl: u32,
    records: Vec<Record>,
    aliases: Vec<(Name, Name)>,
    empties: Vec<Name>,
}

/// A record whose owner is not in the zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutOfZone {
    /// The owner.
    pub owner: Name,
    /// The zone.
    pub origin: Name,
}

impl fmt::Display for OutOfZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not in the zone {}", self.owner, self.origin)
    }
}

impl std::error::Error for OutOfZone {}

impl Zone {
    /// An empty zone. `soa_ttl` is the TTL in seconds of the SOA record itself; a negative answer carries the smaller of it
    /// and `soa.minimum` (RFC 2308 §3).
    pub fn new(origin: Name, soa: Soa, soa_ttl: u32) -> Self {
        Self { origin, soa, soa_ttl, records: Vec::new(), aliases: Vec::new(), empties: Vec::new() }
    }

    /// The start of authority this crate suggests for `origin`: the names and timers of wgsd's, the given serial, and a
    /// negative TTL of [`NEGATIVE_TTL`].
    pub fn soa_for(origin: &Name, serial: u32) -> Soa {
        let below = |label: &str| origin.child(label).unwrap_or_else(|_| origin.clone());
        Soa {
            mname: below("ns1"),
            rname: below("postmaster"),
            serial,
            refresh: 86_400,
            retry: 7_200,
            expire: 3_600_000,
            minimum: NEGATIVE_TTL,
        }
    }

    /// Adds a record, behind those of the same owner and type.
    ///
    /// # Errors
    /// [`OutOfZone`] if the owner is not the origin or below it.
    pub fn add(&mut self, owner: Name, ttl: u32, data: RData) -> Result<(), OutOfZone> {
        if !owner.is_in(&self.origin) {
            return Err(OutOfZone { owner, origin: self.origin.clone() });
        }
        self.records.push(Record { owner, ttl, data });
        Ok(())
    }

    /// Makes `alias` a second owner of all that `name` owns, now or later. It is no CNAME: the alias answers by itself, and
    /// where data of `name` names `name` (an SRV target), the alias's data names the alias.
    ///
    /// # Errors
    /// [`OutOfZone`] if the alias is not in the zone.
    pub fn alias(&mut self, alias: Name, name: Name) -> Result<(), OutOfZone> {
        if !alias.is_in(&self.origin) {
            return Err(OutOfZone { owner: alias, origin: self.origin.clone() });
        }
        self.aliases.push((alias, name));
        Ok(())
    }

    /// Makes `name` exist even while nothing is at or below it: it answers NODATA, not NXDOMAIN, which a resolver would take
    /// as proof that nothing is below either (RFC 8020).
    ///
    /// # Errors
    /// [`OutOfZone`] if the name is not in the zone.
    pub fn add_empty(&mut self, name: Name) -> Result<(), OutOfZone> {
        if !name.is_in(&self.origin) {
            return Err(OutOfZone { owner: name, origin: self.origin.clone() });
        }
        self.empties.push(name);
        Ok(())
    }

    /// Changes the serial of the start of authority.
    pub fn set_serial(&mut self, serial: u32) {
        self.soa.serial = serial;
    }

    /// The name of the zone.
    pub fn origin(&self) -> &Name {
        &self.origin
    }

    /// The start of authority.
    pub fn soa(&self) -> &Soa {
        &self.soa
    }

    /// The TTL of the SOA record, in seconds.
    pub fn soa_ttl(&self) -> u32 {
        self.soa_ttl
    }

    /// The records, in the order they were added; the start of authority is not among them.
    pub fn records(&self) -> &[Record] {
        &self.records
    }

    /// The aliases as (alias, name).
    pub fn aliases(&self) -> &[(Name, Name)] {
        &self.aliases
    }

    /// The names that exist without records.
    pub fn empties(&self) -> &[Name] {
        &self.empties
    }

    /// The records of `owner` and `rtype`, in order.
    pub fn rrset<'a>(&'a self, owner: &'a Name, rtype: Type) -> impl Iterator<Item = &'a Record> {
        self.records.iter().filter(move |record| record.data.rtype() == rtype && record.owner == *owner)
    }

    /// True if both hold the same records, aliases and parameters, whatever their serials: what decides whether the serial
    /// has to move.
    pub fn same_data(&self, other: &Self) -> bool {
        let soa = Soa { serial: other.soa.serial, ..self.soa.clone() };
        soa == other.soa
            && self.origin == other.origin
            && self.soa_ttl == other.soa_ttl
            && self.records == other.records
            && self.aliases == other.aliases
            && self.empties == other.empties
    }
}
