//! A packet's way through the chains of one table, without allocation.

use super::matches::{Answer, Seen};
use super::rule::{Header, Rule, no_change};
use super::ruleset::Loaded;
use super::set::Sets;
use super::subject::{Effect, Flow, Host, Subject, Tracking};
use super::target::{ConnmarkChange, Reject, Target, Translation};
use super::trace::{Ended, Line, Matched, NoMatch, Undecided};
use super::{Chain, Hook, Policy, Ruleset, States, TableName};
use crate::nat::{Manip, Range};
use crate::status::CtInfo;
use crate::tuple::Address;
use crate::watch::{Topic, Watch};

/// What a table decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<A> {
    /// The packet goes on; in nat, its flow is not translated by a rule.
    Accept,
    /// The packet is gone.
    Drop,
    /// The packet is gone, and its sender is told.
    Reject(Reject),
    /// The packet's flow is translated; in nat only.
    Nat(Translation<A>),
}

/// Which packets pass a table at a hook without being looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Passes {
    /// All: there is no chain.
    Unasked,
    /// All: there is no rule, and the policy counts them.
    All,
    /// Those of answered flows: the first rule accepts and counts them.
    Established,
    /// Which ones, only the rules know.
    Some,
}

impl<A: Address> Ruleset<A> {
    /// Whether `table` has nothing to say at `hook`, so that it need not be asked.
    #[inline]
    pub const fn is_idle(&self, table: TableName, hook: Hook) -> bool {
        self.hooks[table as usize] & hook.bit() == 0
    }

    /// Which packets pass `table` at `hook` whatever else they are.
    pub(crate) fn passes(&self, table: TableName, hook: Hook) -> Passes {
        if self.is_idle(table, hook) {
            return Passes::Unasked;
        }
        let loaded = self.tables[table as usize].as_ref();
        let Some((loaded, chain)) = loaded.and_then(|loaded| Some((loaded, loaded.entries[hook as usize]?))) else {
            return Passes::Unasked;
        };
        let chain = &loaded.table.chains[chain];
        if chain.rules.is_empty() && chain.policy != Some(Policy::Drop) {
            Passes::All
        } else if loaded.accepted[hook as usize].intersects(States::ESTABLISHED) {
            Passes::Established
        } else {
            Passes::Some
        }
    }

    /// Counts a packet of `length` bytes that [`passes`](Self::passes) `table` at `hook`.
    #[inline]
    pub(crate) fn count_passed(&mut self, table: TableName, hook: Hook, length: u32) {
        if let Some(loaded) = &mut self.tables[table as usize]
            && let Some(chain) = loaded.entries[hook as usize]
        {
            let Chain { rules, counters, .. } = &mut loaded.table.chains[chain];
            rules.first_mut().map_or(counters, |rule| &mut rule.counters).count(length);
        }
    }

    /// What `table` decides about any packet at `hook` of `length` bytes, if it has no rule there; it is counted.
    #[inline]
    pub(crate) fn run_empty(
        &mut self,
        table: TableName,
        hook: Hook,
        length: u32,
        watch: &mut impl Watch,
    ) -> Option<Decision<A>> {
        if self.is_idle(table, hook) {
            return Some(Decision::Accept);
        }
        let loaded = self.tables[table as usize].as_mut()?;
        let chain = loaded.table.chains.get_mut(loaded.entries[hook as usize]?)?;
        chain.rules.is_empty().then(|| chain.undecided(table, length, watch))
    }

    /// Asks `table` about a packet at `hook`. Packets are counted, and limits taken from.
    ///
    /// What rules do beside their verdict goes to `host`, at once and in order; later rules of this table see it.
    #[inline]
    pub fn run(
        &mut self,
        table: TableName,
        hook: Hook,
        subject: &Subject<'_, A>,
        host: &mut impl Host<A>,
        watch: &mut impl Watch,
    ) -> Decision<A> {
        if self.is_idle(table, hook) {
            return Decision::Accept;
        }
        match &mut self.tables[table as usize] {
            Some(loaded) if loaded.accepted[hook as usize].intersects(States::of(&subject.tracking)) => {
                loaded.accept_first(hook, subject.length, watch)
            }
            Some(loaded) => loaded.run(hook, subject, &self.sets, host, watch),
            None => Decision::Accept,
        }
    }
}

impl<A: Address> Loaded<A> {
    /// The first rule accepts a packet of this length.
    #[inline]
    fn accept_first(&mut self, hook: Hook, length: u32, watch: &mut impl Watch) -> Decision<A> {
        let Self { table, entries, .. } = self;
        let chain = entries[hook as usize].and_then(|chain| table.chains.get_mut(chain));
        if let Some(Chain { name, rules, .. }) = chain
            && let Some(rule) = rules.first_mut()
        {
            rule.counters.count(length);
            let line = Line { table: table.name, chain: name, rule: 1 };
            watch.note(Topic::Rule, || Matched { line, rule });
        }
        Decision::Accept
    }

