//! The text of iptables-save and ip6tables-save, read: every line is understood, or refused with its number.
//!
//! Names that stand for others (`-p 6`, `--dport ssh`, `--syn`) become what iptables-save writes. Not read: names of hosts,
//! abbreviated options, and commands other than `-A`.

mod matches;
mod modules;
mod rule;
mod sets;
mod targets;
mod values;
mod words;

use std::collections::{BTreeMap, BTreeSet};

use super::error::{Problem, RulesError};
use super::load::Place;
use super::ruleset::{Chain, Counters, Policy, Ruleset, Table};
use super::set::Sets;
use super::{TableName, Target, load};
use crate::tuple::Address;

impl<A: Address> Ruleset<A> {
    /// Reads what `iptables-save` writes (`ip6tables-save` for IPv6), with counters or without.
    ///
    /// # Errors
    /// [`RulesError`] with the line and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        Self::parse_with(text, Sets::default())
    }

    /// The same with the sets that rules name.
    ///
    /// # Errors
    /// [`RulesError`] with the line and what is wrong with it.
    pub fn parse_with(text: &str, sets: Sets<A>) -> Result<Self, RulesError> {
        let (ruleset, left_out) = Self::parse_known(text, sets)?;
        left_out.into_iter().next().map_or(Ok(ruleset), Err)
    }

    /// The same without the rules that hold a match, target or option which is not supported. Also returns why each of them
    /// is left out, by line.
    ///
    /// # Errors
    /// [`RulesError`] if something else is wrong: with a line that is no rule, or with a value.
    pub fn parse_known(text: &str, sets: Sets<A>) -> Result<(Self, Vec<RulesError>), RulesError> {
        let mut ruleset = Self { sets, ..Self::new() };
        let mut left_out = Vec::new();
        let mut open: Option<Draft<A>> = None;
        for (number, line) in text.lines().enumerate().map(|(number, line)| (number + 1, line.trim())) {
            let refuse = |problem| RulesError::at(number, problem);
            if line.is_empty() || line.starts_with('#') {
            } else if let Some(name) = line.strip_prefix('*') {
                if let Some(open) = &open {
                    return Err(refuse(Problem::Line(format!(
                        "table {} has no COMMIT before this line",
                        open.table.name
                    ))));
                }
                let name = name.trim();
                let name = TableName::named(name).ok_or_else(|| refuse(Problem::Table(name.to_owned())))?;
                if ruleset.table(name).is_some() {
                    return Err(refuse(Problem::Sense(format!(
                        "table {name} begins a second time, and iptables-restore would keep this one only: put both in one \
                         block, or delete one"
                    ))));
                }
                open = Some(Draft::new(name, number));
            } else if line == "COMMIT" {
                let draft =
                    open.take().ok_or_else(|| refuse(Problem::Line("COMMIT without a table before it".into())))?;
                draft.commit(&mut ruleset, &mut left_out)?;
            } else {
                let outside =
                    || refuse(Problem::Line("this line stands in no table: '*filter' or another comes first".into()));
                match open.as_mut().ok_or_else(outside)?.line(number, line) {
                    Ok(()) => {}
                    Err(problem) if problem.is_unsupported() => left_out.push(refuse(problem)),
                    Err(problem) => return Err(refuse(problem)),
                }
            }
        }
        match open {
            Some(Draft { table, begin, .. }) => {
                Err(RulesError::at(begin, Problem::Line(format!("table {} has no COMMIT", table.name))))
            }
            None => {
                left_out.sort_by_key(|error| error.line);
                Ok((ruleset, left_out))
            }
        }
    }
}

/// A table as far as it is read.
struct Draft<A> {
    table: Table<A>,
    /// Where it begins.
    begin: usize,
    chains: BTreeMap<String, Lines>,
}

/// Where a chain stands in the text.
struct Lines {
    /// Its number in the table.
    chain: usize,
    /// Where it is declared; none of a built-in one that is not.
    declared: Option<usize>,
    /// The line of each rule.
    rules: Vec<usize>,
}

impl<A: Address> Draft<A> {
    fn new(name: TableName, begin: usize) -> Self {
        let table = Table::new(name);
        let lines = |(chain, built_in): (usize, &Chain<A>)| {
            (built_in.name.clone(), Lines { chain, declared: None, rules: Vec::new() })
        };
        let chains = table.chains.iter().enumerate().map(lines).collect();
        Self { table, begin, chains }
    }

