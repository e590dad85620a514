//! The registry in the real world: DNS servers in front, the machine behind them, the devices below.

mod lanes;
mod listen;

use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::sync::Arc;

use anyhow::{Context, Result};
use pinhole_agent::event::Event;
use pinhole_agent::registry::{self, Input, Output, Query, Registry, ZoneConfig};
use pinhole_dns::answers::Answers;
use pinhole_host::dns::{Reply, Server, SlowQuery};
use pinhole_host::wireguard::Control;
use pinhole_sansio::{Duration, Machine};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;

use super::Clock;
use super::report::Report;
use crate::config::{self, Itself};
use lanes::Lanes;
use listen::Place;

/// Questions that wait for the machine. What does not fit is answered from the compiled data.
const QUERIES: usize = 1_024;

/// Runs a registry until `stop` says so.
///
/// # Errors
/// A device that is not there, an address that cannot be listened on.
pub async fn run(
    settings: config::Registry,
    report: Report,
    ready: watch::Sender<bool>,
    mut stop: watch::Receiver<bool>,
) -> Result<()> {
    let devices = open_devices(&settings)?;
    let places = listen::places(&settings)?;
    let addresses = listen::name_server_addresses(&settings, &places);
    let zones = settings.zone.iter().map(|zone| zone_config(zone, &addresses)).collect::<Result<Vec<_>>>()?;
    let clock = Clock::start();
    let config = registry::Config {
        zones,
        listen: places.iter().map(|place| place.address.ip()).collect(),
        relay: settings.relay.0.clone(),
    };
    let (queries, mut incoming) = mpsc::channel(QUERIES);
    let mut driver = Driver {
        registry: Registry::new(clock.now(), config),
        devices,
        reads: JoinSet::new(),
        servers: Vec::new(),
        replies: HashMap::new(),
        next_query: 0,
        lanes: Lanes::new(settings.relay_mbits),
        report,
    };
    // The devices are read before the first question can come.
    driver.registry.handle_input(clock.now(), Input::Timeout);
    driver.carry_out();
    while let Some(read) = driver.reads.join_next().await {
        let input = driver.taken(read.context("reading a device failed")?);
        driver.registry.handle_input(clock.now(), input);
        driver.carry_out();
    }
    for place in places {
        let answers = driver.registry.answers_at(place.address.ip()).context("nothing to answer from yet")?;
        let (server, slow) = listen::bind(&settings, &place, Arc::clone(answers))?;
        for &address in server.addresses() {
            driver.report.show(&Event::Listening { address, tunnel: place.is_tunnel() });
        }
        driver.servers.push((place.clone(), server));
        tokio::task::spawn_local(forward(slow, place, queries.clone()));
    }
    let vantage = if settings.stun { super::stun::serve_agents() } else { None };
    for &address in vantage.iter().flat_map(pinhole_host::stun::Server::addresses) {
        driver.report.show(&Event::ListeningStun { address });
    }
    let _ = ready.send(true);
    loop {
        let input = tokio::select! {
            _ = stop.wait_for(|&stop| stop) => break,
            Some((query, place)) = incoming.recv() => driver.take(query, &place),
            Some(read) = driver.reads.join_next() => driver.taken(read.context("reading a device failed")?),
            ports = driver.lanes.ended() => Input::LaneClosed { ports },
            () = clock.sleep_until(driver.registry.poll_timeout()) => Input::Timeout,
        };
        driver.registry.handle_input(clock.now(), input);
        driver.carry_out();
    }
    for (_, server) in driver.servers {
        server.stop().await;
    }
    if let Some(vantage) = vantage {
        vantage.stop().await;
    }
    Ok(())
}

/// Brings the questions of one server to the one machine.
async fn forward(mut slow: mpsc::Receiver<SlowQuery>, place: Place, queries: mpsc::Sender<(SlowQuery, Place)>) {
    while let Some(query) = slow.recv().await {
        // A question dropped here is answered from the compiled data.
        let _ = queries.try_send((query, place.clone()));
    }
}

type Devices = BTreeMap<String, Option<Control>>;

