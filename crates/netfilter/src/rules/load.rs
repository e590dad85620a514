//! From names to indices: what a table must be like before packets go through it.
//!
//! Refused is what iptables or the kernel refuses: jumps to nowhere, loops, targets and criteria where they make no sense.
//! Where a rule stands is known by walking the jumps from each built-in chain (`mark_source_chains` in
//! `net/ipv4/netfilter/ip_tables.c`).

use core::fmt;
use std::collections::BTreeMap;

use super::error::Problem;
use super::ruleset::{Chain, Loaded, Table};
use super::set::Sets;
use super::{Header, Hook, Match, Rule, States, TableName, Target, check};
use crate::tuple::Address;

/// Where something is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub table: TableName,
    /// The chain by name, and the rule, from 0 on, if it is about one.
    pub chain: Option<(String, Option<usize>)>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { table, chain } = self;
        write!(f, "table {table}")?;
        let Some((name, rule)) = chain else { return Ok(()) };
        write!(f, ", chain {name}")?;
        rule.map_or(Ok(()), |rule| write!(f, ", rule {}", rule + 1))
    }
}

/// Where what is wrong.
pub(super) type Misfit = Box<(Place, Problem)>;

/// The longest name of a chain, in bytes (`XT_EXTENSION_MAXNAMELEN` less its length and zero).
const LONGEST_NAME: usize = 28;

/// Resolves the names of `table` and checks its rules.
pub(super) fn load<A: Address>(mut table: Table<A>, sets: &Sets<A>) -> Result<Loaded<A>, Misfit> {
    complete(&mut table);
    let numbers = number(&table)?;
    let mut jumps = Vec::new();
    for at in 0..table.chains.len() {
        let mut of_chain = Vec::new();
        for rule in 0..table.chains[at].rules.len() {
            let jump = resolve(&mut table, (at, rule), &numbers, sets)
                .map_err(|problem| Box::new((place(&table, at, Some(rule)), problem)))?;
            of_chain.push(jump.unwrap_or(usize::MAX));
        }
        jumps.push(of_chain);
    }
    let order = order(&table, &jumps)?;
    let entries =
        Hook::ALL.map(|hook| numbers.get(hook.name()).copied().filter(|_| table.name.hooks().contains(&hook)));
    let (hooks, deepest) = reach(&table, &jumps, &order, &entries);
    for (at, chain) in table.chains.iter().enumerate() {
        for (rule, line) in chain.rules.iter().enumerate() {
            let built_in = chain.policy.and_then(|_| Hook::named(&chain.name));
            let devices = built_in.map_or(Ok(()), |hook| check::devices(line, hook));
            devices
                .and_then(|()| check::place(line, table.name, hooks[at]))
                .map_err(|problem| Box::new((place(&table, at, Some(rule)), problem)))?;
        }
    }
    let accepted = entries.map(|chain| chain.map_or(States::NONE, |chain| accepted_first(&table.chains[chain])));
    Ok(Loaded { table, entries, accepted, jumps, stack: Vec::with_capacity(deepest) })
}

/// The states that a chain's first rule accepts, whatever else the packet is.
fn accepted_first<A: Address>(chain: &Chain<A>) -> States {
    match chain.rules.first() {
        Some(Rule { header, matches, target: Some(Target::Accept), .. }) if *header == Header::default() => {
            match &matches[..] {
                [Match::Conntrack(conntrack)] => conntrack.only_state().unwrap_or(States::NONE),
                [..] => States::NONE,
            }
        }
        Some(_) | None => States::NONE,
    }
}

fn place<A>(table: &Table<A>, chain: usize, rule: Option<usize>) -> Place {
    Place { table: table.name, chain: Some((table.chains[chain].name.clone(), rule)) }
}

/// Puts the built-in chains first, and those that are missing there too.
fn complete<A: Address>(table: &mut Table<A>) {
    let built_in = Table::new(table.name).chains.into_iter().map(|empty| {
        let given = table.chains.iter().position(|chain| chain.name == empty.name);
        given.map_or(empty, |at| table.chains.remove(at))
    });
    let mut chains: Vec<_> = built_in.collect();
    chains.append(&mut table.chains);
    table.chains = chains;
}

