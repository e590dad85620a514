//! From `-j NAME` and its options to what is done.

use super::values::{self, Given};
use crate::nat::{Range, Which};
use crate::rules::rule::no_change;
use crate::rules::target::{
    ConnmarkChange, Events, Log, LogDetails, MarkChange, Reject, Target, Template, Zone, ZoneId,
};
use crate::rules::{Problem, names};
use crate::status::Direction;
use crate::tuple::Address;

/// What the target `name` does with these options, none of which is there twice.
pub(super) fn finish<A: Address>(name: &str, given: &[Given]) -> Result<Target<A>, Problem> {
    let find = |option: &str| given.iter().find(|given| given.option == option);
    Ok(match name {
        "ACCEPT" => Target::Accept,
        "DROP" => Target::Drop,
        "RETURN" => Target::Return,
        "REJECT" => Target::Reject(match find("--reject-with") {
            None => Reject::port_unreachable::<A>(),
            Some(given) => Reject::named::<A>(given.value()).ok_or_else(|| given.wants(&reject_names::<A>()))?,
        }),
        "SNAT" => Target::Snat(translation(name, given, find("--to-source"))?),
        "DNAT" => Target::Dnat(translation(name, given, find("--to-destination"))?),
        "MASQUERADE" => Target::Masquerade(to_ports(given, find("--to-ports"))?),
        "REDIRECT" => Target::Redirect(to_ports(given, find("--to-ports"))?),
        "NETMAP" => {
            let given = find("--to").ok_or_else(|| missing(name, "--to"))?;
            let net = given.network(given.value())?;
            if net.length().is_none() {
                return Err(given.wants("ADDRESS/LENGTH"));
            }
            Target::Netmap(net)
        }
        "MARK" => match given {
            [change] => Target::Mark(mark_change(change)?),
            _ => return Err(Problem::Sense("MARK needs exactly one option".into())),
        },
        "CONNMARK" => Target::Connmark(connmark(given)?),
        "CT" if find("--notrack").is_some() => match given {
            [_] => Target::Untrack,
            _ => return Err(Problem::Sense("CT --notrack goes with no other option: nothing is tracked".into())),
        },
        "CT" => Target::Ct(template(given)?),
        "NOTRACK" => Target::Notrack,
        "LOG" => Target::Log(log(given)?),
        "TRACE" => Target::Trace,
        other => return Err(Problem::Target(other.to_owned())),
    })
}

fn missing(target: &str, option: &str) -> Problem {
    Problem::Sense(format!("{target} needs {option}"))
}

fn reject_names<A: Address>() -> String {
    let names = Reject::names::<A>().iter().map(|(_, name, _)| *name).collect::<Vec<_>>();
    format!("tcp-reset, {}", names.join(", "))
}

/// `[ADDRESS[-ADDRESS]][:PORT[-PORT[/BASE]]]`; in IPv6 the addresses stand in brackets if a port follows.
fn translation<A: Address>(name: &str, given: &[Given], to: Option<&Given>) -> Result<Range<A>, Problem> {
    let option = if name == "SNAT" { "--to-source" } else { "--to-destination" };
    let to = to.ok_or_else(|| missing(name, option))?;
    let wanted = || {
        to.wants(if A::IS_V4 {
            "ADDRESS[-ADDRESS][:PORT[-PORT]], such as 192.0.2.1-192.0.2.9:1024-2047"
        } else {
            "ADDRESS[-ADDRESS] or [ADDRESS[-ADDRESS]]:PORT[-PORT], such as [2001:db8::1]:80"
        })
    };
    let (addresses, ports) = if A::IS_V4 {
        to.value().split_once(':').map_or((to.value(), None), |(addresses, ports)| (addresses, Some(ports)))
    } else if let Some(ports) = to.value().strip_prefix(':').filter(|ports| !ports.starts_with(':')) {
        ("", Some(ports))
    } else if let Some(inside) = to.value().strip_prefix('[') {
        let (addresses, behind) = inside.split_once(']').ok_or_else(wanted)?;
        let ports = if behind.is_empty() { None } else { Some(behind.strip_prefix(':').ok_or_else(wanted)?) };
        (addresses, ports)
    } else {
        (to.value(), None)
    };
    let mut range = choice(given)?;
    if !addresses.is_empty() {
        let (low, high) = addresses.split_once('-').unwrap_or((addresses, addresses));
        let [low, high] = [low, high].map(values::address);
        range.addresses = Some((low.ok_or_else(wanted)?, high.ok_or_else(wanted)?));
    }
    if let Some(ports) = ports {
        let (ports, base) = match ports.split_once('/') {
            Some((ports, base)) if name == "DNAT" => (ports, Some(base)),
            Some(_) | None => (ports, None),
        };
        range.ports = Some(port_range(ports).ok_or_else(wanted)?);
        if let Some(base) = base {
            if range.which != Which::Same || !ports.contains('-') {
                return Err(to.wants("a base behind a range of ports, without --random"));
            }
            range.which = Which::Shifted { base: names::port(base).ok_or_else(wanted)? };
        }
    }
    Ok(range)
}

fn to_ports<A: Address>(given: &[Given], ports: Option<&Given>) -> Result<Range<A>, Problem> {
    let mut range = choice(given)?;
    if let Some(ports) = ports {
        range.ports = Some(port_range(ports.value()).ok_or_else(|| ports.wants("PORT or PORT-PORT"))?);
    }
    Ok(range)
}

