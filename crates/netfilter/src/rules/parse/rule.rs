//! From the words behind `-A CHAIN` to rules: more than one, if `-s` or `-d` has a list.

use super::modules::{Module, Spec};
use super::values::Given;
use super::{matches, targets};
use crate::rules::rule::{Header, Rule};
use crate::rules::{Counters, Interface, Masked, Not, Problem, Target, names};
use crate::tuple::Address;

/// How many rules one line may become: lists of 256 sources and 256 destinations. What is longer belongs in a set.
const MOST_RULES: usize = 65_536;

/// The rules that `words` are.
pub(super) fn rules<A: Address>(words: &[String], counters: Counters) -> Result<Vec<Rule<A>>, Problem> {
    let mut draft = Draft::<A>::new();
    let mut words = Words { left: words };
    while let Some(word) = words.next() {
        draft.take(word, &mut words)?;
    }
    draft.finish(counters)
}

/// The words that are left of a line.
struct Words<'a> {
    left: &'a [String],
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let (first, rest) = self.left.split_first()?;
        self.left = rest;
        Some(first)
    }

    /// What follows `option`.
    fn value(&mut self, option: &str, wanted: &str) -> Result<&'a str, Problem> {
        self.next().ok_or_else(|| Problem::Value {
            option: option.to_owned(),
            value: String::new(),
            wanted: wanted.to_owned(),
        })
    }
}

/// A rule as far as it is read.
struct Draft<A> {
    sources: Vec<Not<Masked<A>>>,
    destinations: Vec<Not<Masked<A>>>,
    header: Header<A>,
    matches: Vec<Part>,
    target: Option<Action>,
}

/// A match or a target, and the options that it was given.
struct Part {
    module: &'static Module,
    given: Vec<Given>,
}

/// Where a rule leads.
enum Action {
    Target(Part),
    Jump(String),
    Goto(String),
}

impl Part {
    const fn new(module: &'static Module) -> Self {
        Self { module, given: Vec::new() }
    }

    fn give(&mut self, spec: &'static Spec, not: bool, written: &str, words: &mut Words<'_>) -> Result<(), Problem> {
        let option = spec.names[0];
        if not && !spec.may_be_negated {
            return Err(Problem::Sense(format!("'!' makes no sense before {written}")));
        }
        if self.given.iter().any(|given| given.option == option) {
            return Err(Problem::Sense(format!("{written} is there twice")));
        }
        let (name, joined) = written.split_once('=').map_or((written, None), |(name, value)| (name, Some(value)));
        let mut values: Vec<String> = joined.map(ToOwned::to_owned).into_iter().collect();
        while values.len() < spec.values {
            values.push(words.value(name, "a value")?.to_owned());
        }
        if joined.is_some() && spec.values == 0 {
            return Err(Problem::Sense(format!("{name} takes no value")));
        }
        self.given.push(Given { option, not, values });
        Ok(())
    }
}

impl<A: Address> Draft<A> {
    const fn new() -> Self {
        let header =
            Header { source: None, destination: None, input: None, output: None, protocol: None, fragment: None };
        Self { sources: Vec::new(), destinations: Vec::new(), header, matches: Vec::new(), target: None }
    }

    /// Takes one option and what belongs to it.
    fn take(&mut self, word: &str, words: &mut Words<'_>) -> Result<(), Problem> {
        let not = word == "!";
        let option = if not { words.value("!", "an option behind it")? } else { word };
        let twice = |is_there: bool| match is_there {
            true => Err(Problem::Sense(format!("{option} is there twice"))),
            false => Ok(()),
        };
        match option {
            "-s" | "--source" | "--src" => {
                twice(!self.sources.is_empty())?;
                self.sources = networks(option, not, words)?;
            }
            "-d" | "--destination" | "--dst" => {
                twice(!self.destinations.is_empty())?;
                self.destinations = networks(option, not, words)?;
            }
            "-i" | "--in-interface" => {
                twice(self.header.input.is_some())?;
                self.header.input = Some(device(option, not, words)?);
            }
            "-o" | "--out-interface" => {
                twice(self.header.output.is_some())?;
                self.header.output = Some(device(option, not, words)?);
            }
            "-p" | "--protocol" | "--proto" => {
                twice(self.header.protocol.is_some())?;
                self.header.protocol = protocol(option, not, words)?;
            }
            "-f" | "--fragment" => {
                twice(self.header.fragment.is_some())?;
                self.header.fragment = Some(!not);
            }
            "-m" | "--match" if !not => {
                let name = words.value(option, "the name of a match")?;
                let module = Module::matching::<A>(name).ok_or_else(|| Problem::Match(name.to_owned()))?;
                self.matches.push(Part::new(module));
            }
            "-j" | "--jump" if !not => {
                twice(self.target.is_some())?;
                let name = words.value(option, "a target or a chain")?;
                self.target = Some(match Module::target(name) {
                    Some(module) => Action::Target(Part::new(module)),
                    None => Action::Jump(name.to_owned()),
                });
            }
            "-g" | "--goto" if !not => {
                twice(self.target.is_some())?;
                self.target = Some(Action::Goto(words.value(option, "a chain")?.to_owned()));
            }
            _ => self.take_of_module(option, not, words)?,
        }
        Ok(())
    }