    /// Takes a chain or a rule.
    fn line(&mut self, number: usize, line: &str) -> Result<(), Problem> {
        if let Some(chain) = line.strip_prefix(':') {
            return self.declare(number, chain);
        }
        let (counters, line) = match line.strip_prefix('[') {
            Some(behind) => {
                let (counters, line) = behind.split_once(']').ok_or_else(|| bad_counters(line))?;
                (parse_counters(counters)?, line)
            }
            None => (Counters::default(), line),
        };
        let words = words::split(line)?;
        match &words[..] {
            [command, chain, words @ ..] if command == "-A" || command == "--append" => {
                self.append(number, chain, rule::rules(words, counters)?)
            }
            [command, ..] if command.starts_with('-') => {
                Err(Problem::Line(format!("'{command}' is not supported; rules are written '-A CHAIN …'")))
            }
            [..] => Err(Problem::Line(
                "expected ':CHAIN POLICY [0:0]', '-A CHAIN …', '*TABLE', 'COMMIT' or a comment behind '#'".into(),
            )),
        }
    }

    /// `:CHAIN POLICY [packets:bytes]`.
    fn declare(&mut self, number: usize, line: &str) -> Result<(), Problem> {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let (name, policy, counters) = match words[..] {
            [name, policy] => (name, policy, Counters::default()),
            [name, policy, counters] => {
                let inside = counters.strip_prefix('[').and_then(|text| text.strip_suffix(']'));
                (name, policy, parse_counters(inside.ok_or_else(|| bad_counters(counters))?)?)
            }
            _ => return Err(Problem::Line("a chain is written ':CHAIN POLICY [packets:bytes]'".into())),
        };
        let policy = match policy {
            "ACCEPT" => Some(Policy::Accept),
            "DROP" => Some(Policy::Drop),
            "-" => None,
            other => {
                return Err(Problem::Line(format!(
                    "'{other}' is no policy: ACCEPT, DROP, or '-' for a chain of your own"
                )));
            }
        };
        let lines = self.chains.entry(name.to_owned()).or_insert_with(|| {
            self.table.chains.push(Chain::new(name));
            Lines { chain: self.table.chains.len() - 1, declared: None, rules: Vec::new() }
        });
        if let Some(before) = lines.declared.replace(number) {
            return Err(Problem::Line(format!("chain '{name}' is declared in line {before} already")));
        }
        let chain = &mut self.table.chains[lines.chain];
        (chain.policy, chain.counters) = (policy, counters);
        Ok(())
    }

    fn append(&mut self, number: usize, chain: &str, rules: Vec<super::Rule<A>>) -> Result<(), Problem> {
        let Some(lines) = self.chains.get_mut(chain) else {
            let built_in = load::built_in(self.table.name);
            let problem = format!(
                "there is no chain '{chain}' in table {}: built in are {built_in}, others are declared by ':{chain} - [0:0]'",
                self.table.name
            );
            return Err(Problem::Line(problem));
        };
        lines.rules.extend(rules.iter().map(|_| number));
        self.table.chains[lines.chain].rules.extend(rules);
        Ok(())
    }

    /// Takes out the rules that lead to no chain: what they name is a target that is not supported.
    fn leave_out_unknown(&mut self, left_out: &mut Vec<RulesError>) {
        let Self { table, chains, .. } = self;
        let names: BTreeSet<String> = chains.keys().cloned().collect();
        for lines in chains.values_mut() {
            let rules = core::mem::take(&mut table.chains[lines.chain].rules);
            for (rule, line) in rules.into_iter().zip(core::mem::take(&mut lines.rules)) {
                match &rule.target {
                    Some(Target::Jump(name) | Target::Goto(name)) if !names.contains(name) => {
                        left_out.push(RulesError::at(line, Problem::Target(name.clone())));
                    }
                    Some(_) | None => {
                        table.chains[lines.chain].rules.push(rule);
                        lines.rules.push(line);
                    }
                }
            }
        }
    }

    /// Loads the table.
    fn commit(mut self, ruleset: &mut Ruleset<A>, left_out: &mut Vec<RulesError>) -> Result<(), RulesError> {
        self.leave_out_unknown(left_out);
        let Self { table, begin, chains } = self;
        ruleset.add(table).map_err(|misfit| {
            let (Place { chain, .. }, problem) = *misfit;
            let line = chain.and_then(|(name, rule)| {
                let lines = chains.get(&name)?;
                rule.map_or(lines.declared, |rule| lines.rules.get(rule).copied())
            });
            RulesError::at(line.unwrap_or(begin), problem)
        })
    }
}

fn parse_counters(text: &str) -> Result<Counters, Problem> {
    let counters = text.split_once(':').and_then(|(packets, bytes)| {
        Some(Counters { packets: packets.trim().parse().ok()?, bytes: bytes.trim().parse().ok()? })
    });
    counters.ok_or_else(|| bad_counters(text))
}

fn bad_counters(text: &str) -> Problem {
    Problem::Line(format!("'{text}' are no counters: they are written [packets:bytes]"))
}
