//! The real binary as a process on a host.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

use pinhole_netns::{Host, Program, Signal};
use serde_json::Value;

use super::PATIENCE;

/// The program under test.
pub const BINARY: &str = env!("CARGO_BIN_EXE_pinhole");

/// A running `pinhole` that prints events as JSON. Dropping it asks it to end.
#[derive(Debug)]
pub struct Pinhole {
    name: String,
    program: Program,
    incoming: Receiver<Value>,
    events: Vec<Value>,
    stderr: Arc<Mutex<String>>,
    readers: Vec<JoinHandle<()>>,
}

impl Pinhole {
    /// Starts it on `host`. For a role, `args` should have `--json`.
    pub fn start(host: &Host, args: &[&str]) -> Self {
        Self::spawn(host.name(), host.command(BINARY).args(args))
    }

    /// Starts a command that ends up as pinhole.
    pub fn spawn(name: &str, command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut program = Program::start(command).expect("pinhole starts");
        let (stdout, stderr) = (program.child().stdout.take(), program.child().stderr.take());
        let (sender, incoming) = channel();
        let words = Arc::new(Mutex::new(String::new()));
        let kept = Arc::clone(&words);
        let read_events = move || {
            for line in lines(stdout) {
                if let Ok(event) = serde_json::from_str(&line) {
                    // The end of the test is no reason to stop reading.
                    let _ = sender.send(event);
                }
            }
        };
        let read_words = move || {
            for line in lines(stderr) {
                let mut text = kept.lock().expect("no reader panics");
                text.push_str(&line);
                text.push('\n');
            }
        };
        let readers = vec![std::thread::spawn(read_events), std::thread::spawn(read_words)];
        Self { name: name.to_owned(), program, incoming, events: Vec::new(), stderr: words, readers }
    }

    /// Waits for an event that `is` recognises, among those not looked at yet.
    ///
    /// # Panics
    /// When it does not come within [`PATIENCE`] or the program ends; with all that it said.
    pub fn wait_for(&mut self, what: &str, mut is: impl FnMut(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.incoming.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(event) => {
                    self.events.push(event.clone());
                    if is(&event) {
                        return event;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("{}: no {what} within {PATIENCE:?}", self.name),
                Err(RecvTimeoutError::Disconnected) => panic!("{}: it ended before {what}", self.name),
            }
        }
    }

    /// What it has printed and somebody waited for, in order.
    pub fn events(&self) -> &[Value] {
        &self.events
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        self.program.signal(signal).expect("it runs");
    }

    /// Ends it as a crash does.
    pub fn kill(mut self) {
        self.signal(Signal::KILL);
        self.program.child().wait().expect("it has ended");
    }

    /// Ends it as systemd does, and tells how it ended and what it had said on standard error.
    pub fn terminate(mut self) -> (ExitStatus, String) {
        let status = self.program.stop(PATIENCE).expect("it can be waited for");
        (status, self.stderr())
    }

    /// What it has said on standard error so far; all of it once it has ended.
    pub fn stderr(&mut self) -> String {
        if self.program.child().try_wait().is_ok_and(|status| status.is_some()) {
            self.readers.drain(..).for_each(|reader| reader.join().expect("a reader"));
        }
        self.stderr.lock().expect("no reader panics").clone()
    }
}

impl Drop for Pinhole {
    fn drop(&mut self) {
        // A failing test shows what the programs had to say.
        if std::thread::panicking() {
            self.events.extend(self.incoming.try_iter());
            let events: Vec<String> = self.events.iter().map(ToString::to_string).collect();
            let stderr = self.stderr.lock().map(|text| text.clone()).unwrap_or_default();
            println!("--- {}\n{}\n{stderr}", self.name, events.join("\n"));
        }
    }
}

/// What a program that ended by itself left behind.
#[derive(Debug)]
pub struct Ended {
    /// Its exit code; none if a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

/// Runs `command` to its end.
///
/// # Panics
/// When it does not end within [`PATIENCE`].
pub fn run(command: &mut Command) -> Ended {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut program = Program::start(command).expect("it starts");
    let (stdout, stderr) = (program.child().stdout.take(), program.child().stderr.take());
    let stderr = std::thread::spawn(move || text(stderr));
    let stdout = std::thread::spawn(move || text(stdout));
    let status = super::until("the end of the program", || program.child().try_wait().expect("a child"));
    Ended { code: status.code(), stdout: stdout.join().expect("a reader"), stderr: stderr.join().expect("a reader") }
}

fn lines(pipe: Option<impl Read>) -> impl Iterator<Item = String> {
    pipe.into_iter().flat_map(|pipe| BufReader::new(pipe).lines().map_while(Result::ok))
}

fn text(pipe: Option<impl Read>) -> String {
    let mut text = String::new();
    if let Some(mut pipe) = pipe {
        pipe.read_to_string(&mut text).expect("text");
    }
    text
}
