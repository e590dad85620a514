//! Where to look, and at whom.

use std::fs::File;
use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Result, anyhow, bail};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// Where `ip netns` keeps its namespaces.
const DIRECTORIES: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// Moves this process into a network namespace: a name of `ip netns`, the number of a process, or a path.
///
/// # Errors
/// When there is none, or it may not be entered.
pub(super) fn enter(name: &str) -> Result<()> {
    let path = path(name)?;
    let file = File::open(&path).map_err(|error| match error.kind() {
        ErrorKind::PermissionDenied => anyhow!("cannot look into the network namespace {name}: run this with sudo"),
        _ => anyhow!("no network namespace {}: {error}", path.display()),
    })?;
    move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|errno| match errno {
        Errno::PERM => anyhow!("cannot enter the network namespace {name}: run this with sudo"),
        Errno::INVAL => anyhow!("{name} is no network namespace: `ip netns list` names them"),
        errno => anyhow!("cannot enter the network namespace {name}: {errno}"),
    })
}

fn path(name: &str) -> Result<PathBuf> {
    if name.is_empty() || name == "." || name == ".." {
        bail!("`{name}` names no network namespace: `ip netns list` does");
    }
    if name.contains('/') {
        return Ok(name.into());
    }
    if name.bytes().all(|byte| byte.is_ascii_digit()) {
        return Ok(format!("/proc/{name}/ns/net").into());
    }
    let places = DIRECTORIES.map(|directory| PathBuf::from(directory).join(name));
    match places.into_iter().find(|path| path.exists()) {
        Some(path) => Ok(path),
        None => bail!("no network namespace {name}: `ip netns list` names them; a process or a path will do, too"),
    }
}

/// A peer: an address, with a port or without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Peer {
    pub(super) address: IpAddr,
    pub(super) port: Option<u16>,
}

impl Peer {
    /// Whether `end` is it; an IPv4 address in IPv6 clothes is the IPv4 address.
    pub(super) fn is(&self, end: SocketAddr) -> bool {
        self.address.to_canonical() == end.ip().to_canonical() && self.port.is_none_or(|port| port == end.port())
    }
}

impl FromStr for Peer {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(end) = text.parse::<SocketAddr>() {
            return Ok(Self { address: end.ip(), port: Some(end.port()) });
        }
        let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
        let address = bare.parse().map_err(|_| "expected an address, as in 10.0.0.2, 10.0.0.2:443 or [fd00::2]:443")?;
        Ok(Self { address, port: None })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_a_port_or_any() {
        let peer = |text: &str| text.parse::<Peer>().expect("a peer");
        let end = |text: &str| text.parse::<SocketAddr>().expect("an end");
        assert!(peer("10.0.0.2").is(end("10.0.0.2:443")) && peer("10.0.0.2").is(end("[::ffff:10.0.0.2]:1")));
        assert!(peer("10.0.0.2:443").is(end("10.0.0.2:443")) && !peer("10.0.0.2:443").is(end("10.0.0.2:80")));
        assert!(peer("[fd00::2]:443").is(end("[fd00::2]:443")) && peer("fd00::2").is(end("[fd00::2]:443")));
        for text in ["", "host", "10.0.0.2:99999", "10.0.0", ":443"] {
            assert!(text.parse::<Peer>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_namespace_is_a_name_a_process_or_a_path() {
        assert_eq!(path("12").ok(), Some("/proc/12/ns/net".into()));
        assert_eq!(path("/a/b").ok(), Some("/a/b".into()));
        let error = path("no-such-namespace").expect_err("there is none").to_string();
        assert!(error.contains("ip netns list"), "{error}");
    }
}
