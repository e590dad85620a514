//! Which ports of the external address are the gateway's.

use std::fs;
use std::net::Ipv4Addr;

use anyhow::{Context, Result, bail};

use super::scene::Scene;
use crate::config::{self, Ports};

/// What this host draws the ports of its own connections from.
const DRAWN: &str = "/proc/sys/net/ipv4/ip_local_port_range";
/// The highest that a routing rule takes (`fib_rule_port_range_valid`, include/net/fib_rules.h).
const HIGHEST: u16 = 65_534;
/// A gateway with fewer is hardly one, and nor is a host.
const FEWEST: u16 = 512;
/// `TCP_LISTEN` (include/net/tcp_states.h).
const LISTEN: &str = "0A";
/// `TCP_CLOSE`: what a UDP socket is that is not connected.
const UNCONNECTED: &str = "07";

/// The ports that were asked for, or those above what the host draws from, if it has the address too. `None` is all.
///
/// # Errors
/// When there are none left.
pub(super) fn choose(settings: &config::Gateway, scene: &Scene) -> Result<Option<Ports>> {
    if !scene.is_shared {
        return Ok(settings.ports);
    }
    let drawn = drawn()?;
    let Some(ports) = settings.ports else {
        if HIGHEST.saturating_sub(drawn.last) < FEWEST {
            bail!(
                "{} is this host's own address, and it draws from all high ports itself ({drawn}): give the gateway some \
                 with --ports, or an address of its own with --external",
                scene.external
            );
        }
        let ports = Ports { first: drawn.last + 1, last: HIGHEST };
        warn_of_sockets(scene.external, ports);
        return Ok(Some(ports));
    };
    let ports = Ports { last: ports.last.min(HIGHEST), ..ports };
    if ports.last < ports.first {
        bail!("the gateway cannot have port {}: the highest is {HIGHEST}", ports.first);
    }
    let below = ports.first.min(drawn.last).saturating_sub(drawn.first);
    let above = drawn.last.saturating_sub(ports.last.max(drawn.first));
    if below + above < FEWEST {
        bail!(
            "--ports {ports} leaves this host hardly a port of those that it draws from itself ({drawn}): leave it some"
        );
    }
    warn_of_sockets(scene.external, ports);
    Ok(Some(ports))
}

/// The ports that the host draws from.
pub(super) fn drawn() -> Result<Ports> {
    let text = fs::read_to_string(DRAWN).with_context(|| format!("cannot read {DRAWN}"))?;
    let numbers: Vec<u16> = text.split_ascii_whitespace().filter_map(|word| word.parse().ok()).collect();
    let &[first, last] = numbers.as_slice() else { bail!("{DRAWN} is no range of ports: {text:?}") };
    Ok(Ports { first, last })
}

/// Programs that wait on a port of the gateway's hear nothing any more from this address.
fn warn_of_sockets(address: Ipv4Addr, ports: Ports) {
    for (protocol, waiting) in [("tcp", LISTEN), ("udp", UNCONNECTED)] {
        // A kernel without these files has other ways to tell; the warning is all that is lost.
        let text = fs::read_to_string(format!("/proc/net/{protocol}")).unwrap_or_default();
        for port in text.lines().filter_map(|line| local_port(line, address, waiting)) {
            if (ports.first..=ports.last).contains(&port) {
                tracing::warn!(
                    "a program of this host waits on {address} port {port}/{protocol}, which is the gateway's now"
                );
            }
        }
    }
}

/// The port of a socket in `/proc/net/tcp` or `udp` that waits on this address.
fn local_port(line: &str, address: Ipv4Addr, waiting: &str) -> Option<u16> {
    let mut words = line.split_ascii_whitespace();
    let (local, state) = (words.nth(1)?, words.nth(1)?);
    let (ip, port) = local.split_once(':')?;
    // As the processor has it in a word.
    let ip = Ipv4Addr::from(u32::from_str_radix(ip, 16).ok()?.to_ne_bytes());
    let waits = state == waiting && (ip.is_unspecified() || ip == address);
    waits.then(|| u16::from_str_radix(port, 16).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_that_wait_on_the_address_are_found() {
        const TEXT: &str = "\
  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 00000000:F230 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1
   1: 0171CBC6:F231 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 2
   2: 00000000:F232 0100007F:0016 01 00000000:00000000 00:00000000 00000000     0        0 3
   3: 0100007F:F233 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 4";
        let found = TEXT.lines().filter_map(|line| local_port(line, Ipv4Addr::new(198, 203, 113, 1), LISTEN));
        assert_eq!(found.collect::<Vec<_>>(), [62_000, 62_001]);
    }
}
