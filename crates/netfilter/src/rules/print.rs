//! Rules as text, in the words and the order of iptables-save.
//!
//! The text is that of `iptables-legacy-save` 1.8.9; that of the nft variant is the same, but for its errors.

use core::fmt::{self, Display, Formatter, Write};

use super::matches::{Addrtype, CtTest, Icmp, Match, Multiport, Ports, Side, Tcp, TcpFlags, TtlTest, Which};
use super::names;
use super::rule::{Header, Rule};
use super::ruleset::{Chain, Counters, Policy, Ruleset, Table};
use super::set::End;
use super::subject::Delivery;
use super::target::{ConnmarkChange, Events, Log, LogDetails, MarkChange, Reject, Target, Template, Zone, ZoneId};
use super::value::{Masked, Not, Span};
use crate::nat::{Range, Which as PortChoice};
use crate::status::{Direction, Status};
use crate::tuple::Address;

/// All tables, without the counters of rules (`iptables-save`).
impl<A: Address> Display for Ruleset<A> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.tables().try_for_each(|table| write_table(table, false, f))
    }
}

impl<A: Address> Ruleset<A> {
    /// All tables, with the counters of rules (`iptables-save -c`).
    pub fn with_counters(&self) -> impl Display + '_ {
        struct WithCounters<'a, A>(&'a Ruleset<A>);
        impl<A: Address> Display for WithCounters<'_, A> {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                self.0.tables().try_for_each(|table| write_table(table, true, f))
            }
        }
        WithCounters(self)
    }
}

fn write_table<A: Address>(table: &Table<A>, with_counters: bool, f: &mut Formatter<'_>) -> fmt::Result {
    writeln!(f, "*{}", table.name)?;
    for Chain { name, policy, counters, .. } in &table.chains {
        let policy = match policy {
            Some(Policy::Accept) => "ACCEPT",
            Some(Policy::Drop) => "DROP",
            None => "-",
        };
        writeln!(f, ":{name} {policy} {counters}")?;
    }
    for chain in &table.chains {
        for rule in &chain.rules {
            if with_counters {
                write!(f, "{} ", rule.counters)?;
            }
            writeln!(f, "-A {}{rule}", chain.name)?;
        }
    }
    writeln!(f, "COMMIT")
}

impl Display for Counters {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "[{}:{}]", self.packets, self.bytes)
    }
}

/// What follows the chain's name, a space before each word.
impl<A: Address> Display for Rule<A> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.header.fmt(f)?;
        self.matches.iter().try_for_each(|criterion| write!(f, " {criterion}"))?;
        self.target.as_ref().map_or(Ok(()), |target| write!(f, " {target}"))
    }
}

/// A space before each word.
impl<A: Address> Display for Header<A> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Self { source, destination, input, output, protocol, fragment } = self;
        let shown = |net: &Option<Not<Masked<A>>>| net.filter(|net| net.not || !net.is.is_any());
        option(f, "-s", shown(source))?;
        option(f, "-d", shown(destination))?;
        option(f, "-i", input.filter(|device| !device.is.is_any()))?;
        option(f, "-o", output.filter(|device| !device.is.is_any()))?;
        option(f, "-p", protocol.map(|Not { is, not }| Not { is: names::Protocol(is), not }))?;
        f.write_str(match fragment {
            Some(true) => " -f",
            Some(false) => " ! -f",
            None => "",
        })
    }
}

impl<A: Address> Header<A> {
    /// One of its criteria alone, by its option.
    pub(super) fn criterion(&self, option: &str) -> String {
        let mut one = Self::default();
        match option {
            "-s" => one.source = self.source,
            "-d" => one.destination = self.destination,
            "-i" => one.input = self.input,
            "-o" => one.output = self.output,
            "-p" => one.protocol = self.protocol,
            _ => one.fragment = self.fragment,
        }
        one.to_string().trim_start().to_owned()
    }
}

/// ` ! --option value`, if there is one.
fn option<T: Display>(f: &mut Formatter<'_>, name: &str, value: Option<Not<T>>) -> fmt::Result {
    let Some(Not { is, not }) = value else { return Ok(()) };
    write!(f, "{}{name} {is}", if not { " ! " } else { " " })
}

