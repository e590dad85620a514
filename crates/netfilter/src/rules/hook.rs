//! Where tables meet packets: the five hooks, the four tables, and which table has a chain at which hook.

use core::fmt;

/// A place on the path of a packet (`enum nf_inet_hooks`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hook {
    /// Everything that comes in, before routing.
    PreRouting = 0,
    /// What is for this host.
    Input = 1,
    /// What goes through.
    Forward = 2,
    /// What this host sends.
    Output = 3,
    /// Everything that goes out, after routing.
    PostRouting = 4,
}

impl Hook {
    /// All hooks, in the kernel's order.
    pub const ALL: [Self; 5] = [Self::PreRouting, Self::Input, Self::Forward, Self::Output, Self::PostRouting];

    /// The name of the built-in chain at this hook.
    pub const fn name(self) -> &'static str {
        match self {
            Self::PreRouting => "PREROUTING",
            Self::Input => "INPUT",
            Self::Forward => "FORWARD",
            Self::Output => "OUTPUT",
            Self::PostRouting => "POSTROUTING",
        }
    }

    /// The name of the place itself, as netfilter has it: `PRE_ROUTING`.
    pub const fn point(self) -> &'static str {
        match self {
            Self::PreRouting => "PRE_ROUTING",
            Self::Input => "LOCAL_IN",
            Self::Forward => "FORWARD",
            Self::Output => "LOCAL_OUT",
            Self::PostRouting => "POST_ROUTING",
        }
    }

    /// The hook whose built-in chain has this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.name() == name)
    }

    /// This hook in a set of hooks.
    pub(super) const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Which table. A packet passes them in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TableName {
    /// Before tracking.
    Raw = 0,
    /// Marks.
    Mangle = 1,
    /// Translation, asked once per flow.
    Nat = 2,
    /// What may pass.
    Filter = 3,
}

impl TableName {
    /// All tables, in the order in which a packet passes them.
    pub const ALL: [Self; 4] = [Self::Raw, Self::Mangle, Self::Nat, Self::Filter];

    /// The name as `iptables -t` takes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Mangle => "mangle",
            Self::Nat => "nat",
            Self::Filter => "filter",
        }
    }

    /// The table of this name.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|table| table.name() == name)
    }

    /// Where this table has a built-in chain, in the order in which iptables-save lists them. (nat has INPUT since
    /// 2.6.36.)
    pub const fn hooks(self) -> &'static [Hook] {
        match self {
            Self::Raw => &[Hook::PreRouting, Hook::Output],
            Self::Mangle => &Hook::ALL,
            Self::Nat => &[Hook::PreRouting, Hook::Input, Hook::Output, Hook::PostRouting],
            Self::Filter => &[Hook::Input, Hook::Forward, Hook::Output],
        }
    }
}

impl fmt::Display for TableName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