    fn run(
        &mut self,
        hook: Hook,
        subject: &Subject<'_, A>,
        sets: &Sets<A>,
        host: &mut impl Host<A>,
        watch: &mut impl Watch,
    ) -> Decision<A> {
        let Self { table, entries, jumps, stack, .. } = self;
        let Some(base) = entries[hook as usize] else { return Decision::Accept };
        let mut seen = Seen::of(subject);
        let (mut chain, mut rule) = (base, 0);
        stack.clear();
        loop {
            let line = Line { table: table.name, chain: "", rule };
            let Some(current) = table.chains[chain].rules.get_mut(rule) else {
                let line = Line { chain: &table.chains[chain].name, ..line };
                let Some(back) = stack.pop() else { break };
                watch.note(Topic::Rule, || Ended { line, back: &table.chains[back.0].name });
                (chain, rule) = back;
                continue;
            };
            rule += 1;
            if let Some(refusal) = current.refusal(&seen, sets, host) {
                let chain = &table.chains[chain];
                let current = &chain.rules[rule - 1];
                let line = Line { chain: &chain.name, rule, ..line };
                watch.note(Topic::Tried, || NoMatch { line, refusal, of: current, seen: &seen });
                if refusal == Refusal::Malformed {
                    return Decision::Drop;
                }
                continue;
            }
            current.counters.count(subject.length);
            let current = &table.chains[chain];
            let line = Line { chain: &current.name, rule, ..line };
            watch.note(Topic::Rule, || Matched { line, rule: &current.rules[rule - 1] });
            let Some(target) = &current.rules[rule - 1].target else { continue };
            let (mark, flow_mark) = (seen.mark, seen.flow_mark);
            let step = step(target, hook, &mut seen, host);
            if mark != seen.mark {
                watch.note(Topic::Rule, || format!("the packet's mark is {:#x} now", seen.mark));
            }
            if flow_mark != seen.flow_mark {
                watch.note(Topic::Rule, || format!("the flow's mark is {:#x} now", seen.flow_mark));
            }
            match step {
                Step::Next => {}
                Step::Decide(decision) => return decision,
                Step::Return => match stack.pop() {
                    Some(back) => (chain, rule) = back,
                    None => break,
                },
                Step::Jump => {
                    stack.push((chain, rule));
                    (chain, rule) = (jumps[chain][rule - 1], 0);
                }
                Step::Goto => (chain, rule) = (jumps[chain][rule - 1], 0),
            }
        }
        table.chains[base].undecided(table.name, subject.length, watch)
    }
}

impl<A: Address> Chain<A> {
    /// No rule of a built-in chain has decided: its policy does.
    #[inline]
    fn undecided(&mut self, table: TableName, length: u32, watch: &mut impl Watch) -> Decision<A> {
        self.counters.count(length);
        let line = Line { table, chain: &self.name, rule: self.rules.len() + 1 };
        let (policy, is_empty) = (self.policy, self.rules.is_empty());
        let is_dull = is_empty && policy != Some(Policy::Drop);
        let topic = if is_dull { Topic::Tried } else { Topic::Rule };
        watch.note(topic, || Undecided { line, policy, is_empty });
        match policy {
            Some(Policy::Drop) => Decision::Drop,
            Some(Policy::Accept) | None => Decision::Accept,
        }
    }
}

impl<'a, A: Address> Seen<'a, A> {
    const fn of(subject: &'a Subject<'a, A>) -> Self {
        let flow_mark = match &subject.tracking {
            Tracking::Flow(flow) => flow.mark,
            Tracking::Invalid | Tracking::Untracked => 0,
        };
        Self { subject, mark: subject.mark, flow_mark, is_untracked: false, has_template: false }
    }

    /// The packet's flow, as rules see it by now.
    #[inline]
    pub(super) const fn flow(&self) -> Option<&'a Flow<'a, A>> {
        match &self.subject.tracking {
            Tracking::Flow(flow) if !matches!(flow.info, CtInfo::Untracked) => Some(flow),
            Tracking::Flow(_) | Tracking::Invalid | Tracking::Untracked => None,
        }
    }

    /// Whether nobody has looked for the packet's flow yet, so that a rule may say how.
    const fn is_unseen(&self) -> bool {
        matches!(self.subject.tracking, Tracking::Invalid) && !self.is_untracked && !self.has_template
    }
}

/// Why a rule does not match.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// What it asks of the header, by its option.
    Header(&'static str),
    /// What it asks beside, by its place.
    Match(usize),
    /// The packet is too short for what it asks.
    Malformed,
}

