//! Programs a NAT and its filter through nf_tables, without the `nft` program.
//!
//! The model: a [`Ruleset`] is one table of ours with base chains and rules, as plain data. [`Ruleset::install`] puts it
//! into the kernel as one transaction, all or nothing, in the calling thread's network namespace; dropping the
//! [`Installed`] takes it out again. The kernel also removes it when this process dies (`NFT_TABLE_F_OWNER`, Linux 5.12). What
//! [`Ruleset::replace`] puts there outlives the process instead, and is found by [`tables`]. Other tables are never touched.
//!
//! Not here: sets, maps, user chains, and changing rules in place; a new state of affairs is a new table.

mod expression;
mod listed;

use std::fmt;

pub use expression::{Ports, Rule, State};
pub use listed::{Table, tables};

use crate::netlink::{self, Message, Protocol, Socket, attributes, find};

/// `NFNL_SUBSYS_NFTABLES << 8` (include/uapi/linux/netfilter/nf_tables.h).
const SUBSYSTEM: u16 = 10 << 8;
const NEW_TABLE: u16 = SUBSYSTEM;
const GET_TABLE: u16 = SUBSYSTEM | 1;
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
/// `NFT_TABLE_F_OWNER`: the table belongs to the socket that made it and goes with it.
const OWNER: u32 = 2;

const TABLE_NAME: u16 = 1;
const TABLE_FLAGS: u16 = 2;
/// Linux 4.16.
const TABLE_HANDLE: u16 = 4;
/// Linux 5.10.
const TABLE_COMMENT: u16 = 6;
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
const RULE_COMMENT: u16 = 7;

/// One table of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ruleset {
    /// Whose packets it sees.
    pub family: Family,
    /// Its name; must not be taken.
    pub table: String,
    /// What it is for, for whoever lists it; at most 127 bytes. Kernels before 5.10 do not keep it.
    pub comment: String,
    /// Its base chains.
    pub chains: Vec<Chain>,
}

/// A family of addresses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
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
    /// Packets for this host, before every filter and after connection tracking: `filter`, at the priority `raw`.
    EarlyInput,
    /// Packets for this host: `filter`.
    Input,
    /// Packets passing through: `filter`.
    Forward,
    /// Packets of this host, before connection tracking sees them: `filter`, at the priority `raw`.
    EarlyOutput,
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
    family: Family,
    table: String,
    /// The kernel's number of it: another table may have the name by the time this one is taken out.
    handle: Option<[u8; 8]>,
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
        Self { family: Family::V4, table: table.to_owned(), comment: String::new(), chains }
    }

    /// Puts the ruleset into the calling thread's network namespace, whole or not at all.
    ///
    /// # Errors
    /// When the kernel lacks nf_tables, the caller the privilege, or a part is refused.
    pub fn install(&self) -> Result<Installed, Error> {
        match self.transact(self.creation(OWNER)) {
            // Before 5.12 the kernel does not know owners.
            Err(Error::Refused { source, .. }) if source.is_unsupported() => self.transact(self.creation(0)),
            installed => installed,
        }
    }

    /// As [`install`](Self::install), but it stays when this process dies, and it takes the place of a table of the same name
    /// that stayed: no packet meets neither.
    ///
    /// # Errors
    /// As [`install`](Self::install); then what was there is there still.
    pub fn replace(&self) -> Result<Installed, Error> {
        let name = format!("table {}", self.table);
        // What is made cannot be missing when it is deleted (and "destroy" is newer than most kernels).
        let ensure = message(self.family, NEW_TABLE, CREATE).attr_str(TABLE_NAME, &self.table);
        let mut parts = vec![(name.clone(), ensure), (name, deletion(self.family, &self.table))];
        parts.extend(self.creation(0));
        self.transact(parts)
    }

    /// The parts of the transaction that makes it.
    fn creation(&self, table_flags: u32) -> Vec<(String, Message)> {
        let (family, table) = (self.family, &self.table);
        let mut new_table = message(family, NEW_TABLE, CREATE).attr_str(TABLE_NAME, table);
        if table_flags != 0 {
            new_table = new_table.attr_be32(TABLE_FLAGS, table_flags);
        }
        if !self.comment.is_empty() {
            new_table = new_table.attr(TABLE_COMMENT, &expression::comment(&self.comment));
        }
        let mut parts = vec![(format!("table {table}"), new_table)];
        for chain in &self.chains {
            parts.push((format!("chain {}", chain.name), chain.message(family, table)));
            let rules = chain.rules.iter().enumerate();
            parts.extend(rules.map(|(n, rule)| {
                (format!("rule {} of chain {}", n + 1, chain.name), rule.message(family, table, chain.name))
            }));
        }
        parts
    }

    fn transact(&self, parts: Vec<(String, Message)>) -> Result<Installed, Error> {
        let mut socket = Socket::open(Protocol::Netfilter).map_err(|error| refused("netlink".into(), error))?;
        transaction(&mut socket, parts)?;
        Ok(Installed::find(socket, self.family, self.table.clone()))
    }
}

