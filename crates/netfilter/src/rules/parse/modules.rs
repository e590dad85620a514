//! Which options each match and target has: one table, which is also what people are told.

use crate::tuple::Address;

/// A match or a target, and its options.
pub(super) struct Module {
    /// What stands behind `-m` or `-j`.
    pub name: &'static str,
    /// Its options.
    pub options: &'static [Spec],
    /// In which family there is such a thing.
    pub family: Family,
}

/// In which family there is such a thing.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Both,
    V4,
    V6,
}

impl Module {
    /// The match of this name.
    pub fn matching<A: Address>(name: &str) -> Option<&'static Self> {
        MATCHES.iter().find(|module| module.name == name && module.is_of::<A>())
    }

    /// The target of this name.
    pub fn target(name: &str) -> Option<&'static Self> {
        TARGETS.iter().find(|module| module.name == name)
    }

    /// The option that is written so.
    pub fn option(&self, name: &str) -> Option<&'static Spec> {
        self.options.iter().find(|spec| spec.names.contains(&name))
    }

    /// Its options, for people.
    pub fn supported(&self) -> String {
        self.options.iter().map(|spec| spec.names[0]).collect::<Vec<_>>().join(", ")
    }

    fn is_of<A: Address>(&self) -> bool {
        match self.family {
            Family::Both => true,
            Family::V4 => A::IS_V4,
            Family::V6 => !A::IS_V4,
        }
    }
}

/// An option.
pub(super) struct Spec {
    /// Its name, then other names that mean the same.
    pub names: &'static [&'static str],
    /// How many values follow it.
    pub values: usize,
    /// Whether `!` may stand before it.
    pub may_be_negated: bool,
}

/// An option with one value, which `!` may stand before.
const fn not(names: &'static [&'static str]) -> Spec {
    Spec { names, values: 1, may_be_negated: true }
}

/// An option with one value.
const fn one(names: &'static [&'static str]) -> Spec {
    Spec { names, values: 1, may_be_negated: false }
}

/// An option without a value.
const fn flag(names: &'static [&'static str]) -> Spec {
    Spec { names, values: 0, may_be_negated: false }
}

const fn both(name: &'static str, options: &'static [Spec]) -> Module {
    Module { name, options, family: Family::Both }
}

const PORTS: &[Spec] = &[not(&["--sport", "--source-port"]), not(&["--dport", "--destination-port"])];

const MATCHES: &[Module] = &[
    both(
        "tcp",
        &[
            not(&["--sport", "--source-port"]),
            not(&["--dport", "--destination-port"]),
            Spec { names: &["--tcp-flags"], values: 2, may_be_negated: true },
            Spec { names: &["--syn"], values: 0, may_be_negated: true },
            not(&["--tcp-option"]),
        ],
    ),
    both("udp", PORTS),
    both("sctp", PORTS),
    both("dccp", PORTS),
    both(
        "multiport",
        &[not(&["--sports", "--source-ports"]), not(&["--dports", "--destination-ports"]), not(&["--ports", "--port"])],
    ),
    Module { name: "icmp", options: &[not(&["--icmp-type"])], family: Family::V4 },
    Module { name: "icmp6", options: &[not(&["--icmpv6-type"])], family: Family::V6 },
    both(
        "conntrack",
        &[
            not(&["--ctstate"]),
            not(&["--ctproto"]),
            not(&["--ctorigsrc"]),
            not(&["--ctorigdst"]),
            not(&["--ctreplsrc"]),
            not(&["--ctrepldst"]),
            not(&["--ctorigsrcport"]),
            not(&["--ctorigdstport"]),
            not(&["--ctreplsrcport"]),
            not(&["--ctrepldstport"]),
            not(&["--ctstatus"]),
            not(&["--ctexpire"]),
            one(&["--ctdir"]),
        ],
    ),
    both("state", &[not(&["--state"])]),
    both("mark", &[not(&["--mark"])]),
    both("connmark", &[not(&["--mark"])]),
    both("limit", &[one(&["--limit"]), one(&["--limit-burst"])]),
    both("comment", &[one(&["--comment"])]),
    both(
        "addrtype",
        &[not(&["--src-type"]), not(&["--dst-type"]), flag(&["--limit-iface-in"]), flag(&["--limit-iface-out"])],
    ),
    both("length", &[not(&["--length"])]),
    Module {
        name: "ttl",
        options: &[not(&["--ttl-eq", "--ttl"]), one(&["--ttl-lt"]), one(&["--ttl-gt"])],
        family: Family::V4,
    },
    Module {
        name: "hl",
        options: &[not(&["--hl-eq", "--hl"]), one(&["--hl-lt"]), one(&["--hl-gt"])],
        family: Family::V6,
    },
    both("helper", &[not(&["--helper"])]),
    both("pkttype", &[not(&["--pkt-type"])]),
    both("set", &[Spec { names: &["--match-set"], values: 2, may_be_negated: true }]),
];

const MARK: [Spec; 5] =
    [one(&["--set-xmark"]), one(&["--set-mark"]), one(&["--and-mark"]), one(&["--or-mark"]), one(&["--xor-mark"])];

const TARGETS: &[Module] = &[
    both("ACCEPT", &[]),
    both("DROP", &[]),
    both("RETURN", &[]),
    both("REJECT", &[one(&["--reject-with"])]),
    both("SNAT", &[one(&["--to-source"]), flag(&["--random"]), flag(&["--random-fully"]), flag(&["--persistent"])]),
    both("DNAT", &[one(&["--to-destination"]), flag(&["--random"]), flag(&["--persistent"])]),
    both("MASQUERADE", &[one(&["--to-ports"]), flag(&["--random"]), flag(&["--random-fully"])]),
    both("REDIRECT", &[one(&["--to-ports"]), flag(&["--random"])]),
    both("NETMAP", &[one(&["--to"])]),
    both("MARK", &MARK),
    both(
        "CONNMARK",
        &[
            one(&["--set-xmark"]),
            one(&["--set-mark"]),
            one(&["--and-mark"]),
            one(&["--or-mark"]),
            one(&["--xor-mark"]),
            flag(&["--save-mark"]),
            flag(&["--restore-mark"]),
            one(&["--nfmask"]),
            one(&["--ctmask"]),
            one(&["--mask"]),
        ],
    ),
    both(
        "CT",
        &[
            flag(&["--notrack"]),
            one(&["--helper"]),
            one(&["--timeout"]),
            one(&["--ctevents"]),
            one(&["--expevents"]),
            one(&["--zone"]),
            one(&["--zone-orig"]),
            one(&["--zone-reply"]),
        ],
    ),
    both("NOTRACK", &[]),
    both(
        "LOG",
        &[
            one(&["--log-prefix"]),
            one(&["--log-level"]),
            flag(&["--log-tcp-sequence"]),
            flag(&["--log-tcp-options"]),
            flag(&["--log-ip-options"]),
            flag(&["--log-uid"]),
            flag(&["--log-macdecode"]),
        ],
    ),
    both("TRACE", &[]),
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::error;

    #[test]
    fn what_people_are_told_is_what_is_in_the_table() {
        let check = |modules: &[Module], told: &str| {
            let mut names: Vec<_> = modules.iter().map(|module| module.name).collect();
            let mut told: Vec<_> = told.split(", ").collect();
            names.sort_unstable();
            told.sort_unstable();
            assert_eq!(names, told);
        };
        check(MATCHES, error::MATCHES);
        check(TARGETS, error::TARGETS);
    }
}