/// The chains by name.
fn number<A>(table: &Table<A>) -> Result<BTreeMap<String, usize>, Misfit> {
    let mut numbers = BTreeMap::new();
    for (at, Chain { name, policy, .. }) in table.chains.iter().enumerate() {
        let is_built_in = Hook::named(name).is_some_and(|hook| table.name.hooks().contains(&hook));
        let wrong = if numbers.insert(name.clone(), at).is_some() {
            Some("the chain is there twice".to_owned())
        } else if is_built_in && policy.is_none() {
            Some("a built-in chain needs a policy, ACCEPT or DROP".to_owned())
        } else if !is_built_in && policy.is_some() {
            Some(format!("only the built-in chains have a policy; those of this table are {}", built_in(table.name)))
        } else {
            check::chain_name(name, LONGEST_NAME).err()
        };
        if let Some(wrong) = wrong {
            return Err(Box::new((place(table, at, None), Problem::Sense(wrong))));
        }
    }
    Ok(numbers)
}

/// The built-in chains of a table, for people.
pub(super) fn built_in(table: TableName) -> String {
    table.hooks().iter().map(|hook| hook.name()).collect::<Vec<_>>().join(", ")
}

/// Finds the chain that a rule jumps to and the sets that it names.
fn resolve<A: Address>(
    table: &mut Table<A>,
    (chain, rule): (usize, usize),
    numbers: &BTreeMap<String, usize>,
    sets: &Sets<A>,
) -> Result<Option<usize>, Problem> {
    let rule = &mut table.chains[chain].rules[rule];
    for criterion in &mut rule.matches {
        if let Match::Set(lookup) = criterion {
            lookup.is.set = sets.position(&lookup.is.name).ok_or_else(|| Problem::Set(lookup.is.name.clone()))?;
        }
    }
    check::rule(rule)?;
    let Some(Target::Jump(name) | Target::Goto(name)) = &rule.target else { return Ok(None) };
    let to = numbers.get(name).copied().ok_or_else(|| Problem::Target(name.clone()))?;
    let name = name.clone();
    if table.chains[to].policy.is_some() {
        return Err(Problem::Sense(format!("a rule cannot jump to the built-in chain '{name}'")));
    }
    Ok(Some(to))
}

/// The chains, each before those that it jumps to. There is no recursion, for a chain of jumps may be long.
fn order<A>(table: &Table<A>, jumps: &[Vec<usize>]) -> Result<Vec<usize>, Misfit> {
    #[derive(Clone, Copy, PartialEq)]
    enum Visit {
        Never,
        Now,
        Done,
    }
    let mut visits = vec![Visit::Never; jumps.len()];
    let mut finished = Vec::new();
    for start in 0..jumps.len() {
        if visits[start] != Visit::Never {
            continue;
        }
        visits[start] = Visit::Now;
        let mut way = vec![(start, 0)];
        while let Some((chain, next)) = way.last_mut() {
            let Some(&to) = jumps[*chain].get(*next) else {
                visits[*chain] = Visit::Done;
                finished.push(*chain);
                way.pop();
                continue;
            };
            *next += 1;
            let from = (*chain, *next - 1);
            match visits.get(to) {
                None | Some(Visit::Done) => {}
                Some(Visit::Now) => {
                    let problem = Problem::Loop(table.chains[to].name.clone());
                    return Err(Box::new((place(table, from.0, Some(from.1)), problem)));
                }
                Some(Visit::Never) => {
                    visits[to] = Visit::Now;
                    way.push((to, 0));
                }
            }
        }
    }
    finished.reverse();
    Ok(finished)
}

/// From which hooks each chain is reached, and how many jumps the deepest way has.
fn reach<A>(table: &Table<A>, jumps: &[Vec<usize>], order: &[usize], entries: &[Option<usize>; 5]) -> (Vec<u8>, usize) {
    let mut hooks = vec![0; table.chains.len()];
    let mut depths = vec![0; table.chains.len()];
    for (hook, entry) in Hook::ALL.iter().zip(entries) {
        if let Some(chain) = entry {
            hooks[*chain] = hook.bit();
        }
    }
    for &from in order {
        for &to in jumps[from].iter().filter(|&&to| to != usize::MAX) {
            hooks[to] |= hooks[from];
            depths[to] = depths[to].max(depths[from] + 1);
        }
    }
    (hooks, depths.into_iter().max().unwrap_or(0))
}
