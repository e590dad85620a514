//! The kernel as the router of packet scripts: a namespace with two TUN devices whose other ends are ours.
//!
//! The model: the kernel carries a packet that is written to a TUN device through all its hooks before write(2) returns
//! (`tun_get_user` calls `netif_receive_skb`), so whatever comes of it can be read at once, and nothing is waited for: what
//! is not there then has been dropped. What conntrack says of a packet is told by rules of our own behind it
//! ([`Log`](log::Log)), the entry by a lookup ([`entry`]), which also finds what is not shown in a listing.
//!
//! Needs the privileges of [`pinhole_host::namespace::privilege::acquire`], and from the distribution `nft`,
//! `iptables-restore` and `ip6tables-restore` ([`missing_tools`]). Time is real: a script that waits takes that long.

mod btf;
mod entry;
mod log;
mod router;
mod window;

use std::collections::BTreeSet;
use std::fmt;
use std::net::IpAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use pinhole_netfilter::script::{EntryView, Executor, Info, Lookup, Observed, Output, Setup, Side, is_of_tunnel};

use pinhole_wire::{Protocol, icmp, ip, ipv4};

use log::Seen;
use router::Router;
use window::Windows;

/// The longest packet that a TUN device gives.
const LONGEST: usize = 65_536;

/// IPv6's fragment header (RFC 8200 §4.5).
const FRAGMENT: u8 = 44;

/// The kernel, as an executor of packet scripts.
#[derive(Debug)]
pub struct Kernel {
    name: String,
    watches_windows: bool,
    loaded: Option<Loaded>,
    buffer: Vec<u8>,
}

#[derive(Debug)]
struct Loaded {
    setup: Setup,
    router: Router,
    lookup: Lookup,
    start: Instant,
    last_step: (Duration, Duration),
    /// Packets of which some fragments wait for the others; nothing but the end of the namespace makes the kernel forget
    /// them.
    waiting: BTreeSet<(IpAddr, IpAddr, u8, u32)>,
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

/// Why the windows of TCP cannot be watched here, if they cannot.
pub fn missing_windows() -> Option<String> {
    Windows::open().err().map(|error| error.to_string())
}

impl Kernel {
    /// A kernel without a router yet. `name` is the namespace's host name.
    pub fn new(name: &str) -> Self {
        Self { name: name.to_owned(), watches_windows: false, loaded: None, buffer: vec![0; LONGEST] }
    }

    /// How long it is since the router was loaded, or forgot its entries for the next script. Its timers run in that time.
    pub fn elapsed(&self) -> Duration {
        self.loaded.as_ref().map_or(Duration::ZERO, |loaded| loaded.start.elapsed())
    }

    /// When, since the router was loaded, the last packet was put in, and when all was known that came of it.
    pub fn last_step(&self) -> (Duration, Duration) {
        self.loaded.as_ref().map_or_else(Default::default, |loaded| loaded.last_step)
    }

    /// One that shows the windows of TCP flows too: of the entry of every packet that has got to conntrack, and of an INVALID
    /// one's if another packet of its flow has been seen before. Takes root and a kernel with BPF for netfilter; without, loading
    /// fails.
    #[must_use]
    pub fn with_windows(self) -> Self {
        Self { watches_windows: true, ..self }
    }
}

impl Executor for Kernel {
    type Error = OracleError;

    /// A router that is the same as the one before is kept, and only forgets its entries.
    fn load(&mut self, setup: &Setup) -> Result<(), OracleError> {
        match &mut self.loaded {
            Some(loaded) if loaded.setup == *setup && loaded.waiting.is_empty() => {
                loaded.router.flush()?;
                (loaded.lookup, loaded.start) = (Lookup::default(), Instant::now());
                loaded.last_step = Default::default();
            }
            _ => {
                self.loaded = None;
                let router = Router::make(&self.name, setup, self.watches_windows)?;
                let (lookup, start) = (Lookup::default(), Instant::now());
                let (setup, waiting) = (setup.clone(), BTreeSet::new());
                self.loaded = Some(Loaded { setup, router, lookup, start, last_step: Default::default(), waiting });
            }
        }
        Ok(())
    }

