//! What was asked and what came of it: all that verdicts are made from.

use core::fmt;
use core::net::SocketAddr;

use pinhole_sansio::Duration;
use pinhole_stun::behaviour::Change;
use pinhole_stun::client::SocketId;

/// What a socket wanted to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// Does this server answer, and what does it know?
    Reach,
    /// As whom does this server see me?
    Mapping {
        /// By which socket of several that ask the same.
        round: u8,
    },
    /// May this one, to whom I have not sent, send to me?
    Filter {
        /// By which socket.
        round: u8,
        /// Who that is, seen from whom I ask.
        change: Change,
    },
    /// May this one, to whom I have sent? If not, its silence says nothing.
    Control {
        /// By which socket.
        round: u8,
        /// Who that is.
        change: Change,
    },
    /// Do you connect to me, from there?
    Call {
        /// By which socket.
        round: u8,
        /// Where that is, seen from whom I ask; nobody's, to learn the mapping.
        change: Change,
    },
    /// Did the packet that was not let in take a mapping away?
    Poison {
        /// By which socket.
        round: u8,
    },
    /// Which port does another socket get?
    Port {
        /// Which one.
        number: u8,
    },
    /// Do two sockets of mine reach each other by their mappings? The receiver has sent to nobody but the server.
    HairpinUnasked,
    /// The same, and the receiver has sent to the address, to another port.
    HairpinAddress,
    /// The same, and the receiver has sent to the sender.
    HairpinBoth,
    /// May this one, once packets to it have gone so many hops and no farther?
    Depth {
        /// How many.
        hops: u8,
        /// Who that is, seen from whom I ask; nobody, to make a mapping.
        change: Change,
    },
    /// Does the mapping live after a silence?
    Lifetime {
        /// Of so many milliseconds.
        silence_ms: u32,
        /// It had carried packets both ways for some seconds.
        stream: bool,
    },
}

/// What came of a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The answer came from here, and says who I am.
    Mapped {
        /// As whom the server saw me.
        mapped: SocketAddr,
        /// Who answered.
        from: SocketAddr,
    },
    /// Something of mine came in, or was let in, from here.
    Arrived {
        /// Its source, as it was seen.
        from: SocketAddr,
    },
    /// Nothing came in time.
    Silence,
    /// An answer came, and from the wrong place.
    Elsewhere {
        /// From here.
        from: SocketAddr,
    },
    /// The server refuses, or says that it does not understand.
    Refused,
}

/// One observation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Observation {
    /// When it was made, after the beginning.
    pub at: Duration,
    /// The socket that asked or received.
    pub socket: SocketId,
    /// Its own address.
    pub local: Option<SocketAddr>,
    /// What was asked.
    pub question: Question,
    /// Who was asked, or what was sent to.
    pub asked: SocketAddr,
    /// How often it was asked until then; 0 for what nobody asked.
    pub attempts: u32,
    /// What came of it.
    pub outcome: Outcome,
}

impl Observation {
    /// As whom the socket was seen.
    pub fn mapped(&self) -> Option<SocketAddr> {
        match self.outcome {
            Outcome::Mapped { mapped, .. } => Some(mapped),
            Outcome::Arrived { .. } | Outcome::Silence | Outcome::Elsewhere { .. } | Outcome::Refused => None,
        }
    }

    /// True if what was hoped for came in.
    pub fn arrived(&self) -> bool {
        match self.outcome {
            Outcome::Mapped { .. } | Outcome::Arrived { .. } => true,
            Outcome::Silence | Outcome::Elsewhere { .. } | Outcome::Refused => false,
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let who = |change: &Change| match (change.ip, change.port) {
            (true, true) => "its other address and port",
            (true, false) => "its other address",
            (false, true) => "its other port",
            (false, false) => "itself",
        };
        match self {
            Self::Reach => f.write_str("does it answer"),
            Self::Mapping { .. } => f.write_str("who am I"),
            Self::Filter { change, .. } => write!(f, "may {} send to me", who(change)),
            Self::Control { change, .. } => write!(f, "may {} once I have sent there", who(change)),
            Self::Call { change: Change::NONE, .. } => f.write_str("who am I, before I am called"),
            Self::Call { change, .. } => write!(f, "will you call me from {}", who(change)),
            Self::Poison { .. } => f.write_str("who am I to one that was not let in"),
            Self::Port { .. } => f.write_str("which port do I get"),
            Self::HairpinUnasked => f.write_str("my own mapping, unasked"),
            Self::HairpinAddress => f.write_str("my own mapping, its address asked"),
            Self::HairpinBoth => f.write_str("my own mapping, asked"),
            Self::Depth { change: Change::NONE, .. } => f.write_str("who am I, before openers"),
            Self::Depth { hops, change } => write!(f, "may {} once openers have gone {hops} hops", who(change)),
            Self::Lifetime { silence_ms, stream } => {
                let kind = if *stream { "stream" } else { "exchange" };
                write!(f, "does the mapping of a {kind} live after {} s", f64::from(*silence_ms) / 1_000.0)
            }
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Mapped { mapped, from } => write!(f, "{mapped}, says {from}"),
            Self::Arrived { from } => write!(f, "came in from {from}"),
            Self::Silence => f.write_str("nothing came"),
            Self::Elsewhere { from } => write!(f, "answered from {from}"),
            Self::Refused => f.write_str("refused"),
        }
    }
}

impl fmt::Display for Observation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { at, local, question, asked, outcome, .. } = self;
        write!(f, "{:.3} s ", at.as_secs_f64())?;
        if let Some(local) = local {
            write!(f, "{local} ")?;
        }
        write!(f, "> {asked}: {question}? {outcome}")
    }
}
