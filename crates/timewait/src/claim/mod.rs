//! May I have this 4-tuple now? What bind(), connect() and listen() say while a socket in TIME_WAIT holds it, when that changes,
//! and what would change it sooner. For a puncher that comes back to its port, and for anyone who asks "address in use?".
//!
//! The model: a [`Held`] bucket, a [`Claim`] to what it holds, and the [`Rules`] of the host. The [`Answer`] says for each of
//! the three calls whether it works, by which [`Rule`]. bind() looks at options of *both* sockets, the dead one and the new one:
//! an option that is set afterwards does nothing. connect() on a port that was bound explicitly needs timestamps on the dead
//! connection, and nothing else; on a port of the kernel's choice it needs `tcp_tw_reuse` too.
//!
//! Same local address and same peer are meant; another peer is asked for with [`Claim::same_peer`] false. Other sockets that
//! hold the port, live ones, are not known here. Measured on 6.18; net/ipv4/inet_connection_sock.c, inet_hashtables.c,
//! tcp_ipv4.c (`tcp_twsk_unique`).

mod remedy;
mod words;

use crate::Version;
use crate::segment::State;

pub use remedy::Remedy;

/// The two socket options that bind() looks at, as they were when the port was chosen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Options {
    /// `SO_REUSEADDR`.
    pub reuse_addr: bool,
    /// `SO_REUSEPORT`.
    pub reuse_port: bool,
}

/// A dead connection that is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// TIME_WAIT or FIN_WAIT_2.
    pub state: State,
    /// Options of the dead socket at its bind() or connect().
    pub options: Options,
    /// Whether both sides had timestamps.
    pub timestamps: bool,
    /// Milliseconds since its last timestamp came, for `tcp_tw_reuse`.
    pub age_ms: u64,
    /// Milliseconds until it ends by itself.
    pub left_ms: u64,
    /// Whether it went over loopback.
    pub loopback: bool,
}

/// How the new socket comes to its port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Port {
    /// bind() to this port, then connect() or listen().
    Explicit,
    /// bind() to an address with port 0: the kernel chooses before it knows the peer.
    BoundToAny,
    /// connect() chooses (also with `IP_BIND_ADDRESS_NO_PORT`).
    Chosen,
}

/// What is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Options of the new socket before bind().
    pub options: Options,
    /// How it comes to the port.
    pub port: Port,
    /// Whether it goes to the same peer, address and port.
    pub same_peer: bool,
}

/// The host's settings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rules {
    /// The kernel.
    pub version: Version,
    /// `net.ipv4.tcp_tw_reuse`: 0, 1, or 2 for loopback only.
    pub tw_reuse: u8,
    /// `net.ipv4.tcp_tw_reuse_delay`, ms; kernels before 6.14 compare whole seconds.
    pub tw_reuse_delay_ms: u64,
    /// `net.ipv4.ip_autobind_reuse`.
    pub autobind_reuse: bool,
}

impl Rules {
    /// What a kernel of `version` starts with.
    pub fn defaults(version: Version) -> Self {
        let tw_reuse = if version.has_loopback_reuse() { 2 } else { 0 };
        Self { version, tw_reuse, tw_reuse_delay_ms: 1000, autobind_reuse: false }
    }

    /// How old a dead connection must be before `tcp_tw_reuse` gives its port to connect(), ms: surely after this. Before 6.14 whole
    /// seconds are compared, so it may be a second less.
    pub fn reuse_delay_ms(&self) -> u64 {
        /// The next whole second has begun; the one after it.
        const NEXT_SECOND_MS: u64 = 1000;
        const SECOND_AFTER_MS: u64 = 2000;
        if self.version.has_reuse_delay() {
            self.tw_reuse_delay_ms
        } else if self.version.reuses_from_the_next_second() {
            NEXT_SECOND_MS
        } else {
            SECOND_AFTER_MS
        }
    }

    fn reuses(&self, loopback: bool) -> bool {
        match self.tw_reuse {
            0 => false,
            2 if self.version.has_loopback_reuse() => loopback,
            _ => true,
        }
    }
}

