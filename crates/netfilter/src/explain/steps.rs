//! What a router tells while a packet passes, sorted by where the packet is.

use core::fmt;

use super::Ending;
use crate::rules::Hook;
use crate::watch::{Note, Topic, Watch};

/// Where a packet is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// Before its first hook: is it a packet at all?
    Arrival,
    /// At a hook.
    Hook(Hook),
    /// Between hooks: which way?
    Routing,
}

impl Place {
    /// A name, which stays as it is: that of the hook, `arrival` or `routing`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Arrival => "arrival",
            Self::Hook(hook) => hook.point(),
            Self::Routing => "routing",
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What happened at one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Where.
    pub place: Place,
    /// What, in order.
    pub notes: Vec<Note>,
}

/// Listens.
#[derive(Debug, Default)]
pub(super) struct Steps {
    pub(super) stages: Vec<Stage>,
    pub(super) ending: Option<Ending>,
    /// Whether connection tracking was asked.
    pub(super) asked: bool,
    /// Whether what is told is another packet's: an answer of the router's.
    aside: bool,
}

impl Steps {
    fn come_to(&mut self, place: Place) {
        self.stages.push(Stage { place, notes: Vec::new() });
    }
}

impl Watch for Steps {
    fn note<N: fmt::Display>(&mut self, topic: Topic, note: impl FnOnce() -> N) {
        if self.aside {
            return;
        }
        self.asked |= topic == Topic::Table;
        match self.stages.last().map(|stage| stage.place) {
            Some(Place::Routing) => {}
            Some(Place::Hook(_) | Place::Arrival) | None if topic == Topic::Route => self.come_to(Place::Routing),
            Some(Place::Hook(_) | Place::Arrival) => {}
            None => self.come_to(Place::Arrival),
        }
        let note = Note { topic, text: note().to_string() };
        if let Some(stage) = self.stages.last_mut() {
            stage.notes.push(note);
        }
    }

    fn hook(&mut self, hook: Hook) {
        if !self.aside {
            self.come_to(Place::Hook(hook));
        }
    }

    fn aside(&mut self, begins: bool) {
        self.aside = begins;
    }

    fn end(&mut self, ending: impl FnOnce() -> Ending) {
        self.ending = Some(ending());
    }
}
