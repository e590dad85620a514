//! The tables of one address family, loaded: jumps are indices, loops are refused, nothing is left to find out later.

use super::error::{Problem, RulesError};
use super::load;
use super::matches::States;
use super::rule::Rule;
use super::set::Sets;
use super::{Hook, TableName};
use crate::tuple::Address;

/// The tables of one address family, and what has passed them.
#[derive(Clone, Debug)]
pub struct Ruleset<A> {
    pub(super) tables: [Option<Loaded<A>>; 4],
    /// At which hooks each table has a chain, as bits.
    pub(super) hooks: [u8; 4],
    pub(super) sets: Sets<A>,
    /// The order in which the tables were given, which is that of printing.
    pub(super) order: Vec<TableName>,
}

/// One table: chains by name.
#[derive(Clone, Debug, PartialEq)]
pub struct Table<A> {
    /// Which.
    pub name: TableName,
    /// The built-in chains, then those of the user.
    pub chains: Vec<Chain<A>>,
}

/// One chain.
#[derive(Clone, Debug, PartialEq)]
pub struct Chain<A> {
    /// The name, at most 28 bytes.
    pub name: String,
    /// What happens to a packet at its end; nothing in a chain of the user, whose packets go back.
    pub policy: Option<Policy>,
    /// How many packets met the policy.
    pub counters: Counters,
    /// The rules, in order.
    pub rules: Vec<Rule<A>>,
}

/// What happens at the end of a built-in chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Policy {
    /// The packet goes on.
    Accept,
    /// The packet is gone.
    Drop,
}

/// How many packets, and how many bytes from their IP headers on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Counters {
    /// Packets.
    pub packets: u64,
    /// Bytes.
    pub bytes: u64,
}

impl Counters {
    #[inline]
    pub(super) const fn count(&mut self, length: u32) {
        self.packets = self.packets.wrapping_add(1);
        self.bytes = self.bytes.wrapping_add(length as u64);
    }
}

impl<A: Address> Table<A> {
    /// The table with its built-in chains, empty, with policy ACCEPT.
    pub fn new(name: TableName) -> Self {
        let chains = name.hooks().iter().map(|hook| Chain { policy: Some(Policy::Accept), ..Chain::new(hook.name()) });
        Self { name, chains: chains.collect() }
    }

    /// The chain of this name, made if it is not there.
    pub fn chain(&mut self, name: &str) -> &mut Chain<A> {
        let at = self.chains.iter().position(|chain| chain.name == name).unwrap_or_else(|| {
            self.chains.push(Chain::new(name));
            self.chains.len() - 1
        });
        &mut self.chains[at]
    }
}

impl<A> Chain<A> {
    /// An empty chain of the user.
    pub fn new(name: impl Into<String>) -> Self {
        Self { name: name.into(), policy: None, counters: Counters::default(), rules: Vec::new() }
    }
}

/// A table whose names are resolved.
#[derive(Clone, Debug)]
pub(super) struct Loaded<A> {
    pub table: Table<A>,
    /// The chain at each hook.
    pub entries: [Option<usize>; 5],
    /// The states that the first rule of the chain at each hook accepts, if that is all it asks and does: in most chains that
    /// is the rule for almost every packet, and it is tried without setting out on a way.
    pub accepted: [States; 5],
    /// For each rule of each chain that jumps, whereto.
    pub jumps: Vec<Vec<usize>>,
    /// Where to go back to, of a packet on its way: as long as the deepest way, so that it never grows.
    pub stack: Vec<(usize, usize)>,
}

impl<A: Address> Ruleset<A> {
    /// No rules.
    pub fn new() -> Self {
        Self { tables: [const { None }; 4], hooks: [0; 4], sets: Sets::default(), order: Vec::new() }
    }

