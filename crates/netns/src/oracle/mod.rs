//! The kernel as the router of packet scripts: a namespace with two TUN devices whose other ends are ours.
//!
//! The model: the kernel carries a packet that is written to a TUN device through all its hooks before write(2) returns
//! (`tun_get_user` calls `netif_receive_skb`), so whatever comes of it can be read at once, and nothing is waited for: what
//! is not there then has been dropped. What conntrack says of a packet is told by rules of our own behind it
//! ([`Log`](log::Log)), the entry by a lookup ([`entry`]), which also finds what is not shown in a listing.
//!
//! Needs the privileges of [`pinhole_host::namespace::privilege::acquire`], and from the distribution `nft`,
//! `iptables-restore` and `ip6tables-restore` ([`missing_tools`]). Time is real: a script that waits takes that long.

mod entry;
mod log;
mod router;

use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

use pinhole_netfilter::script::{Executor, Info, Lookup, Observed, Output, Setup, Side};

use log::Seen;
use router::Router;

/// The longest packet that a TUN device gives.
const LONGEST: usize = 65_536;

/// The kernel, as an executor of packet scripts.
#[derive(Debug)]
pub struct Kernel {
    name: String,
    loaded: Option<Loaded>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Loaded {
    setup: Setup,
    router: Router,
    lookup: Lookup,
    start: Instant,
}

/// Why the kernel could not be asked.
#[derive(Debug)]
pub struct OracleError {
    doing: String,
    why: String,
}

impl OracleError {
    fn new(doing: impl Into<String>, why: impl fmt::Display) -> Self {
        Self { doing: doing.into(), why: why.to_string() }
    }
}

impl fmt::Display for OracleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.doing, self.why)
    }
}

impl std::error::Error for OracleError {}

/// The programs that the oracle needs and this machine lacks, with the package that has them.
pub fn missing_tools() -> Vec<&'static str> {
    let tools = [("nft", "nft (nftables)"), ("iptables-restore", "iptables-restore (iptables)")];
    let directories = ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"];
    let is_there = |tool: &str| directories.iter().any(|directory| Path::new(directory).join(tool).exists());
    tools.into_iter().filter(|(tool, _)| !is_there(tool)).map(|(_, words)| words).collect()
}

impl Kernel {
    /// A kernel without a router yet. `name` is the namespace's host name.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), loaded: None, buffer: vec![0; LONGEST] }
    }
}

impl Executor for Kernel {
    type Error = OracleError;

    /// A router that is the same as the one before is kept, and only forgets its entries.
    fn load(&mut self, setup: &Setup) -> Result<(), OracleError> {
        match &mut self.loaded {
            Some(loaded) if loaded.setup == *setup => {
                loaded.router.flush()?;
                (loaded.lookup, loaded.start) = (Lookup::default(), Instant::now());
            }
            _ => {
                self.loaded = None;
                let router = Router::make(&self.name, setup)?;
                let (lookup, start) = (Lookup::default(), Instant::now());
                self.loaded = Some(Loaded { setup: setup.clone(), router, lookup, start });
            }
        }
        Ok(())
    }

    fn step(&mut self, at: Duration, from: Side, packet: &[u8]) -> Result<Observed, OracleError> {
        let not_loaded = || OracleError::new("asking the kernel", "no router has been loaded");
        let Loaded { router, lookup, start, .. } = self.loaded.as_mut().ok_or_else(not_loaded)?;
        let wait = at.saturating_sub(start.elapsed());
        if !wait.is_zero() {
            // A script's time is the kernel's: its timers run in no other.
            std::thread::sleep(wait);
        }
        router.write(from, packet);
        let mut observed = Observed::default();
        for seen in router.log.read()? {
            match seen {
                Seen::Before(info) => observed.info = observed.info.or(Some(info)),
                Seen::Delivered => observed.delivered = true,
            }
        }
        for side in Side::ALL {
            while let Some(packet) = router.read(side, &mut self.buffer)? {
                observed.outputs.push(Output { side, packet: packet.to_vec() });
            }
        }
        if let Some(tuple) = lookup.tuple(packet) {
            observed.entry = router.entries.find(&tuple)?;
        }
        Ok(observed)
    }

    fn flush(&mut self) -> Result<(), OracleError> {
        self.loaded.as_mut().map_or(Ok(()), |loaded| loaded.router.flush())
    }
}

/// What a prefix of the log stands for.
type Word = (&'static str, &'static str, Info);