fn port_range(text: &str) -> Option<(u16, u16)> {
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    Some((names::port(low)?, names::port(high)?)).filter(|(low, high)| low <= high)
}

/// `--random`, `--random-fully`, `--persistent`.
fn choice<A>(given: &[Given]) -> Result<Range<A>, Problem> {
    let has = |option: &str| given.iter().any(|given| given.option == option);
    let which = match (has("--random"), has("--random-fully")) {
        (false, false) => Which::Same,
        (true, false) => Which::Random,
        (false, true) => Which::FullyRandom,
        (true, true) => return Err(Problem::Sense("--random-fully is more than --random: give one of them".into())),
    };
    Ok(Range { which, persistent: has("--persistent"), ..no_change() })
}

fn mark_change(given: &Given) -> Result<MarkChange, Problem> {
    let bits = || given.number("a number of 32 bits, such as 0x10");
    Ok(match given.option {
        "--set-xmark" => {
            let mark = given.mark()?;
            MarkChange { flip: mark.mark, clear: mark.mask }
        }
        "--set-mark" => {
            let mark = given.mark()?;
            MarkChange { flip: mark.mark, clear: mark.mark | mark.mask }
        }
        "--and-mark" => MarkChange::and(bits()?),
        "--or-mark" => MarkChange::or(bits()?),
        _ => MarkChange::xor(bits()?),
    })
}

fn connmark(given: &[Given]) -> Result<ConnmarkChange, Problem> {
    let is_mask = |given: &&Given| ["--nfmask", "--ctmask", "--mask"].contains(&given.option);
    let masks: Vec<&Given> = given.iter().filter(is_mask).collect();
    let mut changes = given.iter().filter(|given| !is_mask(given));
    let (Some(change), None) = (changes.next(), changes.next()) else {
        return Err(Problem::Sense(
            "CONNMARK needs exactly one of --set-mark, --save-mark, --restore-mark and so on".into(),
        ));
    };
    let is_copy = change.option == "--save-mark" || change.option == "--restore-mark";
    if !is_copy {
        return match masks.first() {
            None => mark_change(change).map(ConnmarkChange::Set),
            Some(mask) => Err(Problem::Sense(format!("{} goes with --save-mark and --restore-mark only", mask.option))),
        };
    }
    let (mut nfmask, mut ctmask) = (u32::MAX, u32::MAX);
    for mask in &masks {
        let bits = mask.number("a mask of 32 bits, such as 0xff")?;
        match mask.option {
            "--nfmask" => nfmask = bits,
            "--ctmask" => ctmask = bits,
            _ if masks.len() > 1 => {
                return Err(Problem::Sense("--mask is both --nfmask and --ctmask: give it alone".into()));
            }
            _ => (nfmask, ctmask) = (bits, bits),
        }
    }
    Ok(if change.option == "--save-mark" {
        ConnmarkChange::Save { nfmask, ctmask }
    } else {
        ConnmarkChange::Restore { nfmask, ctmask }
    })
}

fn template(given: &[Given]) -> Result<Template, Problem> {
    let mut template = Template::default();
    for given in given {
        let name = || match given.value() {
            "" => Err(given.wants("a name")),
            name => Ok(Some(name.to_owned())),
        };
        match given.option {
            "--helper" => template.helper = name()?,
            "--timeout" => template.timeout = name()?,
            "--ctevents" => template.events = Some(events(given)?),
            "--expevents" if given.value() == "new" => template.expectation_events = true,
            "--expevents" => return Err(given.wants("new")),
            _ if template.zone.is_some() => {
                return Err(Problem::Sense("CT takes one of --zone, --zone-orig and --zone-reply".into()));
            }
            zone => {
                let id = match given.value() {
                    "mark" => ZoneId::Mark,
                    _ => ZoneId::Number(given.number("a zone from 0 to 65535, or mark")?),
                };
                let only = match zone {
                    "--zone-orig" => Some(Direction::Original),
                    "--zone-reply" => Some(Direction::Reply),
                    _ => None,
                };
                template.zone = Some(Zone { id, only });
            }
        }
    }
    // Zone 0 is where every flow is without a rule, and is not written.
    template.zone = template.zone.filter(|zone| zone.id != ZoneId::Number(0));
    Ok(template)
}

fn events(given: &Given) -> Result<Events, Problem> {
    let bits = given.value().split(',').try_fold(0, |bits, name| {
        let found = Events::NAMES.iter().find(|(_, known)| *known == name);
        let wanted = "events of new, related, destroy, reply, assured, protoinfo, helper, mark, natseqinfo, secmark";
        found.map(|(bit, _)| bits | 1 << bit).ok_or_else(|| given.refuses(name, wanted))
    });
    bits.map(Events)
}

fn log(given: &[Given]) -> Result<Log, Problem> {
    let mut log = Log::default();
    for given in given {
        match given.option {
            "--log-prefix" if given.value().is_empty() => return Err(given.wants("some text")),
            "--log-prefix" => log.prefix = given.value().to_owned(),
            "--log-level" => {
                let named = Log::LEVELS.iter().find(|(_, name)| name.eq_ignore_ascii_case(given.value()));
                log.level = match named {
                    Some(&(level, _)) => level,
                    None => given.number("a level by name, or from 0 to 7")?,
                };
            }
            option => {
                let bit = LogDetails::OPTIONS.iter().find(|(_, name)| *name == option).map_or(0, |&(bit, _)| bit);
                log.details.0 |= bit;
            }
        }
    }
    Ok(log)
}