/// What a call says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Says {
    /// It works.
    Ok,
    /// `EADDRINUSE`.
    InUse,
    /// `EADDRNOTAVAIL`.
    NotAvailable,
    /// It is not come to, as bind() has failed.
    NotReached,
}

/// The rule that decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// Both sockets have the same one of the two options set.
    OptionOnBoth,
    /// The dead socket had neither option: nobody gets its port by bind().
    DeadHadNone,
    /// The new socket has neither option.
    NewHasNone,
    /// Each has one, but not the same.
    DifferentOptions,
    /// The peer is another one, so that the 4-tuples differ.
    OtherPeer,
    /// The port was bound, so that timestamps are all that connect() asks for: it takes the dead one's place.
    TimestampsSuffice,
    /// Without timestamps on the dead connection its segments could not be told from the new one's.
    NoTimestamps,
    /// `tcp_tw_reuse` gives the port away.
    TwReuse,
    /// `tcp_tw_reuse` is 0.
    TwReuseOff,
    /// `tcp_tw_reuse` is 2, and this is not loopback.
    TwReuseLoopbackOnly,
    /// `tcp_tw_reuse` would, in a moment: the dead connection is too young.
    TooYoung,
    /// `tcp_tw_reuse` never gives FIN_WAIT_2 away.
    StillFinWait2,
    /// bind() to port 0 does not know the peer and takes no port that is held, unless `ip_autobind_reuse` and SO_REUSEADDR
    /// on both let it.
    AnyPortUnknownPeer,
}

/// What the three calls say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// bind(), or the choice of a port by connect().
    pub bind: Says,
    /// connect() to the peer.
    pub connect: Says,
    /// listen(), for an explicit port.
    pub listen: Says,
    /// The rule that decided about the first call that fails, or about connect().
    pub rule: Rule,
    /// Milliseconds until connect() works with nothing changed: 0 now.
    pub wait_ms: u64,
    /// What would make it work sooner, best first.
    pub remedies: Vec<Remedy>,
}

/// Whether `claim` can be had while `held` is there; `None` stands for nothing that is there. Pure: whoever asks again later says
/// so by [`Held::age_ms`] and [`Held::left_ms`].
///
/// A puncher that closed first and comes back to its port three seconds later:
///
/// ```
/// use pinhole_timewait::claim::{self, Claim, Held, Options, Port, Remedy, Rule, Rules, Says};
/// use pinhole_timewait::{Version, segment::State};
///
/// let both = Options { reuse_addr: true, reuse_port: true };
/// let held = Held {
///     state: State::TimeWait,
///     options: both,
///     timestamps: true,
///     age_ms: 3_000,
///     left_ms: 58_500,
///     loopback: false,
/// };
/// let claim = Claim { options: both, port: Port::Explicit, same_peer: true };
/// let rules = Rules::defaults(Version::new(6, 18));
///
/// let answer = claim::ask(Some(&held), &claim, &rules);
/// assert_eq!((answer.bind, answer.connect, answer.wait_ms), (Says::Ok, Says::Ok, 0));
///
/// // Without timestamps bind() works and connect() does not, for as long as the dead connection is there: listen instead.
/// let answer = claim::ask(Some(&Held { timestamps: false, ..held }), &claim, &rules);
/// assert_eq!((answer.bind, answer.connect, answer.wait_ms), (Says::Ok, Says::NotAvailable, 58_500));
/// assert_eq!((answer.rule, answer.remedies[0]), (Rule::NoTimestamps, Remedy::Listen));
///
/// // A socket that had no option when it got its port gives it to nobody.
/// let answer = claim::ask(Some(&Held { options: Options::default(), ..held }), &claim, &rules);
/// assert_eq!((answer.bind, answer.rule), (Says::InUse, Rule::DeadHadNone));
/// ```
pub fn ask(held: Option<&Held>, claim: &Claim, rules: &Rules) -> Answer {
    let Some(held) = held else {
        return Answer {
            bind: Says::Ok,
            connect: Says::Ok,
            listen: Says::Ok,
            rule: Rule::OtherPeer,
            wait_ms: 0,
            remedies: Vec::new(),
        };
    };
    match claim.port {
        Port::Explicit => explicit(held, claim),
        Port::BoundToAny => any_port(held, claim, rules),
        Port::Chosen => chosen(held, claim, rules),
    }
}