impl<A: Address> Rule<A> {
    /// Why this rule does not match, if it does not.
    #[inline]
    fn refusal(&mut self, seen: &Seen<'_, A>, sets: &Sets<A>, host: &mut impl Host<A>) -> Option<Refusal> {
        if let Some(option) = self.header.refusal(seen.subject) {
            return Some(Refusal::Header(option));
        }
        for (at, criterion) in self.matches.iter_mut().enumerate() {
            match criterion.test(seen, sets, host) {
                Answer::Yes => {}
                Answer::No => return Some(Refusal::Match(at)),
                Answer::Malformed => return Some(Refusal::Malformed),
            }
        }
        None
    }
}

impl<A: Address> Header<A> {
    /// The option that says no.
    #[inline]
    fn refusal(&self, subject: &Subject<'_, A>) -> Option<&'static str> {
        if self.source.is_some_and(|net| !net.wants(net.is.contains(subject.src))) {
            return Some("-s");
        }
        if self.destination.is_some_and(|net| !net.wants(net.is.contains(subject.dst))) {
            return Some("-d");
        }
        if self.input.is_some_and(|device| !device.wants(device.is.contains(subject.input))) {
            return Some("-i");
        }
        if self.output.is_some_and(|device| !device.wants(device.is.contains(subject.output))) {
            return Some("-o");
        }
        if self.protocol.is_some_and(|protocol| !protocol.wants(protocol.is == subject.protocol)) {
            return Some("-p");
        }
        self.fragment.is_some_and(|fragment| fragment != subject.body.is_none()).then_some("-f")
    }
}

/// Where a packet goes from a rule that matches.
enum Step<A> {
    Next,
    Decide(Decision<A>),
    Return,
    Jump,
    Goto,
}

/// Carries a target out.
fn step<A: Address>(target: &Target<A>, hook: Hook, seen: &mut Seen<'_, A>, host: &mut impl Host<A>) -> Step<A> {
    let translate = |translation| Step::Decide(Decision::Nat(translation));
    match target {
        Target::Accept => return Step::Decide(Decision::Accept),
        Target::Drop => return Step::Decide(Decision::Drop),
        Target::Reject(reject) => return Step::Decide(Decision::Reject(*reject)),
        Target::Return => return Step::Return,
        Target::Jump(_) => return Step::Jump,
        Target::Goto(_) => return Step::Goto,
        Target::Snat(range) => return translate(Translation::To(Manip::Source, *range)),
        Target::Dnat(range) => return translate(Translation::To(Manip::Destination, *range)),
        Target::Masquerade(range) => return translate(Translation::Masquerade(*range)),
        Target::Redirect(range) => return translate(Translation::Redirect(*range)),
        Target::Netmap(net) => {
            let range = Range { addresses: Some((net.address(), net.last())), netmap: true, ..no_change() };
            return translate(Translation::To(manip_at(hook), range));
        }
        Target::Mark(change) => {
            seen.mark = change.of(seen.mark);
            host.apply(Effect::Mark(seen.mark));
        }
        Target::Connmark(change) => change_connmark(*change, seen, host),
        Target::Untrack | Target::Notrack => {
            if seen.is_unseen() {
                seen.is_untracked = true;
                host.apply(Effect::Untrack);
            }
        }
        Target::Ct(template) => {
            if seen.is_unseen() {
                seen.has_template = true;
                host.apply(Effect::Template(template));
            }
        }
        Target::Log(log) => host.apply(Effect::Log(log)),
        Target::Trace => host.apply(Effect::Trace),
    }
    Step::Next
}

/// Which end NETMAP translates at `hook`.
const fn manip_at(hook: Hook) -> Manip {
    match hook {
        Hook::PreRouting | Hook::Output => Manip::Destination,
        Hook::Input | Hook::Forward | Hook::PostRouting => Manip::Source,
    }
}

/// CONNMARK: nothing without a flow.
fn change_connmark<A: Address>(change: ConnmarkChange, seen: &mut Seen<'_, A>, host: &mut impl Host<A>) {
    if seen.flow().is_none() {
        return;
    }
    let old = seen.flow_mark;
    match change {
        ConnmarkChange::Set(change) => seen.flow_mark = change.of(old),
        ConnmarkChange::Save { nfmask, ctmask } => seen.flow_mark = old & !ctmask ^ seen.mark & nfmask,
        ConnmarkChange::Restore { nfmask, ctmask } => {
            seen.mark = seen.mark & !nfmask ^ old & ctmask;
            host.apply(Effect::Mark(seen.mark));
        }
    }
    if seen.flow_mark != old {
        host.apply(Effect::FlowMark(seen.flow_mark));
    }
}
