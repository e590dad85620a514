//! What makes no sense together, or where it stands, to iptables or the kernel.

use super::error::Problem;
use super::matches::{Addrtype, CtTest, Icmp, Match, Multiport, Ports, Side};
use super::rule::Rule;
use super::target::{Log, Reject, Target};
use super::value::{Not, Span};
use super::{AddressKind, Hook, Interface, TableName};
use crate::nat::{Range, Which};
use crate::tuple::{Address, DCCP, SCTP, UDP_LITE};

/// Whether a chain can be called so.
pub(super) fn chain_name(name: &str, longest: usize) -> Result<(), String> {
    if name.is_empty() || name.len() > longest {
        return Err(format!("a chain's name has 1 to {longest} bytes"));
    }
    if name.starts_with(['-', '!'])
        || name.bytes().any(|byte| byte.is_ascii_whitespace() || byte.is_ascii_control() || byte == b'"')
    {
        return Err("a chain's name neither begins with '-' or '!' nor has spaces or quotes".into());
    }
    Ok(())
}

/// Checks what a rule says by itself.
pub(super) fn rule<A: Address>(rule: &Rule<A>) -> Result<(), Problem> {
    let header = &rule.header;
    for device in [header.input, header.output].into_iter().flatten() {
        if device.is == Interface::NOTHING {
            return sense("no interface can have that name: it has 1 to 15 bytes, without '/' and spaces");
        }
    }
    let is_nothing = |device: Not<Interface>| device.not && device.is.is_any();
    if [header.input, header.output].into_iter().flatten().any(is_nothing) {
        return sense("the opposite of every interface ('+') matches nothing");
    }
    if header.protocol.is_some_and(|protocol| protocol.is == 0) {
        return sense("protocol 0 is every protocol: leave -p out");
    }
    if header.fragment.is_some() && !A::IS_V4 {
        return sense("-f is for IPv4 only: in IPv6 fragments have a header of their own");
    }
    for criterion in &rule.matches {
        check_match(criterion, header.protocol)?;
    }
    rule.target.as_ref().map_or(Ok(()), |target| check_target(target, header.protocol))
}

/// Checks that a rule makes sense in `table`, reached from `hooks`.
pub(super) fn place<A: Address>(rule: &Rule<A>, table: TableName, hooks: u8) -> Result<(), Problem> {
    const IN: u8 = Hook::PreRouting.bit() | Hook::Input.bit();
    const OUT: u8 = Hook::Output.bit() | Hook::PostRouting.bit();
    let only = |wanted: TableName, name: &str| {
        if table == wanted { Ok(()) } else { sense(format!("{name} is for table {wanted}, not for {table}")) }
    };
    let outside = |allowed: u8, name: &str| {
        let wrong = Hook::ALL.into_iter().find(|hook| hooks & hook.bit() & !allowed != 0);
        wrong.map_or(Ok(()), |hook| sense(format!("{name} makes no sense in {hook}, from which this rule is reached")))
    };
    for criterion in &rule.matches {
        if let Match::Addrtype(Addrtype { limit: Some(side), .. }) = criterion {
            match side {
                Side::In => outside(IN | Hook::Forward.bit(), "--limit-iface-in")?,
                Side::Out => outside(OUT | Hook::Forward.bit(), "--limit-iface-out")?,
            }
        }
    }
    let Some(target) = &rule.target else { return Ok(()) };
    let name = target.name();
    match target {
        Target::Snat(_) => {
            only(TableName::Nat, name).and_then(|()| outside(Hook::PostRouting.bit() | Hook::Input.bit(), name))
        }
        Target::Masquerade(_) => only(TableName::Nat, name).and_then(|()| outside(Hook::PostRouting.bit(), name)),
        Target::Dnat(_) | Target::Redirect(_) => {
            only(TableName::Nat, name).and_then(|()| outside(Hook::PreRouting.bit() | Hook::Output.bit(), name))
        }
        Target::Netmap(_) => only(TableName::Nat, name),
        Target::Reject(_) => only(TableName::Filter, name),
        Target::Untrack | Target::Notrack | Target::Ct(_) | Target::Trace => only(TableName::Raw, name),
        Target::Drop if table == TableName::Nat => sense(
            "table nat is asked for the first packet of a flow only and is not for filtering: DROP in filter or raw",
        ),
        Target::Accept
        | Target::Drop
        | Target::Return
        | Target::Jump(_)
        | Target::Goto(_)
        | Target::Mark(_)
        | Target::Connmark(_)
        | Target::Log(_) => Ok(()),
    }
}

