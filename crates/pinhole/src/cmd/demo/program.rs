//! Programs whose standard output is events, and the signals that end the demo.

use std::collections::VecDeque;
use std::io::{self, BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};

use anyhow::{Context, Result};
use pinhole_netns::Program;

use super::stage::Happening;

/// How many lines of a failed program's standard error are worth showing.
const LAST_WORDS: usize = 8;

/// Starts `command`; what it prints and its end are sent to `sender` under `name`.
pub(super) fn start(command: &mut Command, name: &'static str, sender: Sender<Happening>) -> io::Result<Program> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = Program::start(command)?;
    let child = program.child();
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (words_sender, words) = channel();
    spawn(move || drop(words_sender.send(last_lines(stderr))))?;
    spawn(move || {
        for line in lines(stdout) {
            // What is not an object is not an event, and nobody's business here.
            let Ok(event) = serde_json::from_str(&line) else { continue };
            if sender.send(Happening::Said { name, event }).is_err() {
                return;
            }
        }
        let said = words.recv().unwrap_or_default();
        let _ = sender.send(Happening::Ended { name, said });
    })?;
    Ok(program)
}

/// Sends [`Happening::Stop`] on Ctrl-C, SIGTERM and SIGHUP.
pub(super) fn watch_signals(sender: Sender<Happening>) -> Result<()> {
    crate::cmd::stop::on_signal(move || drop(sender.send(Happening::Stop))).context("cannot wait for signals")
}

fn spawn(work: impl FnOnce() + Send + 'static) -> io::Result<()> {
    std::thread::Builder::new().spawn(work).map(drop)
}

fn lines(pipe: Option<impl Read>) -> impl Iterator<Item = String> {
    pipe.into_iter().flat_map(|pipe| BufReader::new(pipe).lines().map_while(Result::ok))
}

fn last_lines(pipe: Option<impl Read>) -> String {
    let mut last = VecDeque::new();
    for line in lines(pipe) {
        if last.len() == LAST_WORDS {
            last.pop_front();
        }
        last.push_back(line);
    }
    Vec::from(last).join("\n")
}
