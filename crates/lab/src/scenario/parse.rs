//! A scenario as text: one thing a line, words with values after them, `#` before what is for people.
//!
//! A word that takes a value is followed by it. Lines come in any order, but for a router, which comes before what is behind it.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::str::FromStr;

use ipnet::Ipv4Net;
use pinhole_netfilter::behaviour::Behaviour;
use pinhole_sansio::{Duration, Instant};

use super::{Expectation, Scenario, Starter};
use crate::clock::Clock;
use crate::link::Link;
use crate::network::{Network, Place, PlaceId, PlaceKind};
use crate::sim::Change;
use crate::topology::{Nat, PortAllocation, RouterKind, WanInput};

/// How long an expected path may take, if it is not said.
const USUAL_PATIENCE: Duration = Duration::from_secs(10);

/// What every line begins with.
const STATEMENTS: &str = "internet, host, nat, linux, rules, registry, agent, at, expect, until or seed";
const CHANGES: &str = "reboot, address, poison, stop, start, cut, mend, link or wake";

/// Why a text is no scenario.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError {
    /// The line, counted from 1.
    pub line: usize,
    /// What is wrong there, and what would be right.
    pub what: String,
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.what)
    }
}

impl std::error::Error for ParseError {}

impl Scenario {
    /// Reads one.
    ///
    /// # Errors
    /// The first line that is wrong.
    pub fn parse(text: &str) -> Result<Self, ParseError> {
        let mut scenario = Self::new(Network::new(), 1);
        let mut lines = text.lines().enumerate().map(|(number, line)| (number + 1, line));
        while let Some((number, line)) = lines.next() {
            let words = line.split('#').next().unwrap_or_default();
            let mut words = Words { rest: words.split_ascii_whitespace().collect::<Vec<_>>().into_iter() };
            let Some(statement) = words.take() else { continue };
            let at_line = |what| ParseError { line: number, what };
            let rules = (statement == "rules").then(|| rules_until_end(&mut lines)).transpose().map_err(at_line)?;
            read_statement(&mut scenario, number, statement, &mut words, rules).map_err(at_line)?;
            words.end().map_err(at_line)?;
        }
        scenario.check()?;
        Ok(scenario)
    }

    fn check(&self) -> Result<(), ParseError> {
        self.network.check().map_err(|fault| ParseError {
            line: self.lines.get(fault.place).copied().unwrap_or_default(),
            what: fault.to_string(),
        })?;
        let runs_twice = |at: usize| self.agents[..at].iter().any(|other| other.place == self.agents[at].place);
        let name = |place: PlaceId| &self.network.places[place].name;
        if let Some(at) =
            (0..self.agents.len()).find(|&at| runs_twice(at) || Some(self.agents[at].place) == self.registry)
        {
            let line = self.lines[self.agents[at].place];
            return Err(ParseError { line, what: format!("{} runs two programs", name(self.agents[at].place)) });
        }
        Ok(())
    }
}

/// The lines of a router's rules, as iptables-save writes them, up to one that says `end`.
fn rules_until_end<'a>(lines: &mut impl Iterator<Item = (usize, &'a str)>) -> Result<String, String> {
    let mut rules = String::new();
    for (_, line) in lines {
        if line.trim() == "end" {
            return Ok(rules);
        }
        rules.push_str(line);
        rules.push('\n');
    }
    Err("its rules have no `end`".into())
}

fn read_statement(
    scenario: &mut Scenario,
    line: usize,
    statement: &str,
    words: &mut Words<'_>,
    rules: Option<String>,
) -> Result<(), String> {
    match statement {
        "internet" => {
            scenario.network.router = words.value("the address of the Internet's router")?;
            while let Some(word) = words.take() {
                match word {
                    "hops" => scenario.network.hops = words.value("how many routers it counts for")?,
                    _ => return Err(format!("`{word}`: expected hops")),
                }
            }
        }
        "host" | "nat" | "linux" | "rules" => {
            let place = read_place(&scenario.network, statement, words, rules)?;
            scenario.network.add(place);
            scenario.lines.push(line);
        }
        "registry" => scenario.registry = Some(host(&scenario.network, words)?),
        "agent" => {
            let place = host(&scenario.network, words)?;
            let at = words.after("at", time)?.unwrap_or(Duration::ZERO);
            scenario.agents.push(Starter { place, at: Instant::EPOCH + at });
        }
        "at" => {
            let at = Instant::EPOCH + words.with(time, "when")?;
            let change = read_change(&scenario.network, words)?;
            scenario.changes.push((at, change));
            scenario.change_lines.push(line);
        }
        "expect" => {
            let expectation = read_expectation(scenario, line, words)?;
            scenario.expectations.push(expectation);
        }
        "until" => scenario.until = Instant::EPOCH + words.with(time, "when it ends")?,
        "seed" => scenario.seed = words.value("a number")?,
        _ => return Err(format!("`{statement}`: a line begins with {STATEMENTS}")),
    }
    Ok(())
}

