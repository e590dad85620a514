//! Whom to ask: names and addresses as people write them, and the servers that are asked where nobody is named.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Result, bail};
use pinhole_host::probe::Route;

/// The port of STUN (RFC 8489 §18.6).
const PORT: u16 = 3_478;
/// How long a name may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Servers that are run for the public by those who have many users of their own.
const WELL_KNOWN: &[&str] = &["stun.cloudflare.com:3478", "stun.l.google.com:19302", "stun.nextcloud.com:3478"];

/// Servers of the public that are said to know RFC 5780; where none answers, the others have to do.
const WELL_KNOWN_FOR_BEHAVIOUR: &[&str] = &[
    "stunserver2025.stunprotocol.org:3478",
    "stun.hot-chilli.net:3478",
    "stun.voipgate.com:3478",
    "stun.miwifi.com:3478",
];

/// Which addresses are wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
    /// IPv4 where there is a choice: that is where NATs are.
    Any,
}

impl Family {
    fn has(self, address: &SocketAddr) -> bool {
        match self {
            Self::V4 => address.is_ipv4(),
            Self::V6 => address.is_ipv6(),
            Self::Any => true,
        }
    }
}

/// A server by the name that it was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) name: String,
    pub(super) address: SocketAddr,
}

impl Named {
    /// The name as it was given, and the address unless that is the name.
    pub(super) fn with_address(&self) -> String {
        match split(&self.name) {
            Ok((host, _)) if host.parse::<IpAddr>().is_ok() => self.address.to_string(),
            Ok(_) | Err(_) => format!("{} ({})", self.name, self.address),
        }
    }
}

/// The addresses of `servers`, or of well-known ones if there are none; one each.
///
/// # Errors
/// The first that is no name, has no address of the family, or cannot be resolved, unless another one can.
pub(super) async fn resolve(
    route: &Route,
    servers: &[String],
    family: Family,
    for_behaviour: bool,
) -> Result<Vec<Named>> {
    let known = [if for_behaviour { WELL_KNOWN_FOR_BEHAVIOUR } else { &[] }, WELL_KNOWN].concat();
    let names: Vec<String> = match servers {
        [] => known.into_iter().map(str::to_owned).collect(),
        servers => servers.to_vec(),
    };
    let mut found: Vec<Named> = Vec::new();
    let mut trouble = None;
    for task in names.into_iter().map(|name| tokio::spawn(look_up(name))).collect::<Vec<_>>() {
        let (name, answer) = task.await?;
        match answer.and_then(|addresses| choose(route, &addresses, family)) {
            Ok(address) if found.iter().any(|named| named.address == address) => {}
            Ok(address) => found.push(Named { name, address }),
            Err(error) => trouble = trouble.or(Some(format!("{name}: {error}"))),
        }
    }
    match trouble {
        Some(trouble) if found.is_empty() || !servers.is_empty() => bail!("{trouble}"),
        Some(_) | None => Ok(found),
    }
}

async fn look_up(name: String) -> (String, Result<Vec<SocketAddr>, String>) {
    let addresses = async {
        let (host, port) = split(&name)?;
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(vec![SocketAddr::new(address, port)]);
        }
        let answer = tokio::time::timeout(PATIENCE, tokio::net::lookup_host((host, port))).await;
        let answer = answer.map_err(|_| "its name is not resolved in time; give its address instead".to_owned())?;
        let addresses = answer.map_err(|error| format!("its name is not resolved: {error}"))?;
        Ok(addresses.collect())
    };
    let answer = addresses.await;
    (name, answer)
}

/// Host and port of what may be `host`, `host:port`, `2001:db8::1` or `[2001:db8::1]:port`, also as a URI (RFC 7064).
fn split(text: &str) -> Result<(&str, u16), String> {
    let text = text.strip_prefix("stun:").unwrap_or(text);
    let wrong = || format!("`{text}` is not a server: expected host, host:port or [2001:db8::1]:port");
    if text.parse::<IpAddr>().is_ok() {
        return Ok((text, PORT));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok().filter(|port| *port != 0).ok_or_else(wrong)?),
        None => (text, PORT),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() || host.contains([' ', '/', '[']) { Err(wrong()) } else { Ok((host, port)) }
}

/// The first address that is wanted and can be reached, IPv4 before IPv6.
fn choose(route: &Route, addresses: &[SocketAddr], family: Family) -> Result<SocketAddr, String> {
    let mut wanted: Vec<SocketAddr> = addresses.iter().copied().filter(|address| family.has(address)).collect();
    wanted.sort_by_key(SocketAddr::is_ipv6);
    let reached = wanted.iter().find(|address| route.local(**address).is_ok());
    let which = match family {
        Family::V4 => "IPv4 ",
        Family::V6 => "IPv6 ",
        Family::Any => "",
    };
    // An address without a route is asked for the error that names it.
    reached.or(wanted.first()).copied().ok_or_else(|| format!("it has no {which}address"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_as_people_write_them() {
        let cases = [
            ("stun.example.org", ("stun.example.org", 3_478)),
            ("stun.example.org:19302", ("stun.example.org", 19_302)),
            ("stun:stun.example.org", ("stun.example.org", 3_478)),
            ("192.0.2.1:5000", ("192.0.2.1", 5_000)),
            ("2001:db8::1", ("2001:db8::1", 3_478)),
            ("[2001:db8::1]:5000", ("2001:db8::1", 5_000)),
        ];
        for (text, expected) in cases {
            assert_eq!(split(text), Ok(expected), "{text}");
        }
        for text in ["", ":3478", "host:0", "host:port", "a b", "[::1"] {
            assert!(split(text).is_err(), "{text}");
        }
    }
}