/// What reading a device has given.
struct Read {
    name: String,
    /// The handle to use next time, if it is still good.
    control: Option<Control>,
    device: Result<pinhole_wg::Device, String>,
    wall: Duration,
}

struct Driver {
    registry: Registry,
    /// Handles of the devices that are not being read.
    devices: Devices,
    /// On threads of their own: a device that hangs makes nobody else wait.
    reads: JoinSet<Read>,
    servers: Vec<(Place, Server)>,
    /// The ways back to who asked what is not answered yet.
    replies: HashMap<u64, Reply>,
    next_query: u64,
    lanes: Lanes,
    report: Report,
}

impl Driver {
    fn take(&mut self, query: SlowQuery, place: &Place) -> Input {
        let cookie = query.cookie();
        let SlowQuery { source, local, transport, message, reply, .. } = query;
        self.next_query += 1;
        let id = self.next_query;
        self.replies.insert(id, reply);
        // Who asks is told by the tunnel alone: an address proven by a cookie may still be a stranger's.
        let (local, verified) = (local.ip(), place.is_tunnel());
        Input::Query(Query { id, source, local, transport, verified, bytes: message, cookie })
    }

    fn taken(&mut self, read: Read) -> Input {
        let Read { name, control, device, wall } = read;
        self.devices.insert(name.clone(), control);
        Input::Device { name, device, wall }
    }

    fn carry_out(&mut self) {
        while let Some(output) = self.registry.poll_output() {
            match output {
                Output::ReadDevice(name) => {
                    let control = self.devices.remove(&name).flatten();
                    self.reads.spawn_blocking(|| read_device(name, control));
                }
                Output::OpenLane(lane) => self.lanes.open(lane),
                Output::Publish { local, answers } => self.publish(local, &answers),
                Output::Reply { id, bytes } => {
                    if let Some(reply) = self.replies.get_mut(&id) {
                        reply.send_again(&bytes);
                    }
                }
                Output::Forget(id) => {
                    if let Some(reply) = self.replies.remove(&id) {
                        reply.discard();
                    }
                }
                Output::Event(event) => self.report.show(&event),
            }
        }
    }

    fn publish(&self, local: Option<IpAddr>, answers: &Arc<Answers>) {
        let concerned = self.servers.iter().filter(|(place, _)| local.is_none_or(|local| place.address.ip() == local));
        concerned.for_each(|(_, server)| server.publish(Arc::clone(answers)));
    }
}

/// Opens every device once, so that one that is not there is said at once.
fn open_devices(settings: &config::Registry) -> Result<Devices> {
    let names = settings.zone.iter().map(|zone| zone.device.clone());
    names.map(|name| Ok((name.clone(), Some(Control::open(&name)?)))).collect()
}

/// A device that failed is opened anew: it may have been deleted and made again.
fn read_device(name: String, control: Option<Control>) -> Read {
    let wall = Clock::wall();
    let read = || -> Result<_> {
        let mut control = control.map_or_else(|| Control::open(&name), Ok)?;
        let device = control.device()?;
        Ok((control, device))
    };
    let (control, device) = match read() {
        Ok((control, device)) => (Some(control), Ok(device)),
        Err(error) => (None, Err(format!("{error:#}"))),
    };
    Read { name, control, device, wall }
}

fn zone_config(zone: &config::Zone, addresses: &[IpAddr]) -> Result<ZoneConfig> {
    // wgsd's names are in lower case, and some of its clients compare them byte by byte.
    let origin = super::zone_name(zone.name.0.to_lowercase())?;
    let itself = match &zone.itself {
        Itself::Absent | Itself::Flag(false) => None,
        Itself::Flag(true) => Some(registry::Itself::default()),
        Itself::Given { endpoint, allowed_ips } => {
            Some(registry::Itself { endpoint: *endpoint, allowed_ips: allowed_ips.clone() })
        }
    };
    Ok(ZoneConfig {
        origin,
        device: zone.device.clone(),
        itself,
        name_servers: zone.ns.iter().map(|ns| ns.0.clone()).collect(),
        addresses: addresses.to_vec(),
    })
}
