use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::{self, JoinHandle};

use pinhole_wg::{Key, Peer, PeerUpdate};
use socket2::SockRef;

use super::*;

/// A directory of this test's own, removed at the end.
struct Directory(PathBuf);

impl Directory {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("pinhole-uapi-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    /// A device that answers each request in turn with the text `answers` has for it; the thread gives the requests.
    fn serve(&self, name: &str, answers: Vec<&'static str>) -> JoinHandle<Vec<String>> {
        let listener = UnixListener::bind(self.0.join(format!("{name}.sock"))).unwrap();
        thread::spawn(move || {
            let mut requests = Vec::new();
            for answer in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let mut reader = BufReader::new(stream.try_clone().unwrap());
                let mut request = String::new();
                while reader.read_line(&mut request).unwrap() > 1 {}
                requests.push(request);
                stream.write_all(answer.as_bytes()).unwrap();
            }
            // A process that another test starts just now has the listener too, until it is another program.
            SockRef::from(&listener).shutdown(Shutdown::Both).unwrap();
            requests
        })
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const EMPTY: &str = "errno=0\n\n";
const ONE_PEER: &str = "public_key=0101010101010101010101010101010101010101010101010101010101010101\n\
                        persistent_keepalive_interval=0\nerrno=0\n\n";

fn handshake() -> DeviceUpdate {
    let peer = PeerUpdate { handshake: true, ..PeerUpdate::new(Key::from_bytes([1; 32])) };
    DeviceUpdate { peers: vec![peer], ..DeviceUpdate::default() }
}

#[test]
fn what_is_not_there_is_named_with_what_to_do() {
    let directory = Directory::new();
    let text = Control::open_in("pin-none", &directory.0).unwrap_err().to_string();
    for part in ["no WireGuard device pin-none", "no interface of that name", "pin-none.sock", "pinhole wg up"] {
        assert!(text.contains(part), "{text}");
    }
    let text = Control::open_in("lo", &directory.0).unwrap_err().to_string();
    assert!(text.contains("not one of the kernel's WireGuard devices"), "{text}");
    for name in ["", "a/b", "..", "0123456789abcdef", "a b", "a\0b"] {
        assert!(matches!(Control::open_in(name, &directory.0), Err(Error::BadName(_))), "{name:?}");
    }
}

#[test]
fn a_socket_that_nobody_listens_on_is_stale_and_not_listed() {
    let directory = Directory::new();
    drop(UnixListener::bind(directory.0.join("old.sock")).unwrap());
    fs::write(directory.0.join("not-a-socket"), "").unwrap();
    let error = Control::open_in("old", &directory.0).unwrap_err();
    assert!(matches!(error, Error::Stale(_)) && error.is_gone(), "{error}");
    let device = directory.serve("new", vec![EMPTY]);
    let listed = list_in(&directory.0).unwrap();
    assert!(listed.contains(&("new".into(), Kind::Userspace)) && !listed.iter().any(|(name, _)| name == "old"));
    assert_eq!(device.join().unwrap(), ["get=1\n\n"]);
}

#[test]
fn only_a_stale_socket_is_removed() {
    let directory = Directory::new();
    drop(UnixListener::bind(directory.0.join("old.sock")).unwrap());
    let device = directory.serve("new", vec![EMPTY]);
    for (name, left) in [("old", false), ("new", true), ("absent", false)] {
        remove_stale_socket_in(name, &directory.0).unwrap();
        assert_eq!(directory.0.join(format!("{name}.sock")).exists(), left, "{name}");
    }
    device.join().unwrap();
}

#[test]
fn a_device_is_read_changed_and_found_gone() {
    let directory = Directory::new();
    let device = directory.serve("dev", vec![EMPTY, ONE_PEER, "errno=0\n\n", "errno=-98\n\n", "errno=", "x\n\n"]);
    let mut control = Control::open_in("dev", &directory.0).unwrap();
    assert_eq!((control.name(), control.kind()), ("dev", Kind::Userspace));
    assert_eq!(control.device().unwrap().peers, [Peer::new(Key::from_bytes([1; 32]))]);
    let update = DeviceUpdate { listen_port: Some(7), ..DeviceUpdate::default() };
    control.apply(&update).unwrap();
    assert!(control.apply(&update).unwrap_err().to_string().contains("errno 98"));
    assert!(control.device().is_err() && control.device().is_err());
    assert_eq!(device.join().unwrap()[2], "set=1\nlisten_port=7\n\n");
    assert!(control.device().unwrap_err().is_gone());
    fs::remove_file(directory.0.join("dev.sock")).unwrap();
    assert!(matches!(control.device(), Err(Error::Gone(_))));
}

#[test]
fn our_own_device_is_asked_for_a_handshake() {
    let directory = Directory::new();
    let device = directory.serve("own", vec![EMPTY, EMPTY, EMPTY, EMPTY]);
    let mut control = Control::open_in("own", &directory.0).unwrap();
    control.apply(&handshake()).unwrap();
    control.apply(&handshake()).unwrap();
    let requests = device.join().unwrap();
    assert!(requests[1].contains(&"0".repeat(64)) && requests[1].contains("update_only=true"), "{}", requests[1]);
    assert_eq!(requests[2], pinhole_wg::uapi::format_set(&handshake()));
    assert_eq!(requests[3], requests[2]);
}

#[test]
fn another_device_is_made_to_start_one_by_a_restart_of_the_peer() {
    let directory = Directory::new();
    let device = directory.serve("other", vec![EMPTY, "errno=-22\n\n", ONE_PEER, EMPTY, ONE_PEER, EMPTY]);
    let mut control = Control::open_in("other", &directory.0).unwrap();
    control.apply(&handshake()).unwrap();
    control.apply(&handshake()).unwrap();
    let requests = device.join().unwrap();
    assert_eq!(requests[3].matches("public_key=").count(), 4);
    assert_eq!(requests[3].matches("remove=true").count(), 1);
    assert_eq!((&requests[4][..], &requests[5]), ("get=1\n\n", &requests[3]));
}

#[test]
fn a_device_that_takes_no_peer_twice_is_restarted_in_two_requests() {
    let directory = Directory::new();
    let answers = vec![EMPTY, "", ONE_PEER, "errno=22\n\n", EMPTY, EMPTY, ONE_PEER, EMPTY, EMPTY];
    let device = directory.serve("gota", answers);
    let mut control = Control::open_in("gota", &directory.0).unwrap();
    control.apply(&handshake()).unwrap();
    control.apply(&handshake()).unwrap();
    let requests = device.join().unwrap();
    for pair in [&requests[4..6], &requests[7..9]] {
        assert!(pair[0].ends_with("remove=true\n\n"), "{}", pair[0]);
        assert!(pair[1].ends_with("persistent_keepalive_interval=25\n\n"), "{}", pair[1]);
    }
}
