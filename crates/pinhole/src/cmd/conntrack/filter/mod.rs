//! Which entries are wanted, with the letters and names of conntrack(8).
//!
//! What is given must all hold. The kernel sorts out what it can while it lists; everything is checked again here.

mod value;

use std::net::IpAddr;

use clap::Args as ClapArgs;
use ipnet::IpNet;
use pinhole_host::netlink::conntrack::{Entry, Family, Select, status};

use super::names;
use value::{Bits, Endpoint, Range};

/// Which flows
#[derive(Clone, Debug, Default, ClapArgs)]
#[command(next_help_heading = "Which flows (all that is given must hold)")]
pub(super) struct Filter {
    /// Source address of the original direction
    #[arg(short = 's', long = "src", visible_alias = "orig-src", value_name = "ADDRESS[/BITS]", value_parser = value::net)]
    source: Option<IpNet>,
    /// Destination address of the original direction
    #[arg(short = 'd', long = "dst", visible_alias = "orig-dst", value_name = "ADDRESS[/BITS]", value_parser = value::net)]
    destination: Option<IpNet>,
    /// Source address of the reply direction: where it really goes
    #[arg(short = 'r', long = "reply-src", value_name = "ADDRESS[/BITS]", value_parser = value::net)]
    reply_source: Option<IpNet>,
    /// Destination address of the reply direction: as whom the outside sees the initiator
    #[arg(short = 'q', long = "reply-dst", value_name = "ADDRESS[/BITS]", value_parser = value::net)]
    reply_destination: Option<IpNet>,
    /// Any of the four addresses
    #[arg(long, value_name = "ADDRESS[/BITS]", value_parser = value::net)]
    host: Option<IpNet>,
    /// Protocol by name or number
    #[arg(short = 'p', long = "proto", alias = "protonum", value_name = "PROTOCOL", value_parser = names::protocol_number)]
    protocol: Option<u8>,
    /// Family of addresses: ipv4 or ipv6
    #[arg(short = 'f', long, value_name = "FAMILY", value_parser = value::family)]
    family: Option<Family>,
    /// Source port of the original direction
    #[arg(long = "sport", visible_alias = "orig-port-src", value_name = "PORT[-PORT]")]
    source_port: Option<Range<u16>>,
    /// Destination port of the original direction
    #[arg(long = "dport", visible_alias = "orig-port-dst", value_name = "PORT[-PORT]")]
    destination_port: Option<Range<u16>>,
    /// Source port of the reply direction
    #[arg(long = "reply-port-src", value_name = "PORT[-PORT]")]
    reply_source_port: Option<Range<u16>>,
    /// Destination port of the reply direction
    #[arg(long = "reply-port-dst", value_name = "PORT[-PORT]")]
    reply_destination_port: Option<Range<u16>>,
    /// Any of the four ports
    #[arg(long, value_name = "PORT[-PORT]")]
    port: Option<Range<u16>>,
    /// ICMP type of the original direction
    #[arg(long, alias = "icmpv6-type", value_name = "NUMBER")]
    icmp_type: Option<u8>,
    /// ICMP code of the original direction
    #[arg(long, alias = "icmpv6-code", value_name = "NUMBER")]
    icmp_code: Option<u8>,
    /// ICMP identifier of the original direction
    #[arg(long, alias = "icmpv6-id", value_name = "NUMBER")]
    icmp_id: Option<u16>,
    /// State of the protocol, as in ESTABLISHED; several separated by commas
    #[arg(long, value_name = "STATE", value_delimiter = ',', value_parser = value::state)]
    state: Vec<&'static str>,
    /// Status bits that are all set, as in SEEN_REPLY,ASSURED; not set with UNREPLIED or a ! before the name
    #[arg(short = 'u', long, value_name = "STATUS", value_delimiter = ',')]
    status: Vec<Bits>,
    /// Source translated, to this address and port if given
    #[arg(short = 'n', long, value_name = "ADDRESS[:PORT]", num_args = 0..=1)]
    src_nat: Option<Option<Endpoint>>,
    /// Destination translated, to this address and port if given
    #[arg(short = 'g', long, value_name = "ADDRESS[:PORT]", num_args = 0..=1)]
    dst_nat: Option<Option<Endpoint>>,
    /// Source or destination translated
    #[arg(short = 'j', long, value_name = "ADDRESS[:PORT]", num_args = 0..=1, conflicts_with_all = ["src_nat", "dst_nat"])]
    any_nat: Option<Option<Endpoint>>,
    /// Mark, compared under a mask
    #[arg(short = 'm', long, value_name = "MARK[/MASK]", value_parser = value::mark)]
    mark: Option<(u32, u32)>,
    /// Zone of both directions; 0 is the default
    #[arg(short = 'w', long, value_name = "ZONE")]
    zone: Option<u16>,
    /// Zone of the original direction alone
    #[arg(long, value_name = "ZONE")]
    orig_zone: Option<u16>,
    /// Zone of the reply direction alone
    #[arg(long, value_name = "ZONE")]
    reply_zone: Option<u16>,
    /// Labels that are all set, by bit or by name in connlabel.conf
    #[arg(short = 'l', long, value_name = "LABEL", value_delimiter = ',', value_parser = value::label)]
    label: Vec<u8>,
    /// Seconds left until the flow is forgotten: 30, 10-60, 600- for that or more
    #[arg(short = 't', long = "timeout", value_name = "SECONDS")]
    timeout_s: Option<Range<u32>>,
    /// Helper that reads along, as in ftp
    #[arg(long, value_name = "NAME")]
    helper: Option<String>,
}

