//! A router as the command line describes it: interfaces, routes, rules and settings. What `trace` and `diff` have in common.

use std::fmt::Display;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args as ClapArgs;
use clap::error::ErrorKind;
use ipnet::IpNet;
use pinhole_netfilter::rules::{Not, Problem, RulesError, Ruleset, Sets};
use pinhole_netfilter::script::Script;
use pinhole_netfilter::settings::Personality;
use pinhole_netfilter::tuple::Address;

/// What a home router masquerades.
pub(super) const HOME_RULES: &str = "*nat\n-A POSTROUTING -o wan -j MASQUERADE\nCOMMIT\n";
/// How many lines a refusal names beside the first.
const MOST_LINES: usize = 20;

/// The arguments.
#[derive(Clone, Debug, ClapArgs)]
pub(super) struct RouterArgs {
    /// Rules for IPv4, as iptables-save writes them
    #[arg(long, value_name = "FILE")]
    pub(super) rules: Option<PathBuf>,
    /// Rules for IPv6, as ip6tables-save writes them
    #[arg(long, value_name = "FILE")]
    pub(super) rules6: Option<PathBuf>,
    /// An interface and its addresses: lan=10.0.0.1/24,fd00::1/64; may be repeated
    #[arg(long, value_name = "NAME=ADDRESS/LENGTH,…", value_parser = parse_interface)]
    pub(super) interface: Vec<Port>,
    /// A route: 10.9.0.0/16=lan; may be repeated. Without any, all else is reached by the last interface
    #[arg(long, value_name = "PREFIX=IFACE", value_parser = parse_route)]
    pub(super) route: Vec<Route>,
    /// A setting by sysctl's name: nf_conntrack_udp_timeout=60; may be repeated
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = parse_setting)]
    pub(super) settings: Vec<(String, String)>,
}

/// An interface of the command line.
#[derive(Clone, Debug)]
pub(super) struct Port {
    pub(super) name: String,
    pub(super) addresses: Vec<IpNet>,
}

/// A route of the command line.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) to: IpNet,
    pub(super) by: String,
}

/// `NAME=ADDRESS/LENGTH,…`.
fn parse_interface(text: &str) -> Result<Port, String> {
    let example = "lan=192.168.1.1/24,fd00::1/64";
    let (name, nets) = text.split_once('=').ok_or_else(|| format!("expected a name and addresses: {example}"))?;
    if name.is_empty() || name.len() > 15 || name.contains(char::is_whitespace) {
        return Err(format!("{name:?} is no interface's name, which has 1 to 15 characters"));
    }
    let net = |text: &str| text.parse().map_err(|_| format!("{text:?} is no address with its length: {example}"));
    Ok(Port { name: name.to_owned(), addresses: nets.split(',').map(net).collect::<Result<_, _>>()? })
}

/// `PREFIX=IFACE`.
fn parse_route(text: &str) -> Result<Route, String> {
    let example = "10.9.0.0/16=lan";
    let (to, by) = text.split_once('=').ok_or_else(|| format!("expected a network and an interface: {example}"))?;
    let to = to.parse().map_err(|_| format!("{to:?} is no network: {example}"))?;
    Ok(Route { to, by: by.to_owned() })
}

fn parse_setting(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => Ok((name.trim().to_owned(), value.trim().to_owned())),
        _ => Err("expected a name and a value: nf_conntrack_udp_timeout=60".to_owned()),
    }
}

/// A kernel by its version, as `--kernel` takes it.
pub(super) fn parse_kernel(text: &str) -> Result<Personality, String> {
    Personality::named(text).ok_or_else(|| {
        let names = Personality::ALL.map(|personality| personality.name).join(", ");
        format!("expected one of {names}")
    })
}

/// All addresses of IPv4, and of IPv6.
pub(super) fn everything() -> [IpNet; 2] {
    [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()].map(|any| IpNet::new_assert(any, 0))
}

/// A packet script.
///
/// # Errors
/// If it cannot be read; with the line that is wrong.
pub(super) fn read_script(path: &Path) -> Result<Script> {
    match read(path, "script")?.parse() {
        Ok(script) => Ok(script),
        Err(error) => bail!("{}: {error}", path.display()),
    }
}

