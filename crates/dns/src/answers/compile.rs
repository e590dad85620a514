//! From zones to [`Answers`]: names gathered, bodies written, table filled.

use std::collections::{BTreeMap, HashMap};

use crate::answers::query::lower_and_hash;
use crate::answers::{Answers, Apex, Entry, Node, Slot, Span};
use crate::message::writer::Writer;
use crate::message::{HEADER, Header, MAX_MESSAGE, Question};
use crate::record::{CLASS_IN, Srv};
use crate::zone::Zone;
use crate::{MAX_NAME, Name, RData, Record, Type};

/// The records of one name: type by type in the order the types first came, records in the order they were added.
#[derive(Debug, Default)]
struct Owned {
    types: Vec<(Type, Vec<Record>)>,
}

impl Owned {
    fn push(&mut self, record: Record) {
        let rtype = record.data.rtype();
        match self.types.iter_mut().find(|(known, _)| *known == rtype) {
            Some((_, records)) => records.push(record),
            None => self.types.push((rtype, vec![record])),
        }
    }

    fn of(&self, rtype: Type) -> &[Record] {
        self.types.iter().find(|(known, _)| *known == rtype).map_or(&[], |(_, records)| records)
    }
}

/// The names of one zone by lower-case wire name; those without records are empty non-terminals.
type Names = HashMap<Vec<u8>, Owned>;

pub(super) fn compile(zones: &[Zone]) -> Answers {
    let mut by_origin = BTreeMap::new();
    for zone in zones {
        by_origin.entry(zone.origin().to_lowercase()).or_insert(zone);
    }
    let mut ordered: Vec<&Zone> = by_origin.into_values().collect();
    ordered.sort_by_key(|zone| core::cmp::Reverse(zone.origin().wire().len()));

    let mut answers = Answers {
        slots: Box::new([Slot::default(); 2]),
        nodes: Vec::new(),
        entries: Vec::new(),
        ends: Vec::new(),
        owners: Vec::new(),
        bytes: Vec::new(),
        zones: ordered.iter().map(|zone| apex(zone)).collect(),
        escalate: None,
    };
    let gathered: Vec<Names> = ordered.iter().map(|zone| gather(zone, &ordered)).collect();
    for (index, names) in gathered.iter().enumerate() {
        for (key, owned) in names {
            // A name below two origins belongs to the longer one, which comes first.
            let elsewhere =
                Name::from_wire(key).is_ok_and(|name| ordered[..index].iter().any(|z| name.is_in(z.origin())));
            if !elsewhere {
                answers.add_node(index as u32, key, owned, &gathered);
            }
        }
    }
    answers.fill_slots();
    answers
}

/// Sorts a zone's records by owner, with the start of authority, the aliases and the names in between, among them those
/// that lead to a zone below this one.
fn gather(zone: &Zone, all: &[&Zone]) -> Names {
    let mut names = Names::new();
    let key = |name: &Name| name.wire().to_ascii_lowercase();
    let soa = Record { owner: zone.origin().clone(), ttl: zone.soa_ttl(), data: RData::Soa(zone.soa().clone()) };
    for record in core::iter::once(&soa).chain(zone.records()) {
        let owner = record.owner.to_lowercase();
        names.entry(key(&owner)).or_default().push(Record { owner, ..record.clone() });
    }
    for (alias, name) in zone.aliases().iter().filter(|(alias, name)| alias != name) {
        let Some(owned) = names.get(&key(name)) else { continue };
        let records: Vec<Record> = owned.types.iter().flat_map(|(_, records)| records).cloned().collect();
        let alias = alias.to_lowercase();
        let entry = names.entry(key(&alias)).or_default();
        for record in records {
            entry.push(Record { owner: alias.clone(), ttl: record.ttl, data: renamed(record.data, name, &alias) });
        }
    }
    for name in zone.empties() {
        names.entry(key(name)).or_default();
    }
    let origin_len = zone.origin().wire().len();
    let mut between = Vec::new();
    let below = all.iter().map(|other| other.origin()).filter(|origin| origin.is_in(zone.origin()));
    let below: Vec<Vec<u8>> = below.map(key).collect();
    for key in names.keys().chain(&below) {
        let mut at = 1 + usize::from(key[0]);
        while key.len() - at.min(key.len()) > origin_len {
            between.push(key[at..].to_vec());
            at += 1 + usize::from(key[at]);
        }
    }
    between.into_iter().for_each(|key| {
        names.entry(key).or_default();
    });
    names
}

/// The data with the name `from` replaced by `to` where a service points at itself.
fn renamed(data: RData, from: &Name, to: &Name) -> RData {
    match data {
        RData::Srv(srv) if srv.target == *from => RData::Srv(Srv { target: to.clone(), ..srv }),
        other => other,
    }
}

/// The zone's start of authority as negative answers carry it (RFC 2308 §3).
fn apex(zone: &Zone) -> Apex {
    let origin = zone.origin().to_lowercase();
    let ttl = zone.soa_ttl().min(zone.soa().minimum);
    let soa = Record { owner: origin.clone(), ttl, data: RData::Soa(zone.soa().clone()) };
    let question = Question { name: origin.clone(), qtype: Type::SOA, qclass: CLASS_IN };
    let written = |compress| {
        let mut writer = Writer::new(Header::default(), compress);
        writer.question(&question);
        let head = writer.len();
        writer.record(&soa);
        writer.finish().split_off(head)
    };
    let packed_soa = written(true);
    let pointers = pointers_into_question(&packed_soa, origin.wire().len());
    Apex { origin: origin.wire().to_vec(), soa: written(false), packed_soa, pointers }
}

