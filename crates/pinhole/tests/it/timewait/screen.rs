//! The screens of `timewait watch` and `conntrack top` on a real terminal, which is as it was after every end.

use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use pinhole_timewait::claim::Options;
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};

use super::{Stage, closed};
use crate::support::pinhole::BINARY;
use crate::support::ready::ready;
use crate::support::until;

const ENTERED: &str = "\x1b[?1049h";
const LEFT: &str = "\x1b[?1049l";
const SHOWN: &str = "\x1b[?25h";

/// A terminal with a program on it.
struct Seen {
    program: Child,
    keys: File,
    line: OwnedFd,
    before: Termios,
    text: Arc<Mutex<Vec<u8>>>,
    reader: JoinHandle<()>,
}

impl Seen {
    fn start(stage: &Stage, what: &str) -> Self {
        let control = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
        grantpt(&control).and_then(|()| unlockpt(&control)).expect("it is ours");
        let path = ptsname(&control, Vec::new()).expect("a name").into_string().expect("a path");
        let line = || File::options().read(true).write(true).open(&path).map(OwnedFd::from).expect("a terminal");
        let kept = line();
        tcsetwinsize(&kept, Winsize { ws_row: 24, ws_col: 80, ws_xpixel: 0, ws_ypixel: 0 }).expect("a size");
        let mut command = stage.command("setsid", &format!("--ctty {BINARY} {what}"));
        command.env_remove("NO_COLOR").stdin(Stdio::from(line())).stdout(line()).stderr(line());
        let program = command.spawn().expect("it starts");
        let text = Arc::new(Mutex::new(Vec::new()));
        let (mut control, shared) = (File::from(control), Arc::clone(&text));
        let keys = control.try_clone().expect("a descriptor");
        let read = move || {
            let mut chunk = [0; 4096];
            // It fails when nobody has the other side any more.
            while let Ok(length @ 1..) = control.read(&mut chunk) {
                shared.lock().expect("no one panics").extend_from_slice(&chunk[..length]);
            }
        };
        let before = tcgetattr(&kept).expect("a terminal");
        Self { program, keys, line: kept, before, text, reader: std::thread::spawn(read) }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("no one panics")).into_owned()
    }

    /// Waits until it shows `word`: what stands between two of them is not always written.
    fn wait_for(&self, word: &str) {
        until(word, || self.text().contains(word).then_some(()));
    }

    /// Waits for its end, and holds the terminal to what it was.
    fn end(mut self, how: &str) {
        let status = self.program.wait().expect("it is ours");
        assert!(status.success(), "{how}: {status}: {}", self.text());
        let after = tcgetattr(&self.line).expect("a terminal");
        let modes = |termios: &Termios| (termios.local_modes, termios.input_modes, termios.output_modes);
        assert_eq!(modes(&after), modes(&self.before), "{how}");
        drop((self.line, self.keys));
        self.reader.join().expect("it reads");
        let text = String::from_utf8_lossy(&self.text.lock().expect("no one panics")).into_owned();
        let (_, last) = text.rsplit_once(LEFT).unwrap_or_else(|| panic!("{how}: {text:?}"));
        assert!(last.contains(SHOWN) && !last.contains(ENTERED), "{how}: {last:?}");
    }
}

#[test]
fn a_screen_leaves_the_terminal_as_it_was() {
    if !ready(&["setsid"]) {
        return;
    }
    let stage = Stage::new("tw-screen");
    stage.run(|| {
        let listener = TcpListener::bind("127.0.0.1:9000").expect("a port");
        (0..4).for_each(|_| assert!(closed(&listener, Options::default(), None).is_ok()));
    });
    for (what, word) in [("timewait watch", "127.0.0.1:9000"), ("conntrack top", "UNREPLIED")] {
        for key in ["q", "\x1b", "\x03"] {
            let mut seen = Seen::start(&stage, what);
            seen.wait_for(word);
            assert!(seen.text().contains(ENTERED), "{what}");
            let now = tcgetattr(&seen.line).expect("a terminal");
            assert!(!now.local_modes.contains(LocalModes::ICANON | LocalModes::ECHO), "keys come at once: {what}");
            seen.keys.write_all(key.as_bytes()).expect("it reads");
            seen.end(&format!("{what}, key {key:?}"));
        }
        for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
            let seen = Seen::start(&stage, what);
            seen.wait_for(word);
            kill_process(Pid::from_child(&seen.program), signal).expect("it runs");
            seen.end(&format!("{what}, {signal:?}"));
        }
    }
}

#[test]
fn a_screen_follows_the_size_of_its_terminal() {
    if !ready(&["setsid"]) {
        return;
    }
    let stage = Stage::new("tw-resize");
    let mut seen = Seen::start(&stage, "timewait watch");
    seen.wait_for("TIME_WAIT");
    let before = seen.text().len();
    tcsetwinsize(&seen.line, Winsize { ws_row: 40, ws_col: 120, ws_xpixel: 0, ws_ypixel: 0 }).expect("a size");
    // The last line, which was not there.
    until("the last line", || seen.text()[before..].contains("\x1b[40;").then_some(()));
    seen.keys.write_all(b"q").expect("it reads");
    seen.end("after another size");
}

#[test]
fn ctrl_c_ends_a_long_look_at_a_socket_and_what_was_seen_is_told() {
    if !ready(&["setsid"]) {
        return;
    }
    let stage = Stage::new("tw-enough");
    let from = stage.run(|| {
        let listener = TcpListener::bind("127.0.0.1:9000").expect("a port");
        closed(&listener, Options::default(), None).expect("a port")
    });
    let mut seen = Seen::start(&stage, &format!("timewait why {from} 127.0.0.1:9000 --for 600"));
    seen.wait_for("looking on");
    seen.keys.write_all(b"\x03").expect("it reads");
    assert!(seen.program.wait().expect("it is ours").success(), "{}", seen.text());
    seen.wait_for("in TIME_WAIT, dies in");
}

#[test]
fn refusals_come_before_the_screen() {
    if !ready(&["setsid"]) {
        return;
    }
    let stage = Stage::new("tw-refused");
    let mut seen = Seen::start(&stage, "timewait watch --netns no-such-namespace");
    assert_eq!(seen.program.wait().expect("it is ours").code(), Some(1));
    seen.wait_for("ip netns list");
    assert!(!seen.text().contains(ENTERED), "{}", seen.text());
}
