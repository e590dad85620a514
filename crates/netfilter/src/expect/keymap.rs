//! The call ids of PPTP's tunnels: a GRE packet carries only the call id of its receiver, and this says the sender's
//! (`nf_ct_gre_keymap_*` in `net/netfilter/nf_conntrack_proto_gre.c`).

use std::collections::BTreeMap;

use super::MasterId;
use crate::status::Direction;
use crate::tuple::{Address, Tuple};

/// From source, destination and destination key of a tunnel's direction to its source key. Every master has at most one
/// entry per direction, so there are at most two per PPTP control connection.
#[derive(Clone, Debug, Default)]
pub struct Keymap<A> {
    keys: BTreeMap<(A, A, u16), (u16, MasterId)>,
    of_master: BTreeMap<(MasterId, Direction), (A, A, u16)>,
}

impl<A: Address> Keymap<A> {
    /// Nothing.
    pub(super) fn new() -> Self {
        Self { keys: BTreeMap::new(), of_master: BTreeMap::new() }
    }

    /// The source key of a GRE packet; zero if no tunnel is known, as the kernel takes it.
    pub fn source_key(&self, src: A, dst: A, dst_key: u16) -> u16 {
        self.keys.get(&(src, dst, dst_key)).map_or(0, |&(key, _)| key)
    }

    /// Enters a direction of a tunnel. `false` if its master has another one in this direction, or another master has it.
    pub(crate) fn add(&mut self, master: MasterId, direction: Direction, tuple: &Tuple<A>) -> bool {
        let name = (tuple.src, tuple.dst, tuple.dst_id);
        let entry = (tuple.src_id, master);
        if let Some(known) = self.of_master.get(&(master, direction)) {
            return *known == name && self.keys.get(&name) == Some(&entry);
        }
        if self.keys.contains_key(&name) {
            return false;
        }
        self.of_master.insert((master, direction), name);
        self.keys.insert(name, entry);
        true
    }

    /// Forgets what `master` has entered.
    pub(crate) fn remove(&mut self, master: MasterId) {
        for direction in [Direction::Original, Direction::Reply] {
            if let Some(name) = self.of_master.remove(&(master, direction)) {
                self.keys.remove(&name);
            }
        }
    }
}