fn read_place(
    network: &Network,
    statement: &str,
    words: &mut Words<'_>,
    rules: Option<String>,
) -> Result<Place, String> {
    let name = words.take().ok_or("what is it called?")?.to_owned();
    let address = words.value("its address, as 192.0.2.1")?;
    let (mut behind, mut link, mut inside, mut behaviour) = (None, Link::default(), None, None);
    let (mut clock, mut nat) = (Clock::default(), Nat::CONE);
    while let Some(word) = words.take() {
        match (statement, word) {
            (_, "behind") => behind = Some(router(network, words)?),
            ("host", "drift") => clock.drift_ppm = words.with(ppm, "millionths, as 50ppm or -20ppm")?,
            ("host", "ahead") => clock.ahead = words.with(time, "a time, as 2s")?,
            ("nat" | "linux" | "rules", "inside") => {
                inside = Some(words.with(network_inside, "a network, as 192.168.1.0/24")?)
            }
            ("nat", "is") => behaviour = Some(words.all().parse::<Behaviour>().map_err(|error| error.to_string())?),
            ("linux", "random") => nat.ports = PortAllocation::Random,
            ("linux", "open") => nat.wan_input = WanInput::Accept,
            _ => read_link(&mut link, word, words)?.then_some(()).ok_or_else(|| {
                let own = match statement {
                    "host" => "drift, ahead",
                    "nat" => "inside, is",
                    "linux" => "inside, random, open",
                    _ => "inside",
                };
                format!("`{word}`: expected behind, {own} or of a link {LINK_WORDS}")
            })?,
        }
    }
    let inside = || inside.ok_or_else(|| format!("{name} has no `inside` network, as in: inside 192.168.1.0/24"));
    let kind = match statement {
        "host" => PlaceKind::Host(clock),
        "nat" => {
            let behaviour = behaviour.ok_or_else(|| format!("{name}: what `is` it, as in: is home_router"))?;
            PlaceKind::Router { inside: inside()?, nat: RouterKind::Behaviour(behaviour) }
        }
        "linux" => PlaceKind::Router { inside: inside()?, nat: RouterKind::Kernel(nat) },
        _ => PlaceKind::Router { inside: inside()?, nat: RouterKind::Rules(rules.unwrap_or_default()) },
    };
    Ok(Place { name, address, behind, link, kind })
}

/// What is said of a link.
const LINK_WORDS: &str = "delay, jitter, loss, reorder, rate, mtu";

/// Takes a word that describes a link; false if it does not.
fn read_link(link: &mut Link, word: &str, words: &mut Words<'_>) -> Result<bool, String> {
    match word {
        "delay" => link.delay = words.with(time, "a time, as 20ms")?,
        "jitter" => link.jitter = words.with(time, "a time, as 2ms")?,
        "loss" => link.loss = words.with(percent, "a share, as 5%")?,
        "reorder" => link.reorder = words.with(percent, "a share, as 1%")?,
        "rate" => link.rate_bps = Some(words.with(rate, "bits per second, as 50M")?),
        "mtu" => link.mtu = words.value("bytes, as 1492")?,
        _ => return Ok(false),
    }
    Ok(true)
}

fn read_change(network: &Network, words: &mut Words<'_>) -> Result<Change, String> {
    let what = words.take().ok_or_else(|| format!("what happens? {CHANGES}"))?;
    Ok(match what {
        "reboot" => Change::Reboot(router(network, words)?),
        "address" => Change::Readdress(place(network, words)?, words.value("its new address")?),
        "poison" => {
            let router = router(network, words)?;
            let from: SocketAddr =
                words.after("from", |text| text.parse().ok())?.ok_or("poison NAME from ADDRESS:PORT to PORT")?;
            let port: u16 =
                words.after("to", |text| text.parse().ok())?.ok_or("poison NAME from ADDRESS:PORT to PORT")?;
            Change::Poison { router, from, port }
        }
        "stop" => Change::Stop(host(network, words)?),
        "start" => Change::Start(host(network, words)?),
        "wake" => Change::Tell(host(network, words)?),
        "cut" => Change::Cut(place(network, words)?),
        "mend" => Change::Mend(place(network, words)?),
        "link" => {
            let id = place(network, words)?;
            let mut link = network.places[id].link;
            while let Some(word) = words.take() {
                if !read_link(&mut link, word, words)? {
                    return Err(format!("`{word}`: expected {LINK_WORDS}"));
                }
            }
            Change::Relink(id, link)
        }
        _ => return Err(format!("`{what}`: expected {CHANGES}")),
    })
}