/// Where in a lone SOA record pointers into the question stand. Those to the record's own names would not move alike, but
/// they do: whatever precedes them grows by the same number of bytes. So every pointer counts.
fn pointers_into_question(record: &[u8], origin_len: usize) -> Vec<usize> {
    let mut pointers = Vec::new();
    let mut skip_name = |mut at: usize| loop {
        match record[at] {
            0 => return at + 1,
            0xc0.. => {
                pointers.push(at);
                return at + 2;
            }
            length => at += 1 + usize::from(length),
        }
    };
    // The root is never compressed: nothing to find then.
    let owner_end = skip_name(0);
    debug_assert!(origin_len == 1 || owner_end == 2, "the owner is the question's name");
    let mname_end = skip_name(owner_end + 10);
    skip_name(mname_end);
    pointers
}

impl Answers {
    fn add_node(&mut self, zone: u32, key: &[u8], owned: &Owned, all: &[Names]) {
        let first_entry = self.entries.len() as u32;
        let cname = !owned.of(Type::CNAME).is_empty();
        let mut types: Vec<_> = owned.types.iter().collect();
        types.sort_by_key(|(rtype, _)| *rtype != Type::CNAME);
        for (rtype, answer) in types {
            let additional = additional(*rtype, answer, owned, all);
            let entry = self.entry(*rtype, answer, &additional);
            self.entries.push(entry);
        }
        let entries = (self.entries.len() - first_entry as usize) as u16;
        let key = self.keep(key);
        self.nodes.push(Node { key, zone, first_entry, entries, cname });
    }

    /// Writes one response in both forms.
    fn entry(&mut self, qtype: Type, answer: &[Record], additional: &[Record]) -> Entry {
        let name = answer[0].owner.clone();
        let question = Question { name: name.clone(), qtype, qclass: CLASS_IN };
        let mut plain = Writer::new(Header::default(), false);
        let mut packed = Writer::new(Header::default(), true);
        plain.question(&question);
        packed.question(&question);
        let head = plain.len();
        debug_assert_eq!(head, HEADER + name.wire().len() + 4);

        let (first_end, first_owner) = (self.ends.len() as u32, self.owners.len() as u32);
        for record in answer.iter().chain(additional) {
            if record.owner == name {
                self.owners.push((plain.len() - head) as u32);
            }
            plain.record(record);
            packed.record(record);
            self.ends.push((packed.len() - head) as u32);
        }
        let owners = u16::try_from(self.owners.len() - first_owner as usize).unwrap_or(u16::MAX);
        let plain = plain.finish();
        let fits = plain.len() <= MAX_MESSAGE && owners < u16::MAX;
        let plain = if fits { self.keep(&plain[head..]) } else { Span { at: 0, len: u32::MAX } };
        let packed = self.keep(&packed.finish()[head..]);
        let count = |records: &[Record]| u16::try_from(records.len()).unwrap_or(u16::MAX);
        Entry { qtype, counts: [count(answer), 0, count(additional)], plain, packed, first_end, first_owner, owners }
    }

    fn keep(&mut self, bytes: &[u8]) -> Span {
        let at = self.bytes.len() as u32;
        self.bytes.extend_from_slice(bytes);
        Span { at, len: bytes.len() as u32 }
    }

    fn fill_slots(&mut self) {
        let size = (self.nodes.len() * 2).next_power_of_two().max(2);
        let mut slots = vec![Slot::default(); size].into_boxed_slice();
        for (index, node) in self.nodes.iter().enumerate() {
            let mut name = [0; MAX_NAME + 1];
            let key = self.piece(node.key);
            name[..key.len()].copy_from_slice(key);
            let (hash, _) = lower_and_hash(&mut name, key.len());
            let mut at = hash as usize & (size - 1);
            while slots[at].node != 0 {
                at = (at + 1) & (size - 1);
            }
            slots[at] = Slot { tag: (hash >> 32) as u32, node: index as u32 + 1 };
        }
        self.slots = slots;
    }
}

/// What goes into Additional, in this order, which wgsd's client depends on: the addresses of the targets of SRV and NS
/// records, then for SRV the owner's TXT records (RFC 6763 §12).
fn additional(rtype: Type, answer: &[Record], owned: &Owned, all: &[Names]) -> Vec<Record> {
    let mut records: Vec<Record> = Vec::new();
    for record in answer {
        let target = match &record.data {
            RData::Srv(srv) => &srv.target,
            RData::Ns(target) => target,
            _ => continue,
        };
        let key = target.wire().to_ascii_lowercase();
        let Some(host) = all.iter().find_map(|names| names.get(&key)) else { continue };
        for address in [Type::A, Type::AAAA].into_iter().flat_map(|rtype| host.of(rtype)) {
            if !records.contains(address) {
                records.push(address.clone());
            }
        }
    }
    if rtype == Type::SRV {
        records.extend_from_slice(owned.of(Type::TXT));
    }
    records
}
