//! Programs a NAT and its filter through nf_tables, without the `nft` program.
//!
//! The model: a [`Ruleset`] is one table of ours with base chains and rules, as plain data. [`Ruleset::install`] puts it
//! into the kernel as one transaction, all or nothing, in the calling thread's network namespace; dropping the
//! [`Installed`] takes it out again. The kernel also removes it when this process dies (`NFT_TABLE_F_OWNER`, Linux 5.12).
//! Other tables are never touched.
//!
//! Not here: sets, maps, user chains, and changing rules in place; a new state of affairs is a new table.

mod expression;

use std::fmt;

pub use expression::{Ports, Rule, State};

use crate::netlink::{self, Message, Protocol, Socket, attributes, find};

/// `NFNL_SUBSYS_NFTABLES << 8` (include/uapi/linux/netfilter/nf_tables.h).
const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const DELETE_TABLE: u16 = SUBSYSTEM | 2;
const NEW_CHAIN: u16 = SUBSYSTEM | 3;
const NEW_RULE: u16 = SUBSYSTEM | 6;
const GET_RULE: u16 = SUBSYSTEM | 7;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const CREATE: u16 = libc::NLM_F_CREATE as u16;
const APPEND: u16 = libc::NLM_F_APPEND as u16;
/// Bytes of `struct nfgenmsg`.
const FIXED: usize = 4;
/// `NFPROTO_IPV4`.
const IPV4: u8 = 2;
/// `NFT_TABLE_F_OWNER`: the table belongs to the socket that made it and goes with it.
const OWNER: u32 = 2;

const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
const CHAIN_TABLE: u16 = 1;
const CHAIN_NAME: u16 = 3;
const CHAIN_HOOK: u16 = 4;
const CHAIN_POLICY: u16 = 5;
const CHAIN_TYPE: u16 = 7;
const HOOK_NUMBER: u16 = 1;
const HOOK_PRIORITY: u16 = 2;
const RULE_TABLE: u16 = 1;
const RULE_CHAIN: u16 = 2;
const RULE_EXPRESSIONS: u16 = 4;

/// One IPv4 table of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// Its name; must not be taken.
    pub table: String,
    /// Its base chains.
    pub chains: Vec<Chain>,
}

/// A base chain: rules at a hook.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    /// Its name.
    pub name: &'static str,
    /// Where and when it is asked.
    pub hook: Hook,
    /// What happens to a packet that no rule decides.
    pub policy: Policy,
    /// Its rules in order.
    pub rules: Vec<Rule>,
}

/// The hooks pinhole uses, each with its chain type and customary priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// Packets for this host: `filter`.
    Input,
    /// Packets passing through: `filter`.
    Forward,
    /// Packets that leave: `nat`, after the filters (`srcnat`).
    SourceNat,
}

/// A chain's last word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Policy {
    /// Let it pass.
    Accept,
    /// Drop it silently.
    Drop,
}

/// What a rule with a counter has counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Count {
    /// The rule's chain.
    pub chain: String,
    /// Packets that reached the counter.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// A ruleset in the kernel; dropping it takes it out.
#[derive(Debug)]
pub struct Installed {
    table: String,
    /// The table's owner: a socket in the namespace that the table is in.
    socket: Socket,
}

/// Why a ruleset could not be put into the kernel or read from it.
#[derive(Debug)]
pub enum Error {
    /// The kernel has no nf_tables.
    NoNfTables,
    /// This process may not.
    Permission,
    /// A part was refused.
    Refused {
        /// Which part: "table x", "chain y", "rule 2 of chain y".
        part: String,
        /// The kernel's words.
        source: netlink::Error,
    },
}

impl Ruleset {
    /// A home router's NAT: masquerade on `wan`, nothing forwarded inwards but answers, `wan` closed or open to packets for
    /// the router itself.
    ///
    /// Open means that a packet from outside which matches no mapping makes a flow of its own, which then stands in the way
    /// of a mapping to the same peer ("first-packet poisoning").
    pub fn home_router(table: &str, wan: &str, ports: Ports, wan_input: Policy) -> Self {
        let answers = [State::Established, State::Related];
        let masquerade = Rule::new().output_interface(wan).counter().masquerade(ports);
        let forward = vec![Rule::new().state(&answers).accept(), Rule::new().input_interface(wan).counter().drop()];
        let mut input = vec![Rule::new().input_interface(wan).state(&answers).accept()];
        if wan_input == Policy::Drop {
            input.push(Rule::new().input_interface(wan).counter().drop());
        }
        let chain = |name, hook, rules| Chain { name, hook, policy: Policy::Accept, rules };
        let chains = vec![
            chain("postrouting", Hook::SourceNat, vec![masquerade]),
            chain("forward", Hook::Forward, forward),
            chain("input", Hook::Input, input),
        ];
        Self { table: table.to_owned(), chains }
    }

    /// Puts the ruleset into the calling thread's network namespace, whole or not at all.
    ///
    /// # Errors
    /// When the kernel lacks nf_tables, the caller the privilege, or a part is refused.
    pub fn install(&self) -> Result<Installed, Error> {
        match self.install_with(OWNER) {
            // Before 5.12 the kernel does not know owners.
            Err(Error::Refused { source, .. }) if source.is_unsupported() => self.install_with(0),
            installed => installed,
        }
    }

