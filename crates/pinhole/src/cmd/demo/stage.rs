//! Starts the programs on their hosts, and gathers what they and the NATs say.

use std::net::{SocketAddr, UdpSocket};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use pinhole_host::netlink;
use pinhole_host::netlink::conntrack::{Entry, Event, Events};
use pinhole_host::netlink::route::{self, address, link};
use pinhole_host::wireguard::{self, Control};
use pinhole_netns::{Host, Internet, Program, Signal};

use super::plan::{DEVICE, PORT, Part, Plan, ZONE};
use super::{Wireguard, program};

/// Starting a program takes milliseconds; this is for a very busy machine.
const READY_WITHIN: Duration = Duration::from_secs(10);
/// Nothing tells when another program's socket is there; this is how often we look.
const LOOK_AGAIN: Duration = Duration::from_millis(5);

/// Something that the audience should see.
pub(super) enum Happening {
    /// A program printed an event.
    Said { name: &'static str, event: serde_json::Value },
    /// A program has ended, which none should; `said` is the end of its standard error.
    Ended { name: &'static str, said: String },
    /// A NAT made a mapping.
    Mapped { router: String, inside: SocketAddr, outside: SocketAddr, to: SocketAddr },
    /// Ctrl-C or SIGTERM.
    Stop,
}

/// The hosts and what runs on them.
pub(super) struct Stage<'a> {
    internet: &'a mut Internet,
    plan: &'a Plan,
    wireguard: Wireguard,
    happenings: Receiver<Happening>,
    sender: Sender<Happening>,
    // Ended in this order: those that use a device before the device.
    programs: Vec<Program>,
    devices: Vec<Program>,
}

impl<'a> Stage<'a> {
    /// Prepares it: watches the NATs and waits for signals.
    pub(super) fn new(internet: &'a mut Internet, plan: &'a Plan, wireguard: Wireguard) -> Result<Self> {
        let (sender, happenings) = channel();
        program::watch_signals(sender.clone())?;
        for router in internet.routers() {
            watch_mappings(router, sender.clone())?;
        }
        let stage = Self { internet, plan, wireguard, happenings, sender, programs: Vec::new(), devices: Vec::new() };
        stage.check_wireguard()?;
        Ok(stage)
    }

    /// The Internet they are on.
    pub(super) fn internet(&self) -> &Internet {
        self.internet
    }

    /// Starts the registry, and returns when it answers; false when someone wants to stop before that.
    pub(super) fn start_hub(&mut self) -> Result<bool> {
        self.start(&self.plan.hub)?;
        let server = SocketAddr::new(self.plan.hub.address.into(), 53);
        let deadline = Instant::now() + READY_WITHIN;
        loop {
            if self.internet.host("hub").run(|| asks(server))?? {
                return Ok(true);
            }
            match self.next(LOOK_AGAIN) {
                Some(Happening::Ended { name, said }) => bail!("the programs of {name} ended:\n{said}"),
                Some(Happening::Stop) => return Ok(false),
                _ if Instant::now() > deadline => bail!("the registry does not answer on {server} of the hub"),
                Some(Happening::Said { .. } | Happening::Mapped { .. }) | None => {}
            }
        }
    }

    /// Starts both peers; returns the moment when the second was started.
    pub(super) fn start_peers(&mut self) -> Result<Instant> {
        let mut began = Instant::now();
        for part in self.plan.peers() {
            began = Instant::now();
            self.start(part)?;
        }
        Ok(began)
    }

    /// The next thing that happens within `patience`.
    pub(super) fn next(&self, patience: Duration) -> Option<Happening> {
        self.happenings.recv_timeout(patience).ok()
    }

    /// Waits for Ctrl-C.
    pub(super) fn wait_for_the_end(&mut self) {
        while let Ok(happening) = self.happenings.recv() {
            if matches!(happening, Happening::Stop) {
                return;
            }
        }
    }

    /// What the NATs track: alice's, then bob's.
    pub(super) fn mappings(&mut self) -> Result<[Vec<Entry>; 2]> {
        let mut of =
            |name| self.internet.site(name).conntrack().with_context(|| format!("cannot ask the NAT of {name}"));
        Ok([of("alice")?, of("bob")?])
    }

    fn start(&mut self, part: &Part) -> Result<()> {
        let host = self.internet.host(part.name);
        let config = self.plan.write(host, part, self.wireguard)?;
        if self.wireguard == Wireguard::Go {
            self.devices.push(start_wireguard_go(host, part, self.plan)?);
        }
        let pinhole = std::env::current_exe().context("cannot find this program to start it again")?;
        let mut command = host.command(pinhole);
        command.arg("up").arg("--config").arg(config).arg("--json");
        let program = program::start(&mut command, part.name, self.sender.clone());
        self.programs.push(program.with_context(|| format!("cannot start pinhole on {}", part.name))?);
        Ok(())
    }

