//! Reads a script. Whatever the text, the answer is a script or the number of the line that is wrong.

use core::fmt;
use core::str::FromStr;
use core::time::Duration;

use pinhole_wire::text;

use super::view::number;
use super::{EntryExpect, Expect, Family, Info, Item, Line, Output, ProtocolView, Script, Side};
use crate::status::Status;

/// Why a text is not a script.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScriptError {
    /// The line, counted from one.
    pub line: usize,
    /// What is wrong with it.
    pub message: String,
}

impl fmt::Display for ScriptError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}: {}", self.line, self.message)
    }
}

impl core::error::Error for ScriptError {}

/// The longest wait: no timeout of conntrack's is longer than five days.
const MAX_WAIT_S: f64 = 1_000_000.0;

impl FromStr for Script {
    type Err = ScriptError;

    fn from_str(text: &str) -> Result<Self, ScriptError> {
        let mut script = Self::default();
        let mut numbered = text.lines().zip(1..);
        let mut has_packet = false;
        while let Some((line, number)) = numbered.next() {
            let (said, comment) = split_comment(line);
            let at = |message: String| ScriptError { line: number, message };
            let item = match said.strip_prefix("rules ") {
                Some(name) => {
                    Item::Rules(family(name).map_err(at)?, rules(&mut numbered).ok_or_else(unclosed(number))?)
                }
                None => item(said).map_err(at)?,
            };
            has_packet |= matches!(item, Item::Inject(..));
            if matches!(item, Item::Expect(_)) && !has_packet {
                return Err(at("an outcome before any packet".into()));
            }
            script.lines.push(Line { number, item, comment });
        }
        Ok(script)
    }
}

fn unclosed(line: usize) -> impl FnOnce() -> ScriptError {
    move || ScriptError { line, message: "these rules have no \"end\"".into() }
}

fn rules<'a>(lines: &mut impl Iterator<Item = (&'a str, usize)>) -> Option<String> {
    let mut rules = String::new();
    for (line, _) in lines {
        if line.trim() == "end" {
            return Some(rules);
        }
        rules.push_str(line.trim_end());
        rules.push('\n');
    }
    None
}

/// What a line says, and what is behind the first `#` that is not in quotes.
fn split_comment(line: &str) -> (&str, Option<String>) {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in line.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'#' if !quoted => return (line[..at].trim(), Some(line[at + 1..].trim_end().to_owned())),
            _ => {}
        }
    }
    (line.trim(), None)
}

fn item(said: &str) -> Result<Item, String> {
    let (word, rest) = said.split_once(' ').unwrap_or((said, ""));
    let rest = rest.trim();
    if let Some(side) = Side::named(word) {
        return passing(side, rest);
    }
    if let Some(seconds) = word.strip_prefix('+') {
        return match seconds.parse::<f64>() {
            Ok(seconds) if rest.is_empty() && (0.0..MAX_WAIT_S).contains(&seconds) => {
                Ok(Item::Wait(Duration::from_micros((seconds * 1e6).round() as u64)))
            }
            _ => Err(format!("expected a number of seconds after +, found {said:?}")),
        };
    }
    let net = || {
        let (side, net) = rest.split_once(' ').ok_or("expected a side and a network")?;
        let side = Side::named(side).ok_or_else(|| format!("expected in or out, found {side:?}"))?;
        let net = net.trim().parse().map_err(|_| format!("expected a network such as 10.0.0.254/24, found {net:?}"))?;
        Ok::<_, String>((side, net))
    };
    let alone = |item: Item| if rest.is_empty() { Ok(item) } else { Err(format!("nothing may follow {word:?}")) };
    match word {
        "" => Ok(Item::Blank),
        "set" => setting(rest),
        "address" => net().map(|(side, net)| Item::Address(side, net)),
        "route" => net().map(|(side, net)| Item::Route(side, net)),
        "flush" => alone(Item::Flush),
        "age" => rest.parse().map(Item::Age).map_err(|_| format!("expected a number of seconds, found {rest:?}")),
        "drop" => alone(Item::Expect(Expect::Drop)),
        "delivered" => alone(Item::Expect(Expect::Delivered)),
        "info" if rest == "-" => Ok(Item::Expect(Expect::Unseen)),
        "info" => match Info::named(&rest.split_ascii_whitespace().collect::<Vec<_>>().join(" ")) {
            Some(info) => Ok(Item::Expect(Expect::Info(info))),
            None => Err(format!("expected NEW, ESTABLISHED, RELATED, INVALID or UNTRACKED, found {rest:?}")),
        },
        "ct:" if rest == "none" => Ok(Item::Expect(Expect::NoEntry)),
        "ct:" => entry(rest).map(|entry| Item::Expect(Expect::Entry(entry))),
        other => Err(format!("{other:?} begins no line")),
    }
}