    fn install_with(&self, table_flags: u32) -> Result<Installed, Error> {
        let table = &self.table;
        let new_table = message(NEW_TABLE, CREATE).attr_str(TABLE_NAME, table);
        let new_table = if table_flags == 0 { new_table } else { new_table.attr_be32(TABLE_FLAGS, table_flags) };
        let mut parts = vec![(format!("table {table}"), new_table)];
        for chain in &self.chains {
            parts.push((format!("chain {}", chain.name), chain.message(table)));
            let rules = chain.rules.iter().enumerate();
            parts.extend(
                rules.map(|(n, rule)| {
                    (format!("rule {} of chain {}", n + 1, chain.name), rule.message(table, chain.name))
                }),
            );
        }
        let mut socket = Socket::open(Protocol::Netfilter).map_err(|error| refused("netlink".into(), error))?;
        transaction(&mut socket, parts)?;
        Ok(Installed { table: table.clone(), socket })
    }
}

impl Installed {
    /// What the rules that count have counted, in the order of chains and rules.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn counts(&mut self) -> Result<Vec<Count>, Error> {
        let request = Message::new(GET_RULE, 0).fixed(&[IPV4, 0, 0, 0]).attr_str(RULE_TABLE, &self.table);
        let rules = self.socket.dump(request).map_err(|error| refused("reading the counters".into(), error))?;
        let count = |rule: &netlink::Reply| {
            let attrs = rule.payload.get(FIXED..)?;
            let chain = find(attrs, RULE_CHAIN)?;
            let chain = String::from_utf8_lossy(chain.strip_suffix(&[0]).unwrap_or(chain)).into_owned();
            let (packets, bytes) = attributes(find(attrs, RULE_EXPRESSIONS)?)
                .find_map(|(_, element)| expression::parse_counter(element))?;
            Some(Count { chain, packets, bytes })
        };
        Ok(rules.iter().filter_map(count).collect())
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let delete = message(DELETE_TABLE, 0).attr_str(TABLE_NAME, &self.table);
        // If this fails the kernel removes the table with the socket that owns it.
        let _ = transaction(&mut self.socket, vec![("table".into(), delete)]);
    }
}

impl Chain {
    fn message(&self, table: &str) -> Message {
        let (number, kind, priority) = match self.hook {
            Hook::Input => (1, "filter", 0),
            Hook::Forward => (2, "filter", 0),
            Hook::SourceNat => (4, "nat", 100),
        };
        let policy = match self.policy {
            Policy::Drop => 0,
            Policy::Accept => 1,
        };
        message(NEW_CHAIN, CREATE)
            .attr_str(CHAIN_TABLE, table)
            .attr_str(CHAIN_NAME, self.name)
            .nest(CHAIN_HOOK, |m| m.attr_be32(HOOK_NUMBER, number).attr_be32(HOOK_PRIORITY, priority))
            .attr_be32(CHAIN_POLICY, policy)
            .attr_str(CHAIN_TYPE, kind)
    }
}

impl Rule {
    fn message(&self, table: &str, chain: &str) -> Message {
        message(NEW_RULE, CREATE | APPEND)
            .attr_str(RULE_TABLE, table)
            .attr_str(RULE_CHAIN, chain)
            .nest(RULE_EXPRESSIONS, |m| self.write(m))
    }
}

/// Sends `parts` as one nf_tables transaction.
fn transaction(socket: &mut Socket, parts: Vec<(String, Message)>) -> Result<(), Error> {
    let bracket = |kind: u16| (Message::new(kind, 0).fixed(&[0, 0, 0, 10]), false);
    let (names, messages): (Vec<_>, Vec<_>) = parts.into_iter().unzip();
    let mut batch = vec![bracket(BATCH_BEGIN)];
    batch.extend(messages.into_iter().map(|message| (message, true)));
    batch.push(bracket(BATCH_END));
    socket.batch(batch).map_err(|(at, error)| {
        let part = at.checked_sub(1).and_then(|at| names.into_iter().nth(at));
        refused(part.unwrap_or_else(|| "transaction".into()), error)
    })
}

fn refused(part: String, source: netlink::Error) -> Error {
    match source.errno() {
        Some(libc::EPERM | libc::EACCES) => Error::Permission,
        Some(libc::EPROTONOSUPPORT | libc::EAFNOSUPPORT) => Error::NoNfTables,
        // The subsystem itself is missing when not even the transaction may begin.
        Some(libc::EOPNOTSUPP | libc::EINVAL) if part == "transaction" => Error::NoNfTables,
        _ => Error::Refused { part, source },
    }
}

/// An nf_tables message for the IPv4 family.
fn message(kind: u16, flags: u16) -> Message {
    Message::new(kind, flags).fixed(&[IPV4, 0, 0, 0])
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoNfTables => f.write_str(
                "the kernel has no nf_tables: load it (`modprobe nf_tables nft_chain_nat nft_masq nft_ct`), or use a kernel \
                 with CONFIG_NF_TABLES, CONFIG_NFT_NAT, CONFIG_NFT_MASQ and CONFIG_NFT_CT",
            ),
            Self::Permission => f.write_str("programming nf_tables needs root, or CAP_NET_ADMIN in this network namespace"),
            Self::Refused { part, source } => {
                write!(f, "nf_tables: {part}: {source}")?;
                if source.is_not_found() {
                    f.write_str(" (the kernel may lack a module: `modprobe nft_chain_nat nft_masq nft_ct`)")?;
                }
                Ok(())
            }
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::NoNfTables | Self::Permission => None,
            Self::Refused { source, .. } => Some(source),
        }
    }
}

#[cfg(test)]
mod tests;