/// Checks that `-i` and `-o` make sense in the built-in chain at `hook`.
pub(super) fn devices<A>(rule: &Rule<A>, hook: Hook) -> Result<(), Problem> {
    match hook {
        Hook::Output | Hook::PostRouting if rule.header.input.is_some() => {
            sense(format!("-i makes no sense in {hook}"))
        }
        Hook::PreRouting | Hook::Input if rule.header.output.is_some() => sense(format!("-o makes no sense in {hook}")),
        Hook::PreRouting | Hook::Input | Hook::Forward | Hook::Output | Hook::PostRouting => Ok(()),
    }
}

fn check_match<A: Address>(criterion: &Match<A>, protocol: Option<Not<u8>>) -> Result<(), Problem> {
    let needs = |numbers: &[u8], name: &str| match protocol {
        Some(protocol) if !protocol.not && numbers.contains(&protocol.is) => Ok(()),
        Some(_) | None => sense(format!("-m {} needs {name} before it", criterion.name())),
    };
    match criterion {
        Match::Tcp(tcp) => needs(&[6], "-p tcp").and_then(|()| check_ports(&tcp.ports)),
        Match::Udp(ports) => needs(&[17], "-p udp").and_then(|()| check_ports(ports)),
        Match::Sctp(ports) => needs(&[SCTP], "-p sctp").and_then(|()| check_ports(ports)),
        Match::Dccp(ports) => needs(&[DCCP], "-p dccp").and_then(|()| check_ports(ports)),
        Match::Icmp(Not { is: Icmp { message_type, code }, .. }) => {
            needs(&[A::ICMP.into()], if A::IS_V4 { "-p icmp" } else { "-p ipv6-icmp" })?;
            if message_type.is_none() && (code.is_some() || !A::IS_V4) {
                return sense("an ICMP code needs a type, and ICMPv6 has no type for any");
            }
            Ok(())
        }
        Match::Multiport(Not { is: Multiport { ports, .. }, .. }) => {
            needs(&[6, 17, UDP_LITE, SCTP, DCCP], "-p tcp, udp, udplite, sctp or dccp")?;
            let places: usize = ports.iter().map(|span| if span.min == span.max { 1 } else { 2 }).sum();
            if places == 0 || places > Multiport::MOST {
                return sense(format!("multiport takes 1 to {} ports, a range counting as two", Multiport::MOST));
            }
            Ok(())
        }
        Match::Conntrack(conntrack) => {
            if conntrack.tests().is_empty() {
                return sense("-m conntrack needs an option");
            }
            let is_prefix = |test: &CtTest<A>| test.network().is_none_or(|net| net.length().is_some());
            if !conntrack.tests().iter().all(is_prefix) {
                return sense("-m conntrack takes networks by ADDRESS/LENGTH: iptables-save loses every other mask");
            }
            Ok(())
        }
        Match::Comment(comment) if comment.len() > 255 || comment.contains(['\n', '\0']) => {
            sense("a comment has at most 255 bytes and no line end")
        }
        Match::Helper(helper) if helper.is.len() > 29 => sense("a helper's name has at most 29 bytes"),
        Match::Addrtype(Addrtype { source: None, destination: None, .. }) => {
            sense("-m addrtype needs --src-type or --dst-type")
        }
        Match::Addrtype(Addrtype { source, destination, .. }) if !A::IS_V4 => {
            let unknown = [AddressKind::Broadcast, AddressKind::Blackhole, AddressKind::Prohibit];
            let asked = |kind| [source, destination].into_iter().flatten().any(|kinds| kinds.is.contains(kind));
            if unknown.into_iter().any(asked) {
                return sense("in IPv6 no address is of kind BROADCAST, BLACKHOLE or PROHIBIT to -m addrtype");
            }
            Ok(())
        }
        Match::State(_)
        | Match::Mark(_)
        | Match::Connmark(_)
        | Match::Limit(_)
        | Match::Comment(_)
        | Match::Addrtype(_)
        | Match::Length(_)
        | Match::Ttl(_)
        | Match::Helper(_)
        | Match::Pkttype(_)
        | Match::Set(_) => Ok(()),
    }
}

