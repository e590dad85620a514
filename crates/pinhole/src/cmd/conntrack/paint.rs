//! Colours, where somebody sees them.

use std::borrow::Cow;
use std::io::IsTerminal;

use ratatui::style::{Color, Style};

/// Paints, or does not: standard output is no terminal, or `NO_COLOR` is set.
#[derive(Clone, Copy, Debug)]
pub(in crate::cmd) struct Paint(bool);

/// What a text means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cmd) enum Tone {
    Plain,
    Heading,
    Good,
    Waiting,
    Fading,
    Bad,
    Translated,
}

impl Paint {
    pub(in crate::cmd) fn for_stdout() -> Self {
        Self(std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none())
    }

    /// Never paints.
    #[cfg(test)]
    pub(in crate::cmd) fn plain() -> Self {
        Self(false)
    }

    pub(in crate::cmd) fn paint(self, tone: Tone, text: &str) -> Cow<'_, str> {
        let code = match tone {
            Tone::Plain => return text.into(),
            Tone::Heading => "1",
            Tone::Good => "32",
            Tone::Waiting => "33",
            Tone::Fading => "2",
            Tone::Bad => "31",
            Tone::Translated => "36",
        };
        if self.0 && !text.is_empty() { format!("\x1b[{code}m{text}\x1b[0m").into() } else { text.into() }
    }

    /// The same for a cell of a screen.
    pub(in crate::cmd) fn style(self, tone: Tone) -> Style {
        let plain = Style::new();
        if !self.0 {
            return plain;
        }
        match tone {
            Tone::Plain => plain,
            Tone::Heading => plain.bold(),
            Tone::Good => plain.fg(Color::Green),
            Tone::Waiting => plain.fg(Color::Yellow),
            Tone::Fading => plain.dim(),
            Tone::Bad => plain.fg(Color::Red),
            Tone::Translated => plain.fg(Color::Cyan),
        }
    }
}