/// Rules as they were read, with what of them is not known.
pub(super) struct ReadRules<A> {
    pub(super) text: String,
    pub(super) rules: Ruleset<A>,
    /// Why each rule that `rules` does not hold was left out.
    pub(super) left_out: Vec<RulesError>,
}

impl<A: Address> ReadRules<A> {
    /// The rules, if all of them are known.
    ///
    /// # Errors
    /// With the line and name of the first that is not, and the lines of the others.
    pub(super) fn all(self, path: &Path) -> Result<(String, Ruleset<A>)> {
        let Some((first, others)) = self.left_out.split_first() else { return Ok((self.text, self.rules)) };
        let lines: Vec<String> = others.iter().filter_map(|error| error.line).map(|line| line.to_string()).collect();
        let others = match lines.len() {
            0 => String::new(),
            1..=MOST_LINES => format!("; not known either: line {}", lines.join(", ")),
            more => {
                format!("; not known either: line {} and {} more", lines[..MOST_LINES].join(", "), more - MOST_LINES)
            }
        };
        bail!("{}: {first}{others}", path.display())
    }
}

/// Reads rules, and the sets that they name.
///
/// # Errors
/// If they cannot be read at all.
pub(super) fn read_rules<A: Address>(path: &Path, sets: Option<(&str, &Path)>) -> Result<ReadRules<A>> {
    let sets = match sets {
        Some((text, path)) => match Sets::parse(text) {
            Ok(sets) => sets,
            Err(error) => bail!("{}: {error}", path.display()),
        },
        None => Sets::default(),
    };
    let text = read(path, "rules")?;
    if text.lines().any(|line| line.trim_start().starts_with("table ") && line.trim_end().ends_with('{')) {
        bail!("{} are rules of nft: give what iptables-save (or iptables-nft-save) writes", path.display());
    }
    let known = Ruleset::parse_known(&text, sets);
    let (rules, left_out) = known.map_err(|error| {
        let hint = match (is_of_other_family::<A>(&error), A::IS_V4) {
            (false, _) => "",
            (true, true) => "; rules for IPv6 are given with --rules6",
            (true, false) => "; rules for IPv4 are given with --rules",
        };
        anyhow::anyhow!("{}: {error}{hint}", path.display())
    })?;
    Ok(ReadRules { text, rules, left_out })
}

/// Whether rules are refused for an address of the other family.
fn is_of_other_family<A: Address>(error: &RulesError) -> bool {
    let Problem::Value { value, .. } = &error.problem else { return false };
    let address = value.split(['/', ',', '-']).next().and_then(|address| address.parse().ok());
    address.is_some_and(|address: IpAddr| address.is_ipv4() != A::IS_V4)
}

/// Rules that name interfaces which are not there match nothing: that is seldom meant, and this says so.
pub(super) fn note_of_unknown<A: Address>(rules: &Ruleset<A>, path: &Path, known: &[&str]) -> Option<String> {
    let headers = rules.tables().flat_map(|table| &table.chains).flat_map(|chain| &chain.rules);
    let mut unknown: Vec<String> = headers
        .flat_map(|rule| [rule.header.input, rule.header.output])
        .flatten()
        .map(|Not { is, .. }| is.to_string())
        .filter(|name| name != "lo" && !known.iter().any(|known| means(name, known)))
        .collect();
    unknown.sort();
    unknown.dedup();
    let names = unknown.join(", ");
    let path = path.display();
    (!unknown.is_empty())
        .then(|| format!("{path} names interfaces that are not here: {names}; give them with --interface"))
}

/// Whether a rule's name of an interface means this one.
pub(super) fn means(rule: &str, name: &str) -> bool {
    rule.strip_suffix('+').map_or(rule == name, |begin| name.starts_with(begin))
}

/// Ends with a line and exit code 2: the command line is wrong.
pub(super) fn wrong_usage(what: impl Display) -> ! {
    clap::Error::raw(ErrorKind::ValueValidation, format!("{what}\n")).exit()
}

/// A file of text.
///
/// # Errors
/// If it cannot be read; with its name and `what` it is.
pub(super) fn read(path: &Path, what: &str) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("cannot read the {what} {}", path.display()))
}
