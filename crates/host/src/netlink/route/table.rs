//! Routes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::IpNet;

use super::{family, ip, octets, u32_in};
use crate::netlink::{Error, Message, Reply, Socket};

/// Bytes of `struct rtmsg`.
const FIXED: usize = 12;
/// `RT_TABLE_LOCAL`: the addresses of this host.
pub const LOCAL: u32 = 255;
/// `RT_TABLE_MAIN`.
pub const MAIN: u32 = 254;
const CREATE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_EXCL) as u16;
const REPLACE: u16 = (libc::NLM_F_CREATE | libc::NLM_F_REPLACE) as u16;
/// `RTPROT_STATIC`: set by an administrator.
const STATIC: u8 = 4;
/// `RTN_UNICAST`.
const UNICAST: u8 = 1;
const SCOPE_GLOBAL: u8 = 0;
const SCOPE_LINK: u8 = 253;

/// A unicast route.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Where to.
    pub destination: IpNet,
    /// Through which router; `None` for a neighbour on the link.
    pub gateway: Option<IpAddr>,
    /// Through which interface, by index.
    pub interface: Option<u32>,
    /// In which table ([`MAIN`] if there is no reason for another).
    pub table: u32,
    /// The smaller, the better; `None` leaves it to the kernel.
    pub metric: Option<u32>,
    /// Which of our addresses to send from.
    pub source: Option<IpAddr>,
}

impl Route {
    /// A route in the main table to `destination` through `interface`.
    pub fn to(destination: IpNet, interface: u32) -> Self {
        let interface = Some(interface);
        Self { destination, gateway: None, interface, table: MAIN, metric: None, source: None }
    }

    /// The default route through `gateway`.
    pub fn default_via(gateway: IpAddr) -> Self {
        let all = match gateway {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let destination = IpNet::new_assert(all, 0);
        Self { destination, gateway: Some(gateway), interface: None, table: MAIN, metric: None, source: None }
    }

    pub(crate) fn parse(reply: &Reply) -> Option<Self> {
        Self::parse_kind(reply, UNICAST)
    }

    fn parse_kind(reply: &Reply, wanted: u8) -> Option<Self> {
        let fixed = reply.fixed::<FIXED>()?;
        let (family, prefix, table, kind) = (fixed[0], fixed[1], fixed[4], fixed[7]);
        let all = match i32::from(family) {
            libc::AF_INET => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            libc::AF_INET6 => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
            _ => return None,
        };
        let destination = IpNet::new(all, prefix).ok()?;
        let mut route =
            Self { destination, gateway: None, interface: None, table: u32::from(table), metric: None, source: None };
        for (kind, value) in reply.attributes(FIXED) {
            match kind {
                libc::RTA_DST => route.destination = IpNet::new(ip(value)?, prefix).ok()?,
                libc::RTA_GATEWAY => route.gateway = ip(value),
                libc::RTA_OIF => route.interface = u32_in(value),
                libc::RTA_TABLE => route.table = u32_in(value)?,
                libc::RTA_PRIORITY => route.metric = u32_in(value),
                libc::RTA_PREFSRC => route.source = ip(value),
                _ => {}
            }
        }
        (kind == wanted).then_some(route)
    }
}

/// Every unicast route of every table, both families.
///
/// # Errors
/// The kernel's refusal.
pub fn list(socket: &mut Socket) -> Result<Vec<Route>, Error> {
    let replies = socket.dump(Message::new(libc::RTM_GETROUTE, 0).fixed(&[0; FIXED]))?;
    Ok(replies.iter().filter_map(Route::parse).collect())
}

/// The route a packet to `destination` would take, with the source address it would get; `mark` selects by rules.
///
/// # Errors
/// `ENETUNREACH` when there is none.
pub fn lookup(socket: &mut Socket, destination: IpAddr, mark: u32) -> Result<Route, Error> {
    let address = octets(destination);
    let mut fixed = [0; FIXED];
    fixed[0] = family(destination);
    fixed[1] = (address.len() * 8) as u8;
    let message = Message::new(libc::RTM_GETROUTE, 0).fixed(&fixed).attr(libc::RTA_DST, &address);
    let replies = socket.request(message.attr_u32(libc::RTA_MARK, mark))?;
    replies.iter().find_map(Route::parse).ok_or(Error::Malformed("route"))
}

/// Adds a route.
///
/// # Errors
/// [`Error::is_exists`] when it is there; the kernel's refusal otherwise.
pub fn add(socket: &mut Socket, route: &Route) -> Result<(), Error> {
    socket.request(message(libc::RTM_NEWROUTE, CREATE, route)).map(drop)
}

/// Adds a route in the place of one with the same destination, table and metric.
///
/// # Errors
/// The kernel's refusal.
pub fn replace(socket: &mut Socket, route: &Route) -> Result<(), Error> {
    socket.request(message(libc::RTM_NEWROUTE, REPLACE, route)).map(drop)
}

/// Removes a route.
///
/// # Errors
/// Not found ([`Error::is_not_found`]) when it is not there.
pub fn delete(socket: &mut Socket, route: &Route) -> Result<(), Error> {
    socket.request(message(libc::RTM_DELROUTE, 0, route)).map(drop)
}

/// What a table says about a destination, if it is no way there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum NoWay {
    /// Nothing: the next rule decides.
    Throw,
    /// Packets to there are lost without a word.
    Blackhole,
}

