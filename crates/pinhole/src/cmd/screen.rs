//! A view on the whole terminal, for commands that go on until somebody has seen enough.
//!
//! The model: a [`Screen`] is entered, drawn again and again, and gone when it is dropped: the terminal's other screen, raw, and
//! whatever way the command ends (a key, a signal, an error, a panic) the terminal is as it was. [`Ends`] is what ends such a
//! command, with a screen or with lines that go into a pipe; it waits for time to pass and says what came instead.
//!
//! Keys: `q`, Esc and Ctrl-C end it, Ctrl-Z sends it to the background, Ctrl-L draws anew. What is drawn is the command's.

use std::io;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};
use ratatui::backend::CrosstermBackend;
use ratatui::buffer::Buffer;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{Clear, ClearType, EnterAlternateScreen, enable_raw_mode};
use ratatui::layout::Rect;
use ratatui::widgets::{Paragraph, Widget};
use ratatui::{DefaultTerminal, Frame, Terminal};
use rustix::process::{Signal as Number, getpid, kill_process};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

/// The terminal, as long as a view is on it.
#[derive(Debug)]
pub(super) struct Screen {
    terminal: DefaultTerminal,
    events: UnboundedReceiver<Event>,
}

/// What a user does to end a command.
#[derive(Debug)]
pub(super) struct Ends {
    interrupt: Signal,
    terminate: Signal,
    hangup: Signal,
}

/// What a wait came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// The time is over.
    Time,
    /// The screen has changed and wants to be drawn.
    Draw,
    /// Somebody has seen enough.
    Leave,
}

/// What a key or a change of the terminal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    Leave,
    Suspend,
    Clear,
    Draw,
    Nothing,
}

impl Screen {
    /// Takes the terminal.
    ///
    /// # Errors
    /// When there is none to be had, as for a process without one.
    pub(super) fn enter() -> Result<Self> {
        let terminal = ratatui::try_init()
            .inspect_err(|_| ratatui::restore())
            .context("cannot use this terminal; lines go into a pipe (| cat)")?;
        let (sender, events) = unbounded_channel();
        // It ends with the process, or with the first key after the screen is gone.
        let read = move || {
            while let Ok(event) = event::read() {
                if sender.send(event).is_err() {
                    return;
                }
            }
        };
        thread::Builder::new().name("keys".into()).spawn(read).context("cannot read keys")?;
        Ok(Self { terminal, events })
    }

    /// Draws a view over the one before.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) fn draw(&mut self, view: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(view).map(drop)
    }

    /// Gives the terminal back until somebody sends us to the foreground.
    fn suspend(&mut self) -> io::Result<()> {
        ratatui::try_restore()?;
        self.terminal.show_cursor()?;
        kill_process(getpid(), Number::STOP)?;
        // It goes on here.
        enable_raw_mode()?;
        execute!(io::stdout(), EnterAlternateScreen)?;
        self.clear()
    }

    /// Forgets what is on the screen. `Terminal::clear` would ask the terminal for its cursor, and the answer would come as a key.
    fn clear(&mut self) -> io::Result<()> {
        execute!(io::stdout(), Clear(ClearType::All))?;
        self.terminal = Terminal::new(CrosstermBackend::new(io::stdout()))?;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // A terminal that is gone needs no restoring.
        let _ = ratatui::try_restore();
    }
}

impl Ends {
    /// Listens for signals from here on.
    ///
    /// # Errors
    /// When the system does not let it.
    pub(super) fn listen() -> Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    /// Waits until `time` is over or something comes before.
    ///
    /// # Errors
    /// When the terminal is gone.
    pub(super) async fn wait(&mut self, screen: Option<&mut Screen>, time: Duration) -> io::Result<Wake> {
        let over = tokio::time::sleep(time);
        tokio::select! {
            _ = self.interrupt.recv() => Ok(Wake::Leave),
            _ = self.terminate.recv() => Ok(Wake::Leave),
            _ = self.hangup.recv() => Ok(Wake::Leave),
            wake = from_terminal(screen) => wake,
            () = over => Ok(Wake::Time),
        }
    }
}

/// How many lines a text takes when it is wrapped to `width`, up to `most`.
pub(super) fn height(text: &Paragraph<'_>, width: u16, most: u16) -> u16 {
    let mut lines = Buffer::empty(Rect::new(0, 0, width, most));
    Widget::render(text, lines.area, &mut lines);
    let is_blank = |y: &u16| (0..width).all(|x| lines[(x, *y)].symbol() == " ");
    most - (0..most).rev().take_while(is_blank).count() as u16
}

/// What the user does at the terminal; nothing ever where there is no screen.
async fn from_terminal(screen: Option<&mut Screen>) -> io::Result<Wake> {
    let Some(screen) = screen else { return std::future::pending().await };
    loop {
        let Some(event) = screen.events.recv().await else { return std::future::pending().await };
        match asked(&event) {
            Asked::Leave => return Ok(Wake::Leave),
            Asked::Draw => return Ok(Wake::Draw),
            Asked::Clear => return screen.clear().map(|()| Wake::Draw),
            Asked::Suspend => return screen.suspend().map(|()| Wake::Draw),
            Asked::Nothing => {}
        }
    }
}

fn asked(event: &Event) -> Asked {
    match event {
        Event::Key(key) if key.kind != KeyEventKind::Release => key_asks(key),
        Event::Resize(..) => Asked::Draw,
        _ => Asked::Nothing,
    }
}

fn key_asks(key: &KeyEvent) -> Asked {
    let with_control = key.modifiers.contains(KeyModifiers::CONTROL);
    match (key.code, with_control) {
        (KeyCode::Char('c'), true) | (KeyCode::Char('q' | 'Q') | KeyCode::Esc, false) => Asked::Leave,
        (KeyCode::Char('z'), true) => Asked::Suspend,
        (KeyCode::Char('l'), true) => Asked::Clear,
        _ => Asked::Nothing,
    }
}

#[cfg(test)]
mod tests {
    use ratatui::widgets::Wrap;

    use super::*;

    #[test]
    fn keys_end_suspend_and_redraw() {
        let key = |code, modifiers| Event::Key(KeyEvent::new(code, modifiers));
        let cases = [
            (key(KeyCode::Char('q'), KeyModifiers::NONE), Asked::Leave),
            (key(KeyCode::Esc, KeyModifiers::NONE), Asked::Leave),
            (key(KeyCode::Char('c'), KeyModifiers::CONTROL), Asked::Leave),
            (key(KeyCode::Char('c'), KeyModifiers::NONE), Asked::Nothing),
            (key(KeyCode::Char('z'), KeyModifiers::CONTROL), Asked::Suspend),
            (key(KeyCode::Char('l'), KeyModifiers::CONTROL), Asked::Clear),
            (Event::Resize(80, 24), Asked::Draw),
            (Event::FocusGained, Asked::Nothing),
        ];
        for (event, expected) in cases {
            assert_eq!(asked(&event), expected, "{event:?}");
        }
    }

    #[test]
    fn a_text_is_as_high_as_its_words_need() {
        let text = Paragraph::new("one two three").wrap(Wrap { trim: true });
        let cases = [(20, 9, 1), (7, 9, 2), (5, 9, 3), (5, 2, 2), (0, 9, 0), (5, 0, 0)];
        for (width, most, lines) in cases {
            assert_eq!(height(&text, width, most), lines, "{width} {most}");
        }
        assert_eq!(height(&Paragraph::new(""), 10, 5), 0);
    }
}