    fn step(&mut self, at: Duration, from: Side, packet: &[u8]) -> Result<Observed, OracleError> {
        let not_loaded = || OracleError::new("asking the kernel", "no router has been loaded");
        let Loaded { setup, router, lookup, start, last_step, waiting } =
            self.loaded.as_mut().ok_or_else(not_loaded)?;
        let wait = at.saturating_sub(start.elapsed());
        if !wait.is_zero() {
            // A script's time is the kernel's: its timers run in no other.
            std::thread::sleep(wait);
        }
        let begun = start.elapsed();
        let tuple = lookup.tuple(packet);
        if let Some(windows) = &mut router.windows {
            let failed = |error| OracleError::new("asking for windows", error);
            windows.expect(tuple.as_ref()).map_err(failed)?;
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
            while let Some(came_out) = router.read(side, &mut self.buffer)? {
                let mut output = Output { side, packet: came_out.to_vec() };
                forget_identification(packet, &mut output.packet);
                observed.outputs.push(output);
            }
        }
        if let Some(key) = Lookup::fragment_key(packet) {
            if observed.info.is_none() {
                waiting.insert(key);
            } else {
                waiting.remove(&key);
            }
        }
        if let Some(tuple) = tuple {
            for zone in setup.zones() {
                observed.entry = router.entries.find(&tuple, zone)?;
                if observed.entry.is_some() {
                    break;
                }
            }
        } else if setup.has_helpers() && is_of_tunnel(packet) {
            observed.entry = lookup.tunnel(packet, &router.entries.all()?);
        }
        if let (Some(windows), Some(entry)) = (&mut router.windows, &mut observed.entry) {
            windows.fill(entry).map_err(|error| OracleError::new("reading windows", error))?;
        }
        *last_step = (begun, start.elapsed());
        if setup.has_helpers() {
            observed.expectations = router.entries.expectations()?;
        }
        Ok(observed)
    }

    fn table(&mut self) -> Result<Vec<EntryView>, OracleError> {
        let not_loaded = || OracleError::new("asking the kernel", "no router has been loaded");
        self.loaded.as_mut().ok_or_else(not_loaded)?.router.entries.all()
    }

    fn flush(&mut self) -> Result<(), OracleError> {
        self.loaded.as_mut().map_or(Ok(()), |loaded| loaded.router.flush())
    }

    fn age(&mut self, seconds: u32) -> Result<(), OracleError> {
        self.loaded.as_mut().map_or(Ok(()), |loaded| loaded.router.entries.age(seconds))
    }
}

/// The kernel draws the identification of what the router makes itself, so there is nothing to compare: it becomes zero.
/// Those are ICMP errors about `cause`, and IPv6 packets that it has put together and cut again.
fn forget_identification(cause: &[u8], packet: &mut [u8]) {
    if let [0x60..=0x6f, _, _, _, _, _, FRAGMENT, ..] = packet
        && let Some(identification) = packet.get_mut(44..48)
    {
        identification.fill(0);
    }
    if is_icmp_error(packet)
        && !is_icmp_error(cause)
        && !is_piece(packet)
        && let Ok(mut view) = ipv4::Packet::new_checked(packet)
    {
        view.set_identification(0);
        view.fill_checksum();
    }
}

/// What the router makes itself is whole.
fn is_piece(packet: &[u8]) -> bool {
    ip::Packet::new_checked(packet).is_ok_and(|view| view.is_fragment())
}

fn is_icmp_error(packet: &[u8]) -> bool {
    let is_error = || {
        let upper = ip::Packet::new_checked(packet).ok()?.upper().ok()?;
        let message = icmp::Packet::new_checked(packet.get(upper.offset..upper.end)?).ok()?;
        Some(upper.protocol == Protocol::Icmp && message.kind(upper.protocol) == icmp::Kind::Error)
    };
    is_error().unwrap_or(false)
}

/// What a prefix of the log stands for.
type Word = (&'static str, &'static str, Info);