impl NoWay {
    /// `RTN_*`.
    const fn kind(self) -> u8 {
        match self {
            Self::Throw => 9,
            Self::Blackhole => 6,
        }
    }
}

/// Makes a table say this about `destination`, instead of what it said with the same metric; 0 is the best.
///
/// # Errors
/// The kernel's refusal.
pub fn set_no_way(socket: &mut Socket, destination: IpNet, table: u32, what: NoWay, metric: u32) -> Result<(), Error> {
    let message = no_way(libc::RTM_NEWROUTE, REPLACE, destination, table, what);
    socket.request(message.attr_u32(libc::RTA_PRIORITY, metric)).map(drop)
}

/// Removes what [`set_no_way`] made, of several metrics the best.
///
/// # Errors
/// Not found ([`Error::is_not_found`]) when it is not there.
pub fn delete_no_way(socket: &mut Socket, destination: IpNet, table: u32, what: NoWay) -> Result<(), Error> {
    socket.request(no_way(libc::RTM_DELROUTE, 0, destination, table, what)).map(drop)
}

/// The destinations that a table has no way to, both families.
///
/// # Errors
/// The kernel's refusal.
pub fn list_no_ways(socket: &mut Socket, table: u32) -> Result<Vec<(IpNet, NoWay)>, Error> {
    let replies = socket.dump(Message::new(libc::RTM_GETROUTE, 0).fixed(&[0; FIXED]))?;
    let of = |what: NoWay| {
        let routes = replies.iter().filter_map(move |reply| Route::parse_kind(reply, what.kind()));
        routes.filter(move |route| route.table == table).map(move |route| (route.destination, what))
    };
    Ok(of(NoWay::Throw).chain(of(NoWay::Blackhole)).collect())
}

fn no_way(kind: u16, request: u16, destination: IpNet, table: u32, what: NoWay) -> Message {
    let mut fixed = [0; FIXED];
    fixed[0] = family(destination.addr());
    fixed[1] = destination.prefix_len();
    fixed[4] = u8::try_from(table).unwrap_or(0);
    fixed[5] = STATIC;
    fixed[7] = what.kind();
    Message::new(kind, request)
        .fixed(&fixed)
        .attr(libc::RTA_DST, &octets(destination.network()))
        .attr_u32(libc::RTA_TABLE, table)
}

fn message(kind: u16, request: u16, route: &Route) -> Message {
    let mut fixed = [0; FIXED];
    fixed[0] = family(route.destination.addr());
    fixed[1] = route.destination.prefix_len();
    fixed[4] = u8::try_from(route.table).unwrap_or(0);
    fixed[5] = STATIC;
    fixed[6] = if route.gateway.is_some() { SCOPE_GLOBAL } else { SCOPE_LINK };
    fixed[7] = UNICAST;
    let mut message = Message::new(kind, request)
        .fixed(&fixed)
        .attr(libc::RTA_DST, &octets(route.destination.network()))
        .attr_u32(libc::RTA_TABLE, route.table);
    if let Some(gateway) = route.gateway {
        message = message.attr(libc::RTA_GATEWAY, &octets(gateway));
    }
    if let Some(interface) = route.interface {
        message = message.attr_u32(libc::RTA_OIF, interface);
    }
    if let Some(metric) = route.metric {
        message = message.attr_u32(libc::RTA_PRIORITY, metric);
    }
    if let Some(source) = route.source {
        message = message.attr(libc::RTA_PREFSRC, &octets(source));
    }
    message
}