/// With `-m NAME` before it.
impl<A: Address> Display for Match<A> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "-m {}", self.name())?;
        match self {
            Self::Tcp(tcp) => write_tcp(tcp, f),
            Self::Udp(ports) | Self::Sctp(ports) | Self::Dccp(ports) => write_ports(ports, f),
            Self::Multiport(multiport) => write_multiport(multiport, f),
            Self::Icmp(Not { is, not }) => {
                let name = if A::IS_V4 { "--icmp-type" } else { "--icmpv6-type" };
                option(f, name, Some(Not { is: IcmpText(*is), not: *not }))
            }
            Self::Conntrack(conntrack) => conntrack.tests().iter().try_for_each(|test| write_conntrack(test, f)),
            Self::State(states) => option(f, "--state", Some(*states)),
            Self::Mark(mark) | Self::Connmark(mark) => option(f, "--mark", Some(*mark)),
            Self::Limit(limit) => write!(f, " {limit}"),
            Self::Comment(comment) => write!(f, " --comment {}", Quoted(comment)),
            Self::Addrtype(addrtype) => write_addrtype(addrtype, f),
            Self::Length(Not { is: Span { min, max }, not }) if min != max => {
                write!(f, "{}--length {min}:{max}", if *not { " ! " } else { " " })
            }
            Self::Length(length) => option(f, "--length", Some(*length)),
            Self::Ttl(ttl) => write_ttl(*ttl, self.name(), f),
            Self::Helper(Not { is, not }) => option(f, "--helper", Some(Not { is: Quoted(is), not: *not })),
            Self::Pkttype(Not { is, not }) => {
                let name = match is {
                    Delivery::Unicast => "unicast",
                    Delivery::Broadcast => "broadcast",
                    Delivery::Multicast => "multicast",
                };
                option(f, "--pkt-type", Some(Not { is: name, not: *not }))
            }
            Self::Set(Not { is: lookup, not }) => {
                let ends = lookup.ends.iter().map(|end| match end {
                    End::Source => "src",
                    End::Destination => "dst",
                });
                let ends = ends.collect::<Vec<_>>().join(",");
                write!(f, "{}--match-set {} {ends}", if *not { " ! " } else { " " }, lookup.name)
            }
        }
    }
}

fn write_ports(Ports { source, destination }: &Ports, f: &mut Formatter<'_>) -> fmt::Result {
    let shown = |span: &Option<Not<Span<u16>>>| span.filter(|span| span.not || span.is != (0..=u16::MAX).into());
    option(f, "--sport", shown(source))?;
    option(f, "--dport", shown(destination))
}

fn write_tcp(tcp: &Tcp, f: &mut Formatter<'_>) -> fmt::Result {
    write_ports(&tcp.ports, f)?;
    option(f, "--tcp-option", tcp.option)?;
    let Some(Not { is: TcpFlags { mask, set }, not }) = tcp.flags else { return Ok(()) };
    write!(f, "{}--tcp-flags {} {}", if not { " ! " } else { " " }, FlagText(mask), FlagText(set))
}

fn write_multiport(Not { is: Multiport { which, ports }, not }: &Not<Multiport>, f: &mut Formatter<'_>) -> fmt::Result {
    let name = match which {
        Which::Source => "--sports",
        Which::Destination => "--dports",
        Which::Either => "--ports",
    };
    option(f, name, Some(Not { is: List(ports), not: *not }))
}

fn write_conntrack<A: Address>(test: &CtTest<A>, f: &mut Formatter<'_>) -> fmt::Result {
    let name = test.option();
    match test {
        CtTest::State(states) => option(f, name, Some(*states)),
        CtTest::Protocol(protocol) => option(f, name, Some(*protocol)),
        CtTest::OriginalSource(Not { is, not })
        | CtTest::OriginalDestination(Not { is, not })
        | CtTest::ReplySource(Not { is, not })
        | CtTest::ReplyDestination(Not { is, not }) => option(f, name, Some(Not { is: CtAddress(*is), not: *not })),
        CtTest::OriginalSourcePort(ports)
        | CtTest::OriginalDestinationPort(ports)
        | CtTest::ReplySourcePort(ports)
        | CtTest::ReplyDestinationPort(ports) => option(f, name, Some(*ports)),
        CtTest::Status(Not { is, not }) => option(f, name, Some(Not { is: StatusText(*is), not: *not })),
        CtTest::Expire(seconds) => option(f, name, Some(*seconds)),
        CtTest::Direction(Direction::Original) => write!(f, " {name} ORIGINAL"),
        CtTest::Direction(Direction::Reply) => write!(f, " {name} REPLY"),
    }
}