    /// Takes an option of the target, of a match, the last one first, or of the protocol's own match, which need not be
    /// named.
    fn take_of_module(&mut self, written: &str, not: bool, words: &mut Words<'_>) -> Result<(), Problem> {
        let name = written.split_once('=').map_or(written, |(name, _)| name);
        if let Some(Action::Target(part)) = &mut self.target
            && let Some(spec) = part.module.option(name)
        {
            return part.give(spec, not, written, words);
        }
        for part in self.matches.iter_mut().rev() {
            if let Some(spec) = part.module.option(name) {
                return part.give(spec, not, written, words);
            }
        }
        if let Some(module) = self.protocol_module()
            && let Some(spec) = module.option(name)
        {
            let mut part = Part::new(module);
            part.give(spec, not, written, words)?;
            self.matches.push(part);
            return Ok(());
        }
        Err(self.unknown(written))
    }

    /// The match that goes by the name of the rule's protocol.
    fn protocol_module(&self) -> Option<&'static Module> {
        let protocol = self.header.protocol?;
        let name = match names::Protocol(protocol.is).to_string() {
            name if name == "ipv6-icmp" => "icmp6".to_owned(),
            name => name,
        };
        let module = Module::matching::<A>(&name)?;
        let is_protocol = ["tcp", "udp", "sctp", "dccp", "icmp", "icmp6"].contains(&module.name);
        (is_protocol && self.matches.iter().all(|part| part.module.name != module.name)).then_some(module)
    }

    /// Whose option it would have been.
    fn unknown(&self, option: &str) -> Problem {
        let module = match (&self.target, self.matches.last()) {
            (Some(Action::Target(part)), _) => Some((part, "-j ")),
            (Some(Action::Jump(chain) | Action::Goto(chain)), _) => {
                return Problem::Target(chain.clone());
            }
            (None, Some(part)) => Some((part, "-m ")),
            (None, None) => None,
        };
        match module {
            Some((part, letter)) => Problem::Option {
                option: option.to_owned(),
                of: format!("{letter}{}", part.module.name),
                supported: part.module.supported(),
            },
            None => Problem::Option {
                option: option.to_owned(),
                of: "a rule".into(),
                supported: "-s, -d, -i, -o, -p, -f, -m, -j, -g".into(),
            },
        }
    }

    fn finish(self, counters: Counters) -> Result<Vec<Rule<A>>, Problem> {
        let matches = self.matches.iter().map(|part| matches::finish(part.module.name, &part.given));
        let matches = matches.collect::<Result<Vec<_>, _>>()?;
        let target = match self.target {
            Some(Action::Target(part)) => Some(targets::finish(part.module.name, &part.given)?),
            Some(Action::Jump(chain)) => Some(Target::Jump(chain)),
            Some(Action::Goto(chain)) => Some(Target::Goto(chain)),
            None => None,
        };
        if self.sources.len().max(1) * self.destinations.len().max(1) > MOST_RULES {
            let problem = format!("the lists of -s and -d make more than {MOST_RULES} rules; use a set");
            return Err(Problem::Sense(problem));
        }
        let mut rules = Vec::new();
        for source in each(&self.sources) {
            for destination in each(&self.destinations) {
                let header = Header { source, destination, ..self.header };
                rules.push(Rule { header, matches: matches.clone(), target: target.clone(), counters });
            }
        }
        Ok(rules)
    }
}

/// Each of a list, or none once.
fn each<T: Copy>(list: &[T]) -> Vec<Option<T>> {
    if list.is_empty() { vec![None] } else { list.iter().copied().map(Some).collect() }
}

fn networks<A: Address>(option: &str, not: bool, words: &mut Words<'_>) -> Result<Vec<Not<Masked<A>>>, Problem> {
    let list = words.value(option, "an address")?;
    if not && list.contains(',') {
        return Err(Problem::Sense(format!(
            "'!' makes no sense before {option} with a list: every address would match"
        )));
    }
    let name = if option == "-s" { "-s" } else { "-d" };
    let given = Given { option: name, not, values: vec![list.to_owned()] };
    let networks = list.split(',').map(|net| given.network(net).map(|is| Not { is, not }));
    let networks = networks.collect::<Result<Vec<_>, _>>()?;
    // Every address is no criterion, and is not written.
    Ok(
        if let [Not { is, not: false }] = networks[..]
            && is.is_any()
        {
            Vec::new()
        } else {
            networks
        },
    )
}

fn device(option: &str, not: bool, words: &mut Words<'_>) -> Result<Not<Interface>, Problem> {
    let name = words.value(option, "the name of an interface")?;
    let refused = || Problem::Value {
        option: option.to_owned(),
        value: name.to_owned(),
        wanted: "the name of an interface: 1 to 15 bytes, a '+' at its end for whatever follows".into(),
    };
    Interface::new(name).map(|is| Not { is, not }).ok_or_else(refused)
}

/// None is every protocol.
fn protocol(option: &str, not: bool, words: &mut Words<'_>) -> Result<Option<Not<u8>>, Problem> {
    let name = words.value(option, "a protocol")?;
    let refused =
        |wanted: &str| Problem::Value { option: option.to_owned(), value: name.to_owned(), wanted: wanted.to_owned() };
    match names::protocol(name).ok_or_else(|| refused("a protocol by name, or a number up to 255"))? {
        0 if not => Err(refused("one protocol behind '!'")),
        0 => Ok(None),
        is => Ok(Some(Not { is, not })),
    }
}