/// bind() to the port, then connect() or listen().
fn explicit(held: &Held, claim: &Claim) -> Answer {
    let rule = options_rule(held.options, claim.options);
    if rule != Rule::OptionOnBoth {
        return Answer {
            bind: Says::InUse,
            connect: Says::NotReached,
            listen: Says::NotReached,
            rule,
            wait_ms: held.left_ms,
            remedies: remedy::of_bind(rule, held),
        };
    }
    let (connect, rule) = match (claim.same_peer, held.timestamps) {
        (false, _) => (Says::Ok, Rule::OtherPeer),
        (true, true) => (Says::Ok, Rule::TimestampsSuffice),
        (true, false) => (Says::NotAvailable, Rule::NoTimestamps),
    };
    let works = connect == Says::Ok;
    Answer {
        bind: Says::Ok,
        connect,
        listen: Says::Ok,
        rule,
        wait_ms: if works { 0 } else { held.left_ms },
        remedies: if works { Vec::new() } else { remedy::without_timestamps() },
    }
}

/// The matrix of bind(): the same option on both.
fn options_rule(dead: Options, new: Options) -> Rule {
    let has_any = |options: Options| options.reuse_addr || options.reuse_port;
    if (dead.reuse_addr && new.reuse_addr) || (dead.reuse_port && new.reuse_port) {
        Rule::OptionOnBoth
    } else if !has_any(dead) {
        Rule::DeadHadNone
    } else if !has_any(new) {
        Rule::NewHasNone
    } else {
        Rule::DifferentOptions
    }
}

fn any_port(held: &Held, claim: &Claim, rules: &Rules) -> Answer {
    if rules.autobind_reuse && held.options.reuse_addr && claim.options.reuse_addr {
        return explicit(held, claim);
    }
    Answer {
        bind: Says::InUse,
        connect: Says::NotReached,
        listen: Says::NotReached,
        rule: Rule::AnyPortUnknownPeer,
        wait_ms: held.left_ms,
        remedies: vec![Remedy::ChooseAtConnect, Remedy::Wait { ms: held.left_ms }],
    }
}

/// connect() chooses, and comes to this port.
fn chosen(held: &Held, claim: &Claim, rules: &Rules) -> Answer {
    let delay_ms = rules.reuse_delay_ms();
    let left_ms = held.left_ms;
    let refused = |rule, wait_ms, remedies| Answer {
        bind: Says::NotAvailable,
        connect: Says::NotAvailable,
        listen: Says::NotReached,
        rule,
        wait_ms,
        remedies,
    };
    let granted = |rule| Answer {
        bind: Says::Ok,
        connect: Says::Ok,
        listen: Says::NotReached,
        rule,
        wait_ms: 0,
        remedies: Vec::new(),
    };
    let wait = Remedy::Wait { ms: left_ms };
    if !claim.same_peer {
        return granted(Rule::OtherPeer);
    }
    if !held.timestamps {
        return refused(Rule::NoTimestamps, left_ms, remedy::without_timestamps());
    }
    if held.state == State::FinWait2 {
        return refused(Rule::StillFinWait2, left_ms, vec![Remedy::BindExplicitly, wait]);
    }
    if !rules.reuses(held.loopback) {
        let rule = if rules.tw_reuse == 0 { Rule::TwReuseOff } else { Rule::TwReuseLoopbackOnly };
        return refused(rule, left_ms, vec![Remedy::SetTwReuse, Remedy::BindExplicitly, wait]);
    }
    // `Self::reuse_delay_ms` must have passed, and a jiffy's rounding is on the safe side.
    if held.age_ms <= delay_ms {
        let wait_ms = (delay_ms - held.age_ms + 1).min(left_ms);
        return refused(Rule::TooYoung, wait_ms, vec![Remedy::Wait { ms: wait_ms }, Remedy::BindExplicitly]);
    }
    granted(Rule::TwReuse)
}

#[cfg(test)]
mod tests;
