//! What was found out about one question, how sure that is, and by what.
//!
//! A verdict is what the observations leave possible. One value is an answer, several are an honest "unsure", and none at
//! all means that the observations contradict each other, which is told and not averaged away.

use core::fmt;

/// How much a verdict is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Confidence {
    /// Nothing was asked, or nothing came of it.
    Unknown,
    /// Observations exclude every possibility.
    Contradictory,
    /// More than one possibility is left.
    Unsure,
    /// One is left, by one observation, or by servers that cannot show that they did what was asked.
    Likely,
    /// One is left, by independent observations with a control.
    Certain,
}

/// Why a verdict is not better than it is, or what else was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Note {
    /// No server knows RFC 5780; several that know Binding were compared.
    OnlyBinding,
    /// One server at one address answered.
    OneServer,
    /// The server ignores CHANGE-REQUEST: it answered from where it was asked.
    ChangeIgnored,
    /// The server refuses CHANGE-REQUEST.
    ChangeRefused,
    /// The server's other address never answered, so that its silence says nothing.
    OtherSilent,
    /// That the server answers from elsewhere when asked could not be shown.
    NoControl,
    /// A silence that should not have been: asked to answer to an open hole, the server did not.
    ControlFailed,
    /// Seen by packets to the host's own mapping.
    ByHairpin,
    /// The NAT's own filter would drop such packets if it turned them around.
    FilterInTheWay,
    /// Many questions got no answer at once: the server answers so often and no more, or the way loses much.
    ManyUnanswered,
    /// A NAT that keeps the inside source cannot be seen from one host: the host drops what seems to come from itself.
    InsideSourceUnseen,
    /// There is no NAT.
    NoNat,
    /// Only a server that calls back can show that.
    NeedsCalls,
    /// Everybody is let in.
    NoFilter,
    /// The openers went to another mapping than the one that was answered to.
    MappingInTheWay,
    /// Openers that lived the longest did not get as far.
    FartherAway,
    /// Fewer samples than wanted.
    FewSamples,
    /// Ports were kept where they were free.
    SomeTaken,
    /// It lasted as long as the longest wait.
    AtLeast,
    /// Silent connections have asked: one that the NAT takes up in the middle looks as if it had lived.
    ByConnection,
    /// The NAT keeps ports, and only a server with RESPONSE-PORT can tell an old mapping from a new one with the same port.
    NeedsResponsePort,
}

/// What is left possible, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict<T> {
    /// What the observations do not exclude.
    pub possible: Vec<T>,
    /// What that is worth.
    pub confidence: Confidence,
    /// The observations that count, by their place in [`Report::observations`](super::Report::observations).
    pub evidence: Vec<usize>,
    /// What else there is to know.
    pub notes: Vec<Note>,
}

impl<T> Verdict<T> {
    /// Nothing is known.
    pub const fn unknown() -> Self {
        Self { possible: Vec::new(), confidence: Confidence::Unknown, evidence: Vec::new(), notes: Vec::new() }
    }

    /// Nothing is known, and why.
    pub fn unknown_since(note: Note) -> Self {
        Self { notes: vec![note], ..Self::unknown() }
    }

    /// One answer.
    pub fn of(value: T, confidence: Confidence, evidence: Vec<usize>) -> Self {
        Self { possible: vec![value], confidence, evidence, notes: Vec::new() }
    }

    /// What elimination has left: `confidence` counts if that is one.
    pub fn left(possible: Vec<T>, confidence: Confidence, evidence: Vec<usize>) -> Self {
        let confidence = match possible.len() {
            0 => Confidence::Contradictory,
            1 => confidence,
            _ if evidence.is_empty() => Confidence::Unknown,
            _ => Confidence::Unsure,
        };
        Self { possible, confidence, evidence, notes: Vec::new() }
    }

    /// The same with one more note.
    #[must_use]
    pub fn with(mut self, note: Note) -> Self {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
        self
    }

    /// The answer, if there is one.
    pub fn value(&self) -> Option<&T> {
        match (self.confidence, &self.possible[..]) {
            (Confidence::Likely | Confidence::Certain, [value]) => Some(value),
            _ => None,
        }
    }

    /// True if the observations exclude each other.
    pub fn is_contradictory(&self) -> bool {
        self.confidence == Confidence::Contradictory
    }
}

impl fmt::Display for Confidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unknown => "unknown",
            Self::Contradictory => "contradictory",
            Self::Unsure => "unsure",
            Self::Likely => "likely",
            Self::Certain => "certain",
        })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OnlyBinding => "no server knows RFC 5780; several that know Binding only were compared",
            Self::OneServer => "a single server answered, at one address",
            Self::ChangeIgnored => "the server ignores CHANGE-REQUEST",
            Self::ChangeRefused => "the server refuses CHANGE-REQUEST",
            Self::OtherSilent => "the server's other address does not answer",
            Self::NoControl => "whether the server answers from elsewhere when asked could not be checked",
            Self::ControlFailed => "the server did not answer from elsewhere even where that would have been let in",
            Self::ByHairpin => "seen by packets to the host's own mapping",
            Self::FilterInTheWay => "its filter drops such packets, whether it turns them around or not",
            Self::ManyUnanswered => {
                "many requests went unanswered (the server limits them, or the way loses much): its silence says nothing"
            }
            Self::InsideSourceUnseen => "a NAT that keeps the inside source looks the same from one host",
            Self::NoNat => "there is no NAT",
            Self::NeedsCalls => "only a server that calls back shows that",
            Self::NoFilter => "strangers are let in",
            Self::MappingInTheWay => "each endpoint has a mapping of its own, so that openers say little",
            Self::FartherAway => "it is farther away than openers live",
            Self::FewSamples => "few samples",
            Self::SomeTaken => "some ports were taken",
            Self::AtLeast => "the longest wait was not long enough",
            Self::ByConnection => "a NAT that takes up connections in the middle looks as if it had kept them",
            Self::NeedsResponsePort => "the NAT keeps ports: only a server with RESPONSE-PORT shows that",
        })
    }
}