fn family(name: &str) -> Result<Family, String> {
    Family::named(name.trim()).ok_or_else(|| format!("expected rules ipv4 or rules ipv6, found {name:?}"))
}

fn setting(rest: &str) -> Result<Item, String> {
    let (name, value) = rest.split_once(' ').ok_or("expected a setting and its value")?;
    // A name is a file below /proc/sys/net/netfilter for one of the executors: it must not lead anywhere else.
    let is_name = |name: &str| name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
    if !is_name(name) {
        return Err(format!("{name:?} is no setting's name"));
    }
    Ok(Item::Set(name.to_owned(), value.trim().to_owned()))
}

/// `> PACKET` or `< PACKET`.
fn passing(side: Side, rest: &str) -> Result<Item, String> {
    let packet = |text: &str| text::read(text.trim()).map_err(|error| format!("in this packet: {error}"));
    if let Some(text) = rest.strip_prefix("> ") {
        return Ok(Item::Inject(side, packet(text)?));
    }
    if let Some(text) = rest.strip_prefix("< ") {
        return Ok(Item::Expect(Expect::Output(Output { side, packet: packet(text)? })));
    }
    Err(format!("expected > or < and a packet after {side}"))
}

fn entry(rest: &str) -> Result<EntryExpect, String> {
    let mut entry = EntryExpect::default();
    let mut rest = rest;
    while let Some(word) = word(&mut rest) {
        match word {
            "tcp" | "sctp" => {
                let name = value(word, &mut rest)?;
                let state = ProtocolView::state_named(word, name);
                entry.state = Some(state.ok_or_else(|| format!("{name:?} is no state of {word}"))?);
            }
            "status" => {
                let names = value(word, &mut rest)?;
                entry.status = Some(Status::named(names).ok_or_else(|| format!("{names:?} are no status bits"))?.0);
            }
            "timeout" => entry.timeout_s = Some(parse_number(value(word, &mut rest)?)?),
            "scale" => entry.scale = Some(pair(value(word, &mut rest)?)?),
            "flags" => entry.flags = Some(pair(value(word, &mut rest)?)?),
            "tags" => entry.tags = Some(pair(value(word, &mut rest)?)?),
            "mark" => entry.mark = Some(parse_number(value(word, &mut rest)?)?),
            "helper" => entry.helper = Some(value(word, &mut rest)?.to_owned()),
            "original" => entry.original = Some(parenthesised(&mut rest)?),
            "reply" => entry.reply = Some(parenthesised(&mut rest)?),
            other => return Err(format!("{other:?} is nothing that is known of an entry")),
        }
    }
    Ok(entry)
}

fn word<'a>(rest: &mut &'a str) -> Option<&'a str> {
    let text = rest.trim_start();
    let (word, after) = text.split_at(text.find(' ').unwrap_or(text.len()));
    *rest = after;
    (!word.is_empty()).then_some(word)
}

fn value<'a>(of: &str, rest: &mut &'a str) -> Result<&'a str, String> {
    word(rest).ok_or_else(|| format!("expected something after {of:?}"))
}

fn parse_number<N: TryFrom<u64>>(word: &str) -> Result<N, String> {
    number(word).map_err(|()| format!("expected a number, found {word:?}"))
}

fn pair<N: TryFrom<u64>>(word: &str) -> Result<[N; 2], String> {
    let (first, second) = word.split_once('/').ok_or_else(|| format!("expected two numbers, found {word:?}"))?;
    Ok([parse_number(first)?, parse_number(second)?])
}

fn parenthesised<T: FromStr>(rest: &mut &str) -> Result<T, String> {
    let text = rest.trim_start();
    let inside = text.strip_prefix('(').and_then(|text| text.split_once(')'));
    let (inside, after) = inside.ok_or_else(|| format!("expected a tuple in parentheses, found {text:?}"))?;
    *rest = after;
    inside.parse().map_err(|_| format!("{inside:?} is no tuple"))
}