/// The opposite of every port is lost by iptables-save, and matches nothing.
fn check_ports(ports: &Ports) -> Result<(), Problem> {
    let is_nothing = |span: Not<Span<u16>>| span.not && span.is == (0..=u16::MAX).into();
    match [ports.source, ports.destination].into_iter().flatten().any(is_nothing) {
        true => sense("the opposite of every port matches nothing"),
        false => Ok(()),
    }
}

fn check_target<A: Address>(target: &Target<A>, protocol: Option<Not<u8>>) -> Result<(), Problem> {
    let number = protocol.filter(|protocol| !protocol.not).map(|protocol| protocol.is);
    match target {
        Target::Reject(Reject::TcpReset) if number != Some(6) => sense("--reject-with tcp-reset needs -p tcp"),
        Target::Snat(range) | Target::Dnat(range) => {
            if range.addresses.is_none() && range.ports.is_none() {
                return sense(format!("{} needs an address or a port", target.name()));
            }
            check_range(range, target.name(), number)
        }
        Target::Masquerade(range) | Target::Redirect(range) => {
            if range.addresses.is_some() {
                return sense(format!("{} takes no address: it is the interface's", target.name()));
            }
            check_range(range, target.name(), number)
        }
        Target::Ct(template) if number.is_none() && (template.helper.is_some() || template.timeout.is_some()) => {
            sense("CT --helper and --timeout need -p with the protocol")
        }
        Target::Log(Log { prefix, .. }) if prefix.len() > Log::LONGEST_PREFIX || prefix.contains(['\n', '\0']) => {
            sense(format!("--log-prefix takes at most {} bytes and no line end", Log::LONGEST_PREFIX))
        }
        Target::Log(Log { level, .. }) if *level > 7 => sense("--log-level goes from 0 to 7"),
        Target::Accept
        | Target::Drop
        | Target::Reject(_)
        | Target::Return
        | Target::Jump(_)
        | Target::Goto(_)
        | Target::Netmap(_)
        | Target::Mark(_)
        | Target::Connmark(_)
        | Target::Untrack
        | Target::Notrack
        | Target::Ct(_)
        | Target::Log(_)
        | Target::Trace => Ok(()),
    }
}

/// Ports need a protocol that has them.
fn check_range<A: Address>(range: &Range<A>, name: &str, protocol: Option<u8>) -> Result<(), Problem> {
    if range.ports.is_some() && !matches!(protocol, Some(6 | 17 | SCTP | DCCP | 1 | 58)) {
        return sense(format!("{name} with ports needs -p tcp, udp, sctp, dccp or icmp"));
    }
    if range.addresses.is_some_and(|(low, high)| high < low) || range.ports.is_some_and(|(low, high)| high < low) {
        return sense(format!("{name} has a range that ends before it begins"));
    }
    if matches!(range.which, Which::Shifted { .. }) && (name != "DNAT" || range.ports.is_none()) {
        return sense("only DNAT with ports shifts them from a base");
    }
    Ok(())
}

fn sense<T>(text: impl Into<String>) -> Result<T, Problem> {
    Err(Problem::Sense(text.into()))
}