impl Installed {
    /// A table that is there.
    fn find(mut socket: Socket, family: Family, table: String) -> Self {
        let listed = socket.request(message(family, GET_TABLE, 0).attr_str(TABLE_NAME, &table));
        let handle = |reply: &netlink::Reply| listed::attribute(reply, TABLE_HANDLE)?.try_into().ok();
        let handle = listed.ok().and_then(|replies| replies.iter().find_map(handle));
        Self { family, table, handle, socket }
    }

    /// What the rules that count have counted, in the order of chains and rules.
    ///
    /// # Errors
    /// The kernel's refusal.
    pub fn counts(&mut self) -> Result<Vec<Count>, Error> {
        let request = message(self.family, GET_RULE, 0).attr_str(RULE_TABLE, &self.table);
        let rules = self.socket.dump(request).map_err(|error| refused("reading the counters".into(), error))?;
        let count = |rule: &netlink::Reply| {
            let attrs = rule.payload.get(FIXED..)?;
            let chain = listed::text(find(attrs, RULE_CHAIN)?);
            let (packets, bytes) = attributes(find(attrs, RULE_EXPRESSIONS)?)
                .find_map(|(_, element)| expression::parse_counter(element))?;
            Some(Count { chain, packets, bytes })
        };
        Ok(rules.iter().filter_map(count).collect())
    }
}

impl Drop for Installed {
    fn drop(&mut self) {
        let delete = match self.handle {
            Some(handle) => message(self.family, DELETE_TABLE, 0).attr(TABLE_HANDLE, &handle),
            None => deletion(self.family, &self.table),
        };
        // If this fails the table is gone, or the kernel removes it with the socket that owns it.
        let _ = transaction(&mut self.socket, vec![("table".into(), delete)]);
    }
}

impl Chain {
    fn message(&self, family: Family, table: &str) -> Message {
        /// `NF_IP_PRI_RAW`; connection tracking has -200.
        const RAW: i32 = -300;
        let (number, kind, priority) = match self.hook {
            Hook::EarlyInput => (1, "filter", RAW),
            Hook::Input => (1, "filter", 0),
            Hook::Forward => (2, "filter", 0),
            Hook::EarlyOutput => (3, "filter", RAW),
            Hook::SourceNat => (4, "nat", 100),
        };
        let policy = match self.policy {
            Policy::Drop => 0,
            Policy::Accept => 1,
        };
        message(family, NEW_CHAIN, CREATE)
            .attr_str(CHAIN_TABLE, table)
            .attr_str(CHAIN_NAME, self.name)
            .nest(CHAIN_HOOK, |m| m.attr_be32(HOOK_NUMBER, number).attr_be32(HOOK_PRIORITY, priority.cast_unsigned()))
            .attr_be32(CHAIN_POLICY, policy)
            .attr_str(CHAIN_TYPE, kind)
    }
}

impl Rule {
    fn message(&self, family: Family, table: &str, chain: &str) -> Message {
        let message = message(family, NEW_RULE, CREATE | APPEND)
            .attr_str(RULE_TABLE, table)
            .attr_str(RULE_CHAIN, chain)
            .nest(RULE_EXPRESSIONS, |m| self.write(m));
        match self.said() {
            Some(said) => message.attr(RULE_COMMENT, &expression::comment(said)),
            None => message,
        }
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

/// An nf_tables message for a family.
fn message(family: Family, kind: u16, flags: u16) -> Message {
    Message::new(kind, flags).fixed(&[family.number(), 0, 0, 0])
}

fn deletion(family: Family, table: &str) -> Message {
    message(family, DELETE_TABLE, 0).attr_str(TABLE_NAME, table)
}

impl Family {
    /// `NFPROTO_IPV4` or `NFPROTO_IPV6`.
    const fn number(self) -> u8 {
        match self {
            Self::V4 => 2,
            Self::V6 => 10,
        }
    }
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
