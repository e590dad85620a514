//! What a gateway has changed, written down before it is done, so that whoever comes later can undo it. Devices and the
//! routes into them go with the process that had them.

use std::fs;
use std::io::ErrorKind;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};

use anyhow::{Context, Error, Result, bail};
use pinhole_host::netlink::route::rule::{self, Rule};
use pinhole_host::netlink::route::{self, link, neighbour, table};
use pinhole_host::netlink::{self, Socket};
use serde::{Deserialize, Serialize};

/// Everything, in the order in which it is undone.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// Settings that were changed.
    pub(super) settings: Vec<Setting>,
    /// Rules that were added: priority and table.
    pub(super) rules: Vec<(u32, u32)>,
    /// The rule for this host's addresses, if it was narrowed.
    pub(super) local: Option<Local>,
    /// Tables that are ours.
    pub(super) tables: Vec<u32>,
    /// An address that this host answers for: the interface, and the address.
    pub(super) proxy: Option<(String, Ipv4Addr)>,
}

/// The rule that was "ask the local table", and has become "ask it, but not about these ports of this address".
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Local {
    /// Its priority.
    pub(super) priority: u32,
    /// Who made it.
    pub(super) origin: Option<u8>,
    /// The address.
    pub(super) address: Ipv4Addr,
    /// The lowest port and the highest.
    pub(super) ports: (u16, u16),
}

/// A setting below `/proc/sys`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Setting {
    path: PathBuf,
    before: String,
    set: String,
}

impl Note {
    fn path() -> PathBuf {
        crate::run::state_file("gateway.json")
    }

    /// Reads what the last gateway left, if it left something.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(super) fn load() -> Result<Option<Self>> {
        let path = Self::path();
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        let Ok(note) = serde_json::from_str(&text) else {
            bail!("{} is damaged: look at `ip rule`, put right what is wrong, and remove the file", path.display());
        };
        Ok(Some(note))
    }

    /// Writes it down.
    pub(super) fn save(&self) -> Result<()> {
        let path = Self::path();
        let text = serde_json::to_string(self).context("cannot write what was changed as JSON")?;
        crate::run::write_state(&path, text.as_bytes()).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Adds a rule.
    pub(super) fn add_rule(&mut self, netlink: &mut Socket, priority: u32, rule: Rule) -> Result<()> {
        self.rules.push((priority, rule.table));
        self.save()?;
        rule::add(netlink, &Rule { priority: Some(priority), ..rule }).context("cannot add a routing rule")
    }

    /// Gives a setting another value; says nothing of a kernel that does not have it.
    pub(super) fn set(&mut self, path: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(path);
        let before = match fs::read_to_string(&path) {
            Ok(before) => before.trim_end().to_owned(),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", path.display())),
        };
        if before == value {
            return Ok(());
        }
        let failed = format!("cannot write {}", path.display());
        self.settings.push(Setting { path: path.clone(), before, set: value.to_owned() });
        self.save()?;
        fs::write(&path, value).context(failed.clone())?;
        // The kernel writes lists in an order of its own.
        let set = fs::read_to_string(&path).context(failed)?.trim_end().to_owned();
        if set != value
            && let Some(last) = self.settings.last_mut()
        {
            last.set = set;
            self.save()?;
        }
        Ok(())
    }

    /// Whether a setting was changed.
    pub(super) fn has_set(&self, path: &str) -> bool {
        let path = Path::new("/proc/sys").join(path);
        self.settings.iter().any(|setting| setting.path == path)
    }

    /// Undoes everything, goes on over failures, and returns the first. What could not be undone stays noted.
    pub(super) fn undo(self) -> Result<()> {
        let mut netlink = route::open()?;
        let mut first: Option<Error> = None;
        // Forwarding ends before what keeps it in bounds.
        for setting in self.settings.iter().rev() {
            if let Err(error) = setting.restore() {
                first.get_or_insert(error);
            }
        }
        let mut keep = |result: Result<(), netlink::Error>, what: &str| match result {
            Err(error) if !error.is_not_found() => {
                let error = Error::from(error).context(what.to_owned());
                first.get_or_insert(error);
            }
            Ok(()) | Err(_) => {}
        };
        for &(priority, table) in &self.rules {
            let rule = Rule { priority: Some(priority), ..Rule::table(table) };
            keep(rule::delete(&mut netlink, &rule), "cannot remove a routing rule");
        }
        if let Some(local) = &self.local {
            keep(local.widen(&mut netlink), "cannot restore the rule for the local table");
        }
        for &table in &self.tables {
            for (net, what) in table::list_no_ways(&mut netlink, table).unwrap_or_default() {
                keep(table::delete_no_way(&mut netlink, net, table, what), "cannot remove a route");
            }
            let routes = table::list(&mut netlink).unwrap_or_default();
            for route in routes.iter().filter(|route| route.table == table) {
                keep(table::delete(&mut netlink, route), "cannot remove a route");
            }
        }
        if let Some((interface, address)) = &self.proxy {
            let link = link::find(&mut netlink, interface);
            keep(
                link.and_then(|link| neighbour::delete_proxy(&mut netlink, link.index, *address)),
                "cannot stop answering for the external address",
            );
        }
        match first {
            Some(error) => Err(error),
            None => fs::remove_file(Self::path()).or_else(|error| match error.kind() {
                ErrorKind::NotFound => Ok(()),
                _ => Err(error).context("cannot remove the note of what was changed"),
            }),
        }
    }
}

impl Local {
    /// Puts the narrow rule in the place of the wide one. There is always one of them.
    pub(super) fn narrow(&self, netlink: &mut Socket) -> Result<(), netlink::Error> {
        rule::add(netlink, &self.narrow_rule())?;
        // Of equal ones, the older is the first, and that is what goes.
        rule::delete(netlink, &self.wide_rule())
    }

    /// The other way round; also after a crash in the middle.
    pub(super) fn widen(&self, netlink: &mut Socket) -> Result<(), netlink::Error> {
        match rule::add(netlink, &self.wide_rule()) {
            Err(error) if !error.is_exists() => return Err(error),
            Ok(()) | Err(_) => {}
        }
        rule::delete(netlink, &self.narrow_rule())
    }

    fn wide_rule(&self) -> Rule {
        Rule { priority: Some(self.priority), origin: self.origin, ..Rule::table(table::LOCAL) }
    }

    fn narrow_rule(&self) -> Rule {
        let (first, last) = self.ports;
        Rule { not: true, to: Some(self.address), to_ports: Some(first..=last), ..self.wide_rule() }
    }
}

impl Setting {
    /// Gives it the value that it had, unless someone else has changed it since.
    fn restore(&self) -> Result<()> {
        match fs::read_to_string(&self.path) {
            Ok(now) if now.trim_end() == self.set => {}
            // Changed since, or gone with its interface.
            Ok(_) => return Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", self.path.display())),
        }
        // An empty list is a line as well: what is empty is not written.
        fs::write(&self.path, format!("{}\n", self.before))
            .with_context(|| format!("cannot restore {}", self.path.display()))
    }
}