fn write_addrtype(addrtype: &Addrtype, f: &mut Formatter<'_>) -> fmt::Result {
    option(f, "--src-type", addrtype.source)?;
    option(f, "--dst-type", addrtype.destination)?;
    f.write_str(match addrtype.limit {
        Some(Side::In) => " --limit-iface-in",
        Some(Side::Out) => " --limit-iface-out",
        None => "",
    })
}

fn write_ttl(ttl: TtlTest, name: &str, f: &mut Formatter<'_>) -> fmt::Result {
    match ttl {
        TtlTest::Is(Not { is, not }) => write!(f, "{}--{name}-eq {is}", if not { " ! " } else { " " }),
        TtlTest::Below(bound) => write!(f, " --{name}-lt {bound}"),
        TtlTest::Above(bound) => write!(f, " --{name}-gt {bound}"),
    }
}

/// With `-j NAME` before it.
impl<A: Address> Display for Target<A> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let verb = if matches!(self, Self::Goto(_)) { "-g" } else { "-j" };
        write!(f, "{verb} {}", self.name())?;
        match self {
            Self::Accept | Self::Drop | Self::Return | Self::Jump(_) | Self::Goto(_) | Self::Notrack | Self::Trace => {
                Ok(())
            }
            Self::Reject(reject) => write!(f, " --reject-with {}", reject_name::<A>(*reject)),
            Self::Snat(range) => write_range(range, "--to-source", f),
            Self::Dnat(range) => write_range(range, "--to-destination", f),
            Self::Masquerade(range) | Self::Redirect(range) => {
                if let Some(ports) = range.ports {
                    write!(f, " --to-ports {}", PortText(ports))?;
                }
                write_choice(range, f)
            }
            Self::Netmap(net) => match net.length() {
                Some(length) => write!(f, " --to {}/{length}", net.address()),
                None => write!(f, " --to {}/{}", net.address(), net.mask()),
            },
            Self::Mark(change) => write_mark_change(*change, f),
            Self::Connmark(ConnmarkChange::Set(change)) => write_mark_change(*change, f),
            Self::Connmark(ConnmarkChange::Save { nfmask, ctmask }) => {
                write!(f, " --save-mark --nfmask {nfmask:#x} --ctmask {ctmask:#x}")
            }
            Self::Connmark(ConnmarkChange::Restore { nfmask, ctmask }) => {
                write!(f, " --restore-mark --nfmask {nfmask:#x} --ctmask {ctmask:#x}")
            }
            Self::Untrack => f.write_str(" --notrack"),
            Self::Ct(template) => write_template(template, f),
            Self::Log(log) => write_log(log, f),
        }
    }
}

fn reject_name<A: Address>(reject: Reject) -> &'static str {
    match reject {
        Reject::TcpReset => "tcp-reset",
        Reject::Icmp { code, .. } => {
            let found = Reject::names::<A>().iter().find(|&&(known, ..)| known == code);
            found.map_or("icmp-port-unreachable", |&(_, name, _)| name)
        }
    }
}

fn write_mark_change(MarkChange { flip, clear }: MarkChange, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, " --set-xmark {flip:#x}/{clear:#x}")
}

fn write_range<A: Address>(range: &Range<A>, name: &str, f: &mut Formatter<'_>) -> fmt::Result {
    write!(f, " {name} ")?;
    let has_brackets = !A::IS_V4 && range.ports.is_some();
    if let Some((low, high)) = range.addresses {
        f.write_str(if has_brackets { "[" } else { "" })?;
        if low == high {
            write!(f, "{low}")?
        } else {
            write!(f, "{low}-{high}")?
        }
        f.write_str(if has_brackets { "]" } else { "" })?;
    }
    if let Some(ports) = range.ports {
        write!(f, ":{}", PortText(ports))?;
    }
    if let PortChoice::Shifted { base } = range.which {
        write!(f, "/{base}")?;
    }
    write_choice(range, f)
}

