//! The tables that are there, whoever made them: to find again what a process left that died.

use super::{
    Error, FIXED, Family, GET_RULE, GET_TABLE, Installed, RULE_COMMENT, RULE_TABLE, TABLE_NAME, deletion, expression,
    message, refused, transaction,
};
use crate::netlink::{Protocol, Reply, Socket, find};

/// A table that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Whose packets it sees.
    pub family: Family,
    /// Its name.
    pub name: String,
    /// The comments of its rules, in their order.
    pub comments: Vec<String>,
}

/// The tables of this network namespace whose names begin with `prefix`, those of both families.
///
/// # Errors
/// When the kernel lacks nf_tables or the caller the privilege.
pub fn tables(prefix: &str) -> Result<Vec<Table>, Error> {
    let mut socket = Socket::open(Protocol::Netfilter).map_err(|error| refused("netlink".into(), error))?;
    let mut tables = Vec::new();
    for family in [Family::V4, Family::V6] {
        let listed = socket.dump(message(family, GET_TABLE, 0)).map_err(unlisted)?;
        let names = listed.iter().filter_map(|reply| Some(text(attribute(reply, TABLE_NAME)?)));
        for name in names.filter(|name| name.starts_with(prefix)) {
            let request = message(family, GET_RULE, 0).attr_str(RULE_TABLE, &name);
            let rules = socket.dump(request).map_err(unlisted)?;
            // Kernels before 4.18 list the rules of every table.
            let own = rules.iter().filter(|rule| attribute(rule, RULE_TABLE).map(text).as_ref() == Some(&name));
            let comments = own.filter_map(|rule| expression::parse_comment(attribute(rule, RULE_COMMENT)?)).collect();
            tables.push(Table { family, name, comments });
        }
    }
    Ok(tables)
}

impl Table {
    /// Makes it one's own: it is taken out when what is returned is dropped.
    ///
    /// # Errors
    /// When there is no netlink.
    pub fn adopt(self) -> Result<Installed, Error> {
        let socket = Socket::open(Protocol::Netfilter).map_err(|error| refused("netlink".into(), error))?;
        Ok(Installed::find(socket, self.family, self.name))
    }

    /// Deletes it with all that is in it.
    ///
    /// # Errors
    /// The kernel's refusal: it belongs to a running process, or is gone.
    pub fn delete(&self) -> Result<(), Error> {
        let mut socket = Socket::open(Protocol::Netfilter).map_err(|error| refused("netlink".into(), error))?;
        transaction(&mut socket, vec![(format!("table {}", self.name), deletion(self.family, &self.name))])
    }
}

/// The text of a string attribute.
pub(super) fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.strip_suffix(&[0]).unwrap_or(value)).into_owned()
}

pub(super) fn attribute(reply: &Reply, kind: u16) -> Option<&[u8]> {
    find(reply.payload.get(FIXED..)?, kind)
}

fn unlisted(error: crate::netlink::Error) -> Error {
    match error.errno() {
        // The kernel knows nothing of the subsystem that was asked.
        Some(libc::EINVAL | libc::EOPNOTSUPP) => Error::NoNfTables,
        _ => refused("listing the tables".into(), error),
    }
}
