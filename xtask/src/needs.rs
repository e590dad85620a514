//! The programs that tests drive: real peers and the kernel's own tools.
//!
//! On Debian and as root, what is missing is installed, without starting any service. Elsewhere it is named, with the
//! command that installs it; the tests that need it print `SKIP` and the rest runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result};

use crate::step::{self, Show};

/// One program that tests run.
struct Need {
    program: &'static str,
    package: &'static str,
    without_it: &'static str,
}

/// What the tests need, in the names of Debian 12.
const NEEDS: &[Need] = &[
    Need { program: "ip", package: "iproute2", without_it: "every test in network namespaces" },
    Need { program: "ping", package: "iputils-ping", without_it: "packet loss and round trips through tunnels" },
    Need { program: "nft", package: "nftables", without_it: "our NAT rules held against those of nft" },
    Need { program: "iptables-restore", package: "iptables", without_it: "our reading of rules held against iptables" },
    Need { program: "ipset", package: "ipset", without_it: "our reading of sets held against ipset" },
    Need {
        program: "conntrack",
        package: "conntrack",
        without_it: "our view of the tracked flows held against its own",
    },
    Need { program: "iperf3", package: "iperf3", without_it: "that iperf3 finds our routers in order" },
    Need { program: "ethtool", package: "ethtool", without_it: "STUN answered by XDP on a cable" },
    Need { program: "wg", package: "wireguard-tools", without_it: "that `wg` can read and set our device" },
    Need { program: "wireguard-go", package: "wireguard-go", without_it: "tunnels to wireguard-go" },
    Need { program: "dig", package: "bind9-dnsutils", without_it: "DNS conformance by dig and delv" },
    Need {
        program: "stun",
        package: "stun-client",
        without_it: "our NATs judged by RFC 3489's tests; our STUN server asked by its client",
    },
    Need {
        program: "stund",
        package: "stun-server",
        without_it: "our NATs judged by RFC 3489's tests; our STUN client at a server of RFC 3489",
    },
    Need {
        program: "turnserver",
        package: "coturn",
        without_it: "our NATs judged by RFC 5780's tests; our STUN server asked by its clients",
    },
    Need { program: "openssl", package: "openssl", without_it: "STUN over TLS asked by openssl" },
    Need {
        program: "miniupnpd",
        package: "miniupnpd-nftables",
        without_it: "that the doctor is granted ports by a real router",
    },
    Need { program: "unbound", package: "unbound", without_it: "DNS behind a strict recursive resolver" },
    Need { program: "qemu-system-x86_64", package: "qemu-system-x86", without_it: "the kernel's own WireGuard" },
];

/// Where programs are that an ordinary user's PATH may lack.
const SYSTEM_DIRECTORIES: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Installs what is missing if that is possible, and names it if not.
pub(crate) fn provide() -> Result<()> {
    let packages = missing_packages();
    if packages.is_empty() {
        return Ok(());
    }
    if is_root() && is_debian() {
        install(&packages)?;
    }
    remind();
    Ok(())
}

/// Names what is still missing and what is not tested without it.
pub(crate) fn remind() {
    let missing: Vec<&Need> = NEEDS.iter().filter(|need| !is_installed(need.program)).collect();
    for need in &missing {
        println!("SKIP       {} is missing, so not tested: {}", need.program, need.without_it);
    }
    if !missing.is_empty() {
        println!("SKIP       to test all: apt-get install {}", missing_packages().join(" "));
    }
}

fn install(packages: &[&str]) -> Result<()> {
    let begun = Instant::now();
    let _no_services = NoServices::begin()?;
    let env = [("DEBIAN_FRONTEND", "noninteractive")];
    let mut args = vec!["install", "--yes", "--no-install-recommends"];
    args.extend(packages);
    let installed = step::run("index", Show::Failure, &env, "apt-get", &["update"])
        .and_then(|()| step::run("packages", Show::Failure, &env, "apt-get", &args));
    if let Err(error) = installed {
        // Without a network the rest can still be tested; `remind` says what is not.
        println!("{}", step::line("packages", "SKIP", begun.elapsed()));
        eprintln!("xtask: {error:#}");
    }
    Ok(())
}

fn missing_packages() -> Vec<&'static str> {
    let mut packages: Vec<_> =
        NEEDS.iter().filter(|need| !is_installed(need.program)).map(|need| need.package).collect();
    packages.dedup();
    packages
}

fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = SYSTEM_DIRECTORIES.iter().map(|directory| Path::new(directory).to_owned());
    std::env::split_paths(&path).chain(system).any(|directory| directory.join(program).is_file())
}

fn is_debian() -> bool {
    let release = fs::read_to_string("/etc/os-release").unwrap_or_default();
    release.lines().any(|line| line == "ID=debian" || line.starts_with("ID_LIKE=") && line.contains("debian"))
}

fn is_root() -> bool {
    Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout.trim_ascii() == b"0")
}

/// While it lives, packages that are installed start no service: unbound would take port 53 of this machine. An
/// administrator's own policy is left alone.
struct NoServices {
    created: bool,
}

impl NoServices {
    /// Debian's hook for exactly this (invoke-rc.d(8)): 101 is "action forbidden by policy".
    const POLICY: &str = "/usr/sbin/policy-rc.d";

    fn begin() -> Result<Self> {
        let created = !Path::new(Self::POLICY).exists();
        if created {
            fs::write(Self::POLICY, "#!/bin/sh\nexit 101\n")
                .and_then(|()| fs::set_permissions(Self::POLICY, fs::Permissions::from_mode(0o755)))
                .with_context(|| format!("cannot write {}", Self::POLICY))?;
        }
        Ok(Self { created })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.created
            && let Err(error) = fs::remove_file(Self::POLICY)
        {
            eprintln!("xtask: {} is left over and must be removed: {error}", Self::POLICY);
        }
    }
}
