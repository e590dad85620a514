//! The text of `ipset save`, read: the sets as they are at that moment. Elements that have a timeout stay.

use core::net::IpAddr;

use pinhole_wire::Protocol;

use super::values;
use super::words;
use crate::rules::error::{Problem, RulesError};
use crate::rules::set::{Element, Part, Set, Sets};
use crate::rules::{Icmp, names};
use crate::tuple::Address;

/// The types of sets that are supported, by name.
const TYPES: [(&str, &[Part]); 8] = [
    ("hash:ip", &[Part::Ip]),
    ("hash:net", &[Part::Net]),
    ("hash:ip,port", &[Part::Ip, Part::Port]),
    ("hash:net,port", &[Part::Net, Part::Port]),
    ("hash:ip,port,ip", &[Part::Ip, Part::Port, Part::Ip]),
    ("hash:ip,port,net", &[Part::Ip, Part::Port, Part::Net]),
    ("hash:net,net", &[Part::Net, Part::Net]),
    ("hash:net,port,net", &[Part::Net, Part::Port, Part::Net]),
];

/// How many elements one line may become (the default `maxelem` of a set).
const MOST_ELEMENTS: u64 = 65_536;

impl<A: Address> Sets<A> {
    /// Reads what `ipset save` writes. A set of the other family is known by name and contains nothing.
    ///
    /// # Errors
    /// [`RulesError`] with the line and what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, RulesError> {
        let mut sets = Self::default();
        for (number, line) in text.lines().enumerate().map(|(number, line)| (number + 1, line.trim())) {
            if !line.is_empty() && !line.starts_with('#') {
                sets.line(line).map_err(|problem| RulesError::at(number, problem))?;
            }
        }
        Ok(sets)
    }

    fn line(&mut self, line: &str) -> Result<(), Problem> {
        let words = words::split(line)?;
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        match words[..] {
            ["create", name, kind, ref options @ ..] => self.create(name, kind, options),
            ["add", name, element, ref options @ ..] => self.add_elements(name, element, options),
            _ => Err(Problem::Line(
                "expected 'create NAME TYPE …' or 'add NAME ELEMENT …', as `ipset save` writes".into(),
            )),
        }
    }

    fn create(&mut self, name: &str, kind: &str, options: &[&str]) -> Result<(), Problem> {
        let Some(&(_, parts)) = TYPES.iter().find(|(known, _)| *known == kind) else {
            let known = TYPES.map(|(name, _)| name).join(" ");
            return Err(Problem::Line(format!("sets of type '{kind}' are not supported; supported: {known}")));
        };
        let mut is_v4 = true;
        let mut options = options.iter();
        while let Some(&option) = options.next() {
            match option {
                "family" => match options.next() {
                    Some(&"inet") => is_v4 = true,
                    Some(&"inet6") => is_v4 = false,
                    _ => return Err(Problem::Line("family takes inet or inet6".into())),
                },
                "hashsize" | "maxelem" | "bucketsize" | "initval" | "timeout" => {
                    options.next().ok_or_else(|| Problem::Line(format!("{option} needs a number")))?;
                }
                "counters" | "comment" => {}
                other => return Err(unsupported(other)),
            }
        }
        let set = Set::new(name, parts).of_other_family(is_v4 != A::IS_V4);
        self.add(set).map_err(|set| Problem::Line(format!("set '{}' is there already", set.name())))
    }

    fn add_elements(&mut self, name: &str, element: &str, options: &[&str]) -> Result<(), Problem> {
        let mut is_exception = false;
        let mut options = options.iter();
        while let Some(&option) = options.next() {
            match option {
                "nomatch" => is_exception = true,
                "packets" | "bytes" | "comment" | "timeout" => {
                    options.next().ok_or_else(|| Problem::Line(format!("{option} needs a value")))?;
                }
                other => return Err(unsupported(other)),
            }
        }
        let set = self.named_mut(name).ok_or_else(|| Problem::Line(format!("no 'create {name}' before this line")))?;
        if set.is_of_other_family() {
            return Ok(());
        }
        let wrong = || Problem::Line(format!("'{element}' is no element of set '{name}'"));
        let elements = elements(set.parts(), element).ok_or_else(wrong)?;
        for element in elements {
            set.add(element, is_exception);
        }
        Ok(())
    }
}

fn unsupported(option: &str) -> Problem {
    Problem::Line(format!(
        "'{option}' is not supported for sets; supported: family, hashsize, maxelem, bucketsize, initval, timeout, counters, comment, nomatch"
    ))
}

/// The elements that `text` means: addresses and ports may be written as ranges.
fn elements<A: Address>(parts: &[Part], text: &str) -> Option<Vec<Element<A>>> {
    let texts: Vec<&str> = text.split(',').collect();
    if texts.len() != parts.len() {
        return None;
    }
    let mut elements = vec![Element::net(A::UNSPECIFIED, 0)];
    for (at, (part, text)) in parts.iter().zip(texts).enumerate() {
        let with_net = |element: Element<A>, (address, length)| match at {
            0 => Element::net(address, length),
            _ => element.and(address, length),
        };
        elements = match part {
            Part::Net => {
                let net = values::network::<A>(text)?;
                let net = (net.address(), net.length()? as u8);
                elements.into_iter().map(|element| with_net(element, net)).collect()
            }
            Part::Ip => {
                let (low, high) = addresses::<A>(text)?;
                let count = u64::try_from(high.checked_sub(low)?).ok()?.checked_add(1)?;
                bounded(count, elements.len())?;
                let address = |by: u64| (A::of_number(low + u128::from(by)), A::BITS as u8);
                let each = elements.iter().flat_map(|&element| (0..count).map(move |by| (element, by)));
                each.map(|(element, by)| with_net(element, address(by))).collect()
            }
            Part::Port => {
                let (protocol, low, high) = ports::<A>(text)?;
                bounded(u64::from(high.checked_sub(low)?) + 1, elements.len())?;
                let each = elements.iter().flat_map(|&element| (low..=high).map(move |port| (element, port)));
                each.map(|(element, port)| element.port(protocol, port)).collect()
            }
        };
    }
    Some(elements)
}

fn bounded(count: u64, before: usize) -> Option<()> {
    (count.checked_mul(before as u64)? <= MOST_ELEMENTS).then_some(())
}

/// An address, a network or `low-high`, as numbers.
fn addresses<A: Address>(text: &str) -> Option<(u128, u128)> {
    if let Some((low, high)) = text.split_once('-') {
        let [low, high] = [low, high].map(|text| text.parse::<IpAddr>().ok().and_then(A::of));
        return Some((low?.to_number(), high?.to_number()));
    }
    let net = values::network::<A>(text)?;
    net.length()?;
    Some((net.address().to_number(), net.last().to_number()))
}

/// `[protocol:]port[-port]`, TCP if nothing is said, or `icmp:` with a type by name or `type/code`.
fn ports<A: Address>(text: &str) -> Option<(u8, u16, u16)> {
    let (protocol, text) = match text.split_once(':') {
        Some((name, text)) => (names::protocol(name)?, text),
        None => (6, text),
    };
    if Protocol::from(protocol) == A::ICMP {
        let Icmp { message_type, code } = names::icmp::<A>(text)?;
        let number = u16::from_be_bytes([message_type?, code.unwrap_or(0)]);
        return Some((protocol, number, number));
    }
    let (low, high) = text.split_once('-').unwrap_or((text, text));
    Some((protocol, names::port(low)?, names::port(high)?))
}