fn write_choice<A>(range: &Range<A>, f: &mut Formatter<'_>) -> fmt::Result {
    f.write_str(match range.which {
        PortChoice::Random => " --random",
        PortChoice::FullyRandom => " --random-fully",
        PortChoice::Same | PortChoice::Shifted { .. } => "",
    })?;
    f.write_str(if range.persistent { " --persistent" } else { "" })
}

fn write_template(template: &Template, f: &mut Formatter<'_>) -> fmt::Result {
    let Template { helper, timeout, events, expectation_events, zone } = template;
    if let Some(helper) = helper {
        write!(f, " --helper {}", Quoted(helper))?;
    }
    if let Some(timeout) = timeout {
        write!(f, " --timeout {}", Quoted(timeout))?;
    }
    if let Some(Events(bits)) = events {
        let names = Events::NAMES.iter().filter(|(bit, _)| bits & 1 << bit != 0).map(|(_, name)| *name);
        write!(f, " --ctevents {}", names.collect::<Vec<_>>().join(","))?;
    }
    f.write_str(if *expectation_events { " --expevents new" } else { "" })?;
    let Some(Zone { id, only }) = zone else { return Ok(()) };
    f.write_str(match only {
        Some(Direction::Original) => " --zone-orig ",
        Some(Direction::Reply) => " --zone-reply ",
        None => " --zone ",
    })?;
    match id {
        ZoneId::Number(number) => write!(f, "{number}"),
        ZoneId::Mark => f.write_str("mark"),
    }
}

fn write_log(Log { prefix, level, details }: &Log, f: &mut Formatter<'_>) -> fmt::Result {
    if !prefix.is_empty() {
        write!(f, " --log-prefix {}", Quoted(prefix))?;
    }
    if *level != Log::WARNING {
        write!(f, " --log-level {level}")?;
    }
    let options = LogDetails::OPTIONS.iter().filter(|(bit, _)| details.0 & bit != 0);
    options.into_iter().try_for_each(|(_, option)| write!(f, " {option}"))
}

/// A word in quotes, if a shell or iptables-restore would need them (`xtables_save_string`).
struct Quoted<'a>(&'a str);

impl Display for Quoted<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-".contains(c);
        if !self.0.is_empty() && self.0.chars().all(is_plain) {
            return f.write_str(self.0);
        }
        f.write_char('"')?;
        for c in self.0.chars() {
            if matches!(c, '"' | '\\' | '\'') {
                f.write_char('\\')?;
            }
            f.write_char(c)?;
        }
        f.write_char('"')
    }
}

/// Names of TCP flags; unnamed bits are not written.
struct FlagText(u8);

impl Display for FlagText {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let names = TcpFlags::NAMES.iter().filter(|(bit, _)| self.0 & bit != 0).map(|(_, name)| *name);
        let names = names.collect::<Vec<_>>();
        f.write_str(&if names.is_empty() { "NONE".to_owned() } else { names.join(",") })
    }
}

/// Numbers with commas between.
struct List<'a, T>(&'a [T]);

impl<T: Display> Display for List<'_, T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut items = self.0.iter().enumerate();
        items.try_for_each(|(n, item)| write!(f, "{}{item}", if n == 0 { "" } else { "," }))
    }
}

/// `type`, `type/code` or `any`.
struct IcmpText(Icmp);

impl Display for IcmpText {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Icmp { message_type: None, .. } => f.write_str("any"),
            Icmp { message_type: Some(message_type), code: None } => write!(f, "{message_type}"),
            Icmp { message_type: Some(message_type), code: Some(code) } => write!(f, "{message_type}/{code}"),
        }
    }
}

/// One address without its length.
struct CtAddress<A>(Masked<A>);

impl<A: Address> Display for CtAddress<A> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0.length() == Some(A::BITS) { write!(f, "{}", self.0.address()) } else { write!(f, "{}", self.0) }
    }
}

/// The bits that `--ctstatus` knows.
struct StatusText(Status);

impl Display for StatusText {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.0 == Status::default() { f.write_str("NONE") } else { self.0.fmt(f) }
    }
}

/// `low-high`, or one port.
struct PortText((u16, u16));

impl Display for PortText {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (low, high) = self.0;
        if low == high { write!(f, "{low}") } else { write!(f, "{low}-{high}") }
    }
}