    /// Tables built in Rust, one of each name at most, and the sets that they name.
    ///
    /// # Errors
    /// A [`RulesError`] that names the chain and the rule, if iptables would refuse them too: a jump to a chain that is not
    /// there, a loop, a set that is not there, a target where it makes no sense.
    pub fn load(tables: Vec<Table<A>>, sets: Sets<A>) -> Result<Self, RulesError> {
        let mut ruleset = Self { sets, ..Self::new() };
        for table in tables {
            ruleset.add(table).map_err(|misfit| {
                let (place, problem) = *misfit;
                let problem = Problem::Sense(format!("{place}: {problem}"));
                RulesError::from(problem)
            })?;
        }
        Ok(ruleset)
    }

    /// Rules by chain, in the order in which they are given.
    pub fn builder() -> Builder<A> {
        Builder { tables: Vec::new(), sets: Sets::default() }
    }

    /// Adds a table.
    pub(super) fn add(&mut self, table: Table<A>) -> Result<(), load::Misfit> {
        let name = table.name;
        if self.tables[name as usize].is_some() {
            let place = load::Place { table: name, chain: None };
            return Err(Box::new((place, Problem::Sense("the table is there twice".into()))));
        }
        let loaded = load::load(table, &self.sets)?;
        let has_chain = |hook: &Hook| loaded.entries[*hook as usize].is_some();
        self.hooks[name as usize] =
            Hook::ALL.iter().filter(|hook| has_chain(hook)).fold(0, |bits, hook| bits | hook.bit());
        self.tables[name as usize] = Some(loaded);
        self.order.push(name);
        Ok(())
    }

    /// The sets, whose elements may come and go.
    pub const fn sets_mut(&mut self) -> &mut Sets<A> {
        &mut self.sets
    }

    /// The tables that there are, in the order in which they were given, with their counters.
    pub fn tables(&self) -> impl Iterator<Item = &Table<A>> {
        self.order.iter().filter_map(|&name| self.table(name))
    }

    /// The table of this name, if there is one.
    pub fn table(&self, name: TableName) -> Option<&Table<A>> {
        self.tables[name as usize].as_ref().map(|loaded| &loaded.table)
    }

    /// The sets.
    pub const fn sets(&self) -> &Sets<A> {
        &self.sets
    }
}

impl<A: Address> Default for Ruleset<A> {
    fn default() -> Self {
        Self::new()
    }
}

/// The same rules with the same counters, and the same sets.
impl<A: Address> PartialEq for Ruleset<A> {
    fn eq(&self, other: &Self) -> bool {
        self.tables().eq(other.tables()) && self.sets == other.sets
    }
}

/// Rules by chain, in the order in which they are given.
#[derive(Clone, Debug)]
pub struct Builder<A> {
    tables: Vec<Table<A>>,
    sets: Sets<A>,
}

impl<A: Address> Builder<A> {
    /// Appends a rule to a chain, which is made if it is not there.
    #[must_use]
    pub fn rule(mut self, table: TableName, chain: &str, rule: Rule<A>) -> Self {
        self.table(table).chain(chain).rules.push(rule);
        self
    }

    /// Sets the policy of a built-in chain.
    #[must_use]
    pub fn policy(mut self, table: TableName, hook: Hook, policy: Policy) -> Self {
        self.table(table).chain(hook.name()).policy = Some(policy);
        self
    }

    /// Makes a chain, if it is not there.
    #[must_use]
    pub fn chain(mut self, table: TableName, name: &str) -> Self {
        self.table(table).chain(name);
        self
    }

    /// Gives the sets that rules name.
    #[must_use]
    pub fn sets(self, sets: Sets<A>) -> Self {
        Self { sets, ..self }
    }

    /// The rules, loaded.
    ///
    /// # Errors
    /// As of [`Ruleset::load`].
    pub fn build(self) -> Result<Ruleset<A>, RulesError> {
        Ruleset::load(self.tables, self.sets)
    }

    fn table(&mut self, name: TableName) -> &mut Table<A> {
        let at = self.tables.iter().position(|table| table.name == name).unwrap_or_else(|| {
            self.tables.push(Table::new(name));
            self.tables.len() - 1
        });
        &mut self.tables[at]
    }
}