impl Filter {
    /// What the kernel can do of it.
    pub(super) fn select(&self) -> Select {
        let nets = [self.source, self.destination, self.reply_source, self.reply_destination, self.host];
        let of = |net: IpNet| if net.addr().is_ipv4() { Family::V4 } else { Family::V6 };
        let bits = self.bits();
        Select {
            family: self.family.or_else(|| nets.into_iter().flatten().map(of).next()),
            mark: self.mark,
            status: (bits.mask != 0).then_some((bits.value, bits.mask)),
            // The kernel leaves out of the default zone what is in another one way, conntrack(8) does not.
            zone: self.zone.filter(|&zone| zone != 0),
        }
    }

    /// Whether this entry is wanted.
    pub(super) fn matches(&self, entry: &Entry) -> bool {
        let bits = self.bits();
        self.matches_addresses(entry)
            && self.matches_ends(entry)
            && self.matches_translation(entry)
            && self.protocol.is_none_or(|protocol| protocol == entry.original.protocol)
            && (self.state.is_empty() || entry.state.is_some_and(|state| self.state.contains(&state.name())))
            && entry.status & bits.mask == bits.value
            && self.mark.is_none_or(|(value, mask)| entry.mark.unwrap_or(0) & mask == value)
            && self.zone.is_none_or(|zone| entry.zone.unwrap_or(0) == zone)
            && self.orig_zone.is_none_or(|zone| entry.original.zone == Some(zone))
            && self.reply_zone.is_none_or(|zone| entry.reply.zone == Some(zone))
            && self.label.iter().all(|&bit| entry.labels.is_some_and(|labels| labels >> bit & 1 != 0))
            && self.timeout_s.is_none_or(|range| entry.timeout_s.is_some_and(|timeout| range.contains(timeout)))
            && self.helper.as_deref().is_none_or(|helper| entry.helper.as_deref() == Some(helper))
    }

    fn bits(&self) -> Bits {
        self.status.iter().copied().fold(Bits::default(), Bits::and)
    }

    fn matches_addresses(&self, entry: &Entry) -> bool {
        let (original, reply) = (&entry.original, &entry.reply);
        let of = match self.family {
            None => true,
            Some(Family::V4) => original.source.is_ipv4(),
            Some(Family::V6) => original.source.is_ipv6(),
        };
        let within = |net: Option<IpNet>, address: IpAddr| net.is_none_or(|net| net.contains(&address));
        let four = [original.source, original.destination, reply.source, reply.destination].map(|end| end.ip());
        of && within(self.source, four[0])
            && within(self.destination, four[1])
            && within(self.reply_source, four[2])
            && within(self.reply_destination, four[3])
            && (self.host.is_none() || four.iter().any(|&address| within(self.host, address)))
    }

    fn matches_ends(&self, entry: &Entry) -> bool {
        let (original, reply) = (&entry.original, &entry.reply);
        let within =
            |range: Option<Range<u16>>, port| range.is_none_or(|range| original.icmp.is_none() && range.contains(port));
        let four = [original.source, original.destination, reply.source, reply.destination].map(|end| end.port());
        let icmp = original.icmp;
        within(self.source_port, four[0])
            && within(self.destination_port, four[1])
            && within(self.reply_source_port, four[2])
            && within(self.reply_destination_port, four[3])
            && (self.port.is_none() || four.iter().any(|&port| within(self.port, port)))
            && self.icmp_type.is_none_or(|kind| icmp.is_some_and(|icmp| icmp.kind == kind))
            && self.icmp_code.is_none_or(|code| icmp.is_some_and(|icmp| icmp.code == code))
            && self.icmp_id.is_none_or(|id| icmp.is_some_and(|icmp| icmp.id == id))
    }

    fn matches_translation(&self, entry: &Entry) -> bool {
        let source = |to: Option<Endpoint>| {
            entry.status & status::SRC_NAT_DONE != 0
                && entry.is_source_translated()
                && to.is_none_or(|to| to.matches(entry.reply.destination))
        };
        let destination = |to: Option<Endpoint>| {
            entry.status & status::DST_NAT_DONE != 0
                && entry.is_destination_translated()
                && to.is_none_or(|to| to.matches(entry.reply.source))
        };
        self.src_nat.is_none_or(source)
            && self.dst_nat.is_none_or(destination)
            && self.any_nat.is_none_or(|to| source(to) || destination(to))
    }
}

#[cfg(test)]
mod tests;
