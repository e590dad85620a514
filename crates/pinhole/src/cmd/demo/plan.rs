//! Who has which key and tunnel address, and the configuration files that say so.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use ipnet::IpNet;
use pinhole_netns::Host;
use pinhole_wg::quick::{Config, Endpoint, Interface, PeerConfig};
use pinhole_wg::{Key, PrivateKey};

use super::{HUB, Wireguard};

/// The zone that the registry serves.
pub(super) const ZONE: &str = "demo.example.";
/// The port of every device.
pub(super) const PORT: u16 = 51_820;
/// The devices' name.
pub(super) const DEVICE: &str = "wg0";
/// Where a host keeps its configuration.
const DIRECTORY: &str = "/run/pinhole-demo";
/// Keeps the mappings towards the registry open, and so the registry's knowledge fresh.
const KEEPALIVE: u16 = 5;

/// Everyone's part.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) hub: Part,
    pub(super) alice: Part,
    pub(super) bob: Part,
}

/// One host's part.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) address: Ipv4Addr,
    pub(super) private: PrivateKey,
    pub(super) public: Key,
}

impl Plan {
    /// Fresh keys for everyone.
    pub(super) fn new() -> Result<Self> {
        let part = |name, last| {
            let mut bytes = [0; 32];
            let random = fs::File::open("/dev/urandom").and_then(|mut file| file.read_exact(&mut bytes));
            random.context("cannot read /dev/urandom")?;
            let private = PrivateKey::generate(bytes);
            Ok::<_, anyhow::Error>(Part {
                name,
                address: Ipv4Addr::new(10, 77, 0, last),
                public: private.public(),
                private,
            })
        };
        Ok(Self { hub: part("hub", 254)?, alice: part("alice", 1)?, bob: part("bob", 2)? })
    }

    /// The parts of the peers.
    pub(super) fn peers(&self) -> [&Part; 2] {
        [&self.alice, &self.bob]
    }

    /// Whose key this is, in base64.
    pub(super) fn name(&self, key: &str) -> Option<&'static str> {
        [&self.hub, &self.alice, &self.bob]
            .into_iter()
            .find(|part| part.public.to_base64() == key)
            .map(|part| part.name)
    }

    /// What the device of `part` is to be: the registry knows everyone's key and nobody's endpoint, a peer knows the
    /// registry's endpoint and not the other peer's.
    pub(super) fn device(&self, part: &Part) -> Config {
        let interface = Interface {
            private_key: Some(part.private),
            listen_port: Some(PORT),
            addresses: vec![IpNet::V4(ipnet::Ipv4Net::new_assert(part.address, 24))],
            ..Interface::default()
        };
        let others = [&self.hub, &self.alice, &self.bob].into_iter().filter(|other| other.public != part.public);
        let peers = others.map(|other| {
            let is_hub = other.public == self.hub.public;
            PeerConfig {
                allowed_ips: vec![IpNet::V4(other.address.into())],
                endpoint: is_hub.then(|| Endpoint::Address(SocketAddr::new(HUB.into(), PORT))),
                keepalive: is_hub.then_some(KEEPALIVE),
                ..PeerConfig::new(other.public)
            }
        });
        Config { interface, peers: peers.collect() }
    }

    /// Writes the files of `part` to its host, into the `/run` that goes with it: keys never touch a disk. Returns the path
    /// of its `pinhole.toml` there.
    pub(super) fn write(&self, host: &Host, part: &Part, wireguard: Wireguard) -> Result<PathBuf> {
        let directory = Path::new(DIRECTORY);
        let path = directory.join("pinhole.toml");
        let device = directory.join(format!("{DEVICE}.conf"));
        let managed = |userspace| {
            let config = device.display().to_string();
            format!("[[wireguard]]\nconfig = {config:?}\nuserspace = {userspace}\n\n")
        };
        let managed = match wireguard {
            Wireguard::Embedded => managed(true),
            Wireguard::Kernel => managed(false),
            Wireguard::Go => String::new(),
        };
        let role = if part.public == self.hub.public { registry_role() } else { agent_role(self.hub.address) };
        let write = || {
            fs::create_dir_all(directory)?;
            write_private(&device, &self.device(part).to_text())?;
            write_private(&path, &format!("{managed}{role}"))
        };
        host.run(write)?.with_context(|| format!("cannot write {DIRECTORY} of {}", part.name))?;
        Ok(path)
    }
}

/// The registry's share of its `pinhole.toml`.
pub(super) fn registry_role() -> String {
    format!("[registry]\n[[registry.zone]]\nname = \"{ZONE}\"\ndevice = \"{DEVICE}\"\n")
}

/// A peer's share of its `pinhole.toml`.
pub(super) fn agent_role(server: Ipv4Addr) -> String {
    format!("[[agent]]\ndevice = \"{DEVICE}\"\nzone = \"{ZONE}\"\nserver = \"{server}\"\n")
}

fn write_private(path: &Path, text: &str) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(text.as_bytes())
}