fn read_expectation(scenario: &Scenario, line: usize, words: &mut Words<'_>) -> Result<Expectation, String> {
    let pair = [agent(scenario, words)?, agent(scenario, words)?];
    let direct = match words.take() {
        Some("direct") => true,
        Some("none") => false,
        Some(_) | None => return Err("what is expected: direct or none".into()),
    };
    let (mut after, mut within) = (Duration::ZERO, USUAL_PATIENCE);
    while let Some(word) = words.take() {
        match word {
            "within" => within = words.with(time, "a time, as 2s")?,
            "after" => after = words.with(time, "a time, as 20s")?,
            _ => return Err(format!("`{word}`: expected within or after")),
        }
    }
    Ok(Expectation { pair, direct, after: Instant::EPOCH + after, within, line })
}

fn place(network: &Network, words: &mut Words<'_>) -> Result<PlaceId, String> {
    let name = words.take().ok_or("whose?")?;
    network.find(name).ok_or_else(|| format!("there is no {name} above this line"))
}

fn host(network: &Network, words: &mut Words<'_>) -> Result<PlaceId, String> {
    let id = place(network, words)?;
    match &network.places[id].kind {
        PlaceKind::Host(_) => Ok(id),
        PlaceKind::Router { .. } => Err(format!("{} is a router, and this is for hosts", network.places[id].name)),
    }
}

fn router(network: &Network, words: &mut Words<'_>) -> Result<PlaceId, String> {
    let id = place(network, words)?;
    match &network.places[id].kind {
        PlaceKind::Host(_) => Err(format!("{} is a host, and this is for routers", network.places[id].name)),
        PlaceKind::Router { .. } => Ok(id),
    }
}

fn agent(scenario: &Scenario, words: &mut Words<'_>) -> Result<PlaceId, String> {
    let id = host(&scenario.network, words)?;
    let runs = scenario.agents.iter().any(|starter| starter.place == id);
    runs.then_some(id).ok_or_else(|| format!("{} runs no agent", scenario.network.places[id].name))
}

/// The words of a line that are left.
struct Words<'a> {
    rest: std::vec::IntoIter<&'a str>,
}

impl<'a> Words<'a> {
    fn take(&mut self) -> Option<&'a str> {
        self.rest.next()
    }

    /// All that are left, as one text.
    fn all(&mut self) -> String {
        self.rest.by_ref().collect::<Vec<_>>().join(" ")
    }

    /// The next one, read by `read`; `expected` says what it should have been.
    fn with<T>(&mut self, read: impl Fn(&str) -> Option<T>, expected: &str) -> Result<T, String> {
        let word = self.take().ok_or_else(|| format!("expected {expected}"))?;
        read(word).ok_or_else(|| format!("`{word}`: expected {expected}"))
    }

    fn value<T: FromStr>(&mut self, expected: &str) -> Result<T, String> {
        self.with(|text| text.parse().ok(), expected)
    }

    /// What comes after `word`, if that is next.
    fn after<T>(&mut self, word: &str, read: impl Fn(&str) -> Option<T>) -> Result<Option<T>, String> {
        if self.rest.as_slice().first() != Some(&word) {
            return Ok(None);
        }
        self.take();
        self.with(read, &format!("a value after {word}")).map(Some)
    }

    fn end(&mut self) -> Result<(), String> {
        self.take().map_or(Ok(()), |word| Err(format!("`{word}`: the line should have ended before it")))
    }
}

/// `20ms`, `1.5s`, `2min`, `500us`.
fn time(text: &str) -> Option<Duration> {
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().ok()?;
    let seconds = match unit {
        "us" => number / 1e6,
        "ms" => number / 1e3,
        "s" => number,
        "min" => number * 60.0,
        "h" => number * 3_600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(seconds).ok().filter(|time| time.as_secs() < 1_000_000_000)
}

/// `5%`, `0.5%`.
fn percent(text: &str) -> Option<f64> {
    let number: f64 = text.strip_suffix('%')?.parse().ok()?;
    (0.0..=100.0).contains(&number).then_some(number / 100.0)
}

/// `50M`, `1.5G`, `64k`.
fn rate(text: &str) -> Option<u64> {
    let (number, factor) = match text.as_bytes().last()? {
        b'k' => (&text[..text.len() - 1], 1e3),
        b'M' => (&text[..text.len() - 1], 1e6),
        b'G' => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    let bits = number.parse::<f64>().ok()? * factor;
    (1.0..1e15).contains(&bits).then_some(bits as u64)
}

/// `50ppm`, `-20ppm`.
fn ppm(text: &str) -> Option<i32> {
    text.strip_suffix("ppm")?.parse().ok().filter(|ppm: &i32| ppm.abs() < 1_000_000)
}

/// A network with the router's address; its first one, if the address is the network's own.
fn network_inside(text: &str) -> Option<Ipv4Net> {
    let net: Ipv4Net = text.parse().ok()?;
    if net.addr() != net.network() {
        return Some(net);
    }
    let first = Ipv4Addr::from(u32::from(net.network()).checked_add(1)?);
    Ipv4Net::new(first, net.prefix_len()).ok()
}