    /// Says at once if this kind of WireGuard is not here.
    fn check_wireguard(&self) -> Result<()> {
        match self.wireguard {
            Wireguard::Embedded => Ok(()),
            Wireguard::Kernel => {
                let try_it = || wireguard::create("wg-try").and_then(|()| wireguard::delete("wg-try"));
                self.internet.host("hub").run(try_it)?.context("--wireguard kernel (leave it out to use pinhole's own)")
            }
            Wireguard::Go => match std::process::Command::new("wireguard-go").arg("--version").output() {
                Ok(_) => Ok(()),
                Err(error) => bail!(
                    "--wireguard wireguard-go: cannot start wireguard-go ({error}); install it (apt-get install \
                     wireguard-go), or leave the option out to use pinhole's own"
                ),
            },
        }
    }
}

impl Drop for Stage<'_> {
    fn drop(&mut self) {
        // All at once; each is then waited for as it is dropped. One that has ended needs no signal.
        for program in &self.programs {
            let _ = program.signal(Signal::TERM);
        }
    }
}

/// Starts wireguard-go on `host` and does for it what `pinhole up` does for its own device.
fn start_wireguard_go(host: &Host, part: &Part, plan: &Plan) -> Result<Program> {
    let mut command = host.command("wireguard-go");
    command.args(["--foreground", DEVICE]).env("LOG_LEVEL", "silent");
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    let mut program = Program::start(&mut command).context("cannot start wireguard-go")?;
    let deadline = Instant::now() + READY_WITHIN;
    let mut control = loop {
        match host.run(|| Control::open(DEVICE))? {
            Ok(control) => break control,
            Err(error) if Instant::now() > deadline => return Err(error).context("wireguard-go does not answer"),
            Err(_) => {}
        }
        if let Some(status) = program.child().try_wait()? {
            bail!("wireguard-go ended on {}: {status}", part.name);
        }
        std::thread::sleep(LOOK_AGAIN);
    };
    let config = plan.device(part);
    // Its socket is in the host's own /run.
    let update = config.update(|endpoint| endpoint.address());
    host.run(|| control.apply(&update))?.context("cannot configure wireguard-go")?;
    let configure = || -> Result<(), netlink::Error> {
        let mut socket = route::open()?;
        let index = link::find(&mut socket, DEVICE)?.index;
        for net in &config.interface.addresses {
            address::add(&mut socket, index, *net)?;
        }
        link::set(&mut socket, index, &link::Change { up: Some(true), mtu: Some(1420), ..Default::default() })
    };
    host.run(configure)?.context("cannot give wireguard-go's interface its address")?;
    Ok(program)
}

/// Reports each mapping that `router` makes for a WireGuard device, for as long as someone listens.
fn watch_mappings(router: &Host, sender: Sender<Happening>) -> Result<()> {
    let mut events = router.run(Events::open)?.context("cannot watch the mappings of a NAT")?;
    let name = router.name().to_owned();
    let watch = move || {
        loop {
            // Nothing for a while is an error here and no reason to stop; lost events are only less to show.
            let Ok(events) = events.receive() else { continue };
            for event in events {
                let Event::New(entry) = event else { continue };
                if entry.original.source.port() != PORT || !entry.is_source_translated() {
                    continue;
                }
                let (inside, outside, to) = (entry.original.source, entry.mapped(), entry.original.destination);
                if sender.send(Happening::Mapped { router: name.clone(), inside, outside, to }).is_err() {
                    return;
                }
            }
        }
    };
    std::thread::Builder::new().name("mappings".into()).spawn(watch).context("cannot start a thread")?;
    Ok(())
}

/// Asks the registry for the SOA of its zone, on the hub itself; whether an answer came at once.
fn asks(server: SocketAddr) -> Result<bool> {
    let mut question = vec![0x50, 0x68, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in ZONE.split('.') {
        question.push(label.len() as u8);
        question.extend(label.bytes());
    }
    // SOA, IN.
    question.extend([0, 6, 0, 1]);
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    socket.set_read_timeout(Some(Duration::from_millis(20)))?;
    if socket.send_to(&question, server).is_err() {
        return Ok(false);
    }
    let mut answer = [0; 512];
    Ok(socket.recv_from(&mut answer).is_ok_and(|(length, _)| length > 12 && answer[..2] == question[..2]))
}
