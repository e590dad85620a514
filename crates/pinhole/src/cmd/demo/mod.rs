//! `pinhole demo`: the main job, rehearsed on this machine in throw-away namespaces.
//!
//! It builds an Internet (a public host, two homes behind two NATs), starts a registry and two agents as real processes, and
//! watches from outside: what the NATs map, what the programs say, and what crosses the Internet. The verdict rests on the
//! last of these alone: tunnel data seen between the two NATs' public addresses, and none of it at the public host.

mod echo;
mod plan;
mod program;
mod recipe;
mod show;
mod stage;
mod story;
mod witness;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use clap::{Args as ClapArgs, ValueEnum};
use pinhole_host::namespace::privilege::{self, Privilege};
use pinhole_lab::{Link, Nat, Topology};
use pinhole_netns::Internet;

use plan::Plan;
use show::{Show, Tone};
use stage::{Happening, Stage};
use witness::Witness;

/// How many echoes go through the tunnel.
const ECHOES: u16 = 20;
/// How many mappings of a NAT towards one host are worth a line each: a search for a port makes hundreds.
const MAPPINGS_SHOWN: u32 = 5;
/// How long to wait for the next thing to happen before looking at the tap again.
const TICK: Duration = Duration::from_millis(5);

/// Rehearse the main job on this machine: two peers behind NATs find each other and connect directly
#[derive(Clone, Debug, ClapArgs)]
#[command(after_help = "Examples:
  pinhole demo
  pinhole demo --delay 40 --loss 5 --seed 3
  pinhole demo --wireguard wireguard-go --keep

It works as root, or as an ordinary user where user namespaces are allowed, and leaves nothing behind.
Exit code 0 means that tunnel data was seen going directly from NAT to NAT.")]
pub struct Args {
    /// Print what happens as JSON, one object a line, with the verdict last
    #[arg(long)]
    json: bool,
    /// Leave it up to explore, until Ctrl-C
    #[arg(long)]
    keep: bool,
    /// Whose WireGuard the three hosts run
    #[arg(long, value_enum, default_value_t = Wireguard::Embedded)]
    wireguard: Wireguard,
    /// The NATs: one kind for both, or alice's and bob's
    #[arg(long, value_enum, value_delimiter = ',', num_args = 1..=2, default_value = "cone")]
    nat: Vec<NatKind>,
    /// How long a packet takes over each of the three links, one way, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 10, value_parser = clap::value_parser!(u64).range(0..=2_000))]
    delay: u64,
    /// How many of 100 packets each link loses
    #[arg(long, value_name = "PERCENT", default_value_t = 0.0, value_parser = percent)]
    loss: f64,
    /// Decides which packets are lost
    #[arg(long, value_name = "N", default_value_t = 1)]
    seed: u64,
    /// Give up after this many seconds without a direct path
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    timeout: u64,
}

/// Whose WireGuard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Wireguard {
    /// pinhole's own
    Embedded,
    /// The kernel's
    Kernel,
    /// wireguard-go, if it is installed
    #[value(name = "wireguard-go")]
    Go,
}

/// A kind of NAT.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NatKind {
    /// One outside port per inside port, whoever is talked to
    Cone,
    /// A random outside port for everyone that is talked to
    Symmetric,
    /// As cone, but without a firewall: a packet that comes too early spoils the mapping
    Poisonable,
}

impl NatKind {
    fn nat(self) -> Nat {
        match self {
            Self::Cone => Nat::CONE,
            Self::Symmetric => Nat::SYMMETRIC,
            Self::Poisonable => Nat::POISONABLE,
        }
    }
}

/// Runs it.
///
/// # Errors
/// When the Internet cannot be built here, with what to change; when a program fails; when no direct path comes about.
pub fn run(args: Args) -> Result<ExitCode> {
    // Before any thread is started: a process with threads cannot enter a user namespace.
    let privilege = privilege::acquire().map_err(|denied| anyhow!("{denied}"))?;
    let start = Instant::now();
    let show = Show::new(args.json, start);
    let link = Link { loss: args.loss / 100.0, ..Link::with_delay(Duration::from_millis(args.delay)) };
    let (alice, bob) = (args.nat[0].nat(), args.nat[args.nat.len() - 1].nat());
    let topology = Topology::two_homes(alice, bob, link, args.seed);
    show.introduce(&args, privilege);
    let mut internet = Internet::build(&topology).context("cannot build the Internet")?;
    show.line("internet", Tone::Good, &format!("built: 5 hosts and routers, 3 links, 2 NATs in {} ms", millis(start)));

    let plan = Plan::new()?;
    let mut stage = Stage::new(&mut internet, &plan, args.wireguard)?;
    let witness = Witness::new(stage.internet());
    let mut rehearsal = Rehearsal { args: &args, plan: &plan, show: &show, witness, mapped: BTreeMap::new() };
    let outcome = rehearsal.play(&mut stage)?;
    match outcome {
        Outcome::Interrupted => Ok(ExitCode::from(130)),
        Outcome::NoPath => {
            show.no_path(&args);
            Ok(ExitCode::FAILURE)
        }
        Outcome::Done(result) => {
            show.verdict(&result);
            if !args.json {
                show.recipe(&plan);
            }
            if args.keep {
                show.keep(stage.internet(), privilege == Privilege::UserNamespace);
                stage.wait_for_the_end();
            }
            Ok(if result.is_direct() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
        }
    }
}

/// How it went.
enum Outcome {
    /// There is a verdict.
    Done(Box<witness::Verdict>),
    /// No path came about in time.
    NoPath,
    /// Someone stopped it.
    Interrupted,
}

/// The performance, from the first program to the verdict.
struct Rehearsal<'a> {
    args: &'a Args,
    plan: &'a Plan,
    show: &'a Show,
    witness: Witness,
    /// How many mappings each NAT has made towards whom.
    mapped: BTreeMap<(String, IpAddr), u32>,
}

impl Rehearsal<'_> {
    fn play(&mut self, stage: &mut Stage<'_>) -> Result<Outcome> {
        if !stage.start_hub()? {
            return Ok(Outcome::Interrupted);
        }
        self.show.line("hub", Tone::Good, "the registry serves the zone on its tunnel address, to peers only");
        let began = stage.start_peers()?;
        self.show.line(
            "alice, bob",
            Tone::Plain,
            "each starts a WireGuard device and an agent; neither knows where the other is",
        );

        let deadline = Instant::now() + Duration::from_secs(self.args.timeout);
        let mut up = [false; 2];
        while up != [true; 2] {
            if Instant::now() > deadline {
                return Ok(Outcome::NoPath);
            }
            if !self.follow(stage, TICK, &mut up)? {
                return Ok(Outcome::Interrupted);
            }
        }

        // The longest way there and back crosses four links twice, and a busy machine adds something.
        let patience = Duration::from_millis(8 * self.args.delay + 250);
        let (alice, bob) = (stage.internet().host("alice"), stage.internet().host("bob"));
        let server = echo::Server::start(bob, self.plan.bob.address)?;
        let mut go_on = || self.follow(stage, Duration::ZERO, &mut up);
        let Some(echoes) = echo::measure(alice, server.address(), ECHOES, patience, &mut go_on)? else {
            return Ok(Outcome::Interrupted);
        };
        let mappings = stage.mappings()?;
        let verdict = self.witness.verdict(began, stage.internet().epoch(), echoes, &mappings);
        Ok(Outcome::Done(Box::new(verdict)))
    }

    /// Shows what has happened and what was seen, after waiting up to `patience` for something; false when someone wants to
    /// stop.
    fn follow(&mut self, stage: &Stage<'_>, patience: Duration, up: &mut [bool; 2]) -> Result<bool> {
        let mut next = stage.next(patience);
        while let Some(happening) = next {
            match &happening {
                Happening::Stop => return Ok(false),
                Happening::Ended { name, said } => bail!("the programs of {name} ended:\n{said}"),
                Happening::Said { .. } | Happening::Mapped { .. } => self.tell(&happening, up),
            }
            next = stage.next(Duration::ZERO);
        }
        self.look();
        Ok(true)
    }

    fn tell(&mut self, happening: &Happening, up: &mut [bool; 2]) {
        match happening {
            Happening::Said { name, event } => {
                let other = match *name {
                    "alice" => Some((0, &self.plan.bob)),
                    "bob" => Some((1, &self.plan.alice)),
                    _ => None,
                };
                if let Some((at, peer)) = other {
                    up[at] |= event["event"] == "up" && event["peer"] == peer.public.to_base64();
                }
                self.show.event(name, event, |key| self.plan.name(key));
            }
            Happening::Mapped { router, inside, outside, to } => {
                let count = self.mapped.entry((router.clone(), to.ip())).or_default();
                *count += 1;
                match *count {
                    MAPPINGS_SHOWN.. if !self.args.json => {
                        if *count == MAPPINGS_SHOWN {
                            self.show.more_mappings(router, to.ip());
                        }
                    }
                    _ => self.show.mapping(router, *inside, *outside, *to),
                }
            }
            Happening::Stop | Happening::Ended { .. } => {}
        }
    }

    fn look(&mut self) {
        for sight in self.witness.look() {
            self.show.sight(&sight);
        }
    }
}

fn percent(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|percent| (0.0..=100.0).contains(percent));
    number.ok_or_else(|| format!("`{text}` is not a percentage: expected a number from 0 to 100"))
}

fn millis(since: Instant) -> u128 {
    since.elapsed().as_millis()
}

/// The public addresses, as [`Topology::two_homes`] gives them.
const HUB: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const ALICE: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
const BOB: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);

#[cfg(test)]
mod tests;
