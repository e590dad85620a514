//! Userspace devices, by their UAPI socket. One connection per request: the text says itself where it ends, and a device
//! that was restarted meanwhile is found again.

use std::io::{self, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use pinhole_wg::uapi::{self, ReplyError};
use pinhole_wg::{Device, DeviceUpdate, Key, PeerUpdate};
use socket2::{Domain, SockAddr, Socket, Type};

use super::{Error, restart};

/// Where userspace devices put their sockets.
pub const DIRECTORY: &str = "/var/run/wireguard";

/// How long a device may take for a whole answer. wireguard-go needs 30 ms for 1,000 peers; a stopped process needs for ever.
pub const ANSWER_TIMEOUT: Duration = Duration::from_secs(3);

/// Answers longer than this are cut off: some 200,000 peers.
const MAX_REPLY_BYTES: usize = 64 << 20;

/// A device behind a socket.
#[derive(Debug)]
pub struct Uapi {
    name: String,
    path: PathBuf,
    handshakes: Handshakes,
}

/// How this device is made to start a handshake; found out when the first is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Handshakes {
    Unknown,
    /// It is ours and knows our key.
    Asked,
    /// By a restart of the peer in one request.
    Restarted,
    /// By a restart in two requests.
    RestartedInTwo,
}

impl Uapi {
    /// Finds the device and reads it once. `interface` is the kind of the interface with that name, for the error.
    pub(super) fn open(name: &str, directory: &Path, interface: Option<String>) -> Result<Self, Error> {
        let path = directory.join(format!("{name}.sock"));
        let mut uapi = Self { name: name.into(), path, handshakes: Handshakes::Unknown };
        match uapi.device() {
            Ok(_) => Ok(uapi),
            Err(Error::Gone(name)) => Err(Error::NotFound { name, interface, path: uapi.path }),
            Err(error) => Err(error),
        }
    }

    pub(super) fn device(&mut self) -> Result<Device, Error> {
        let reply = self.exchange(uapi::GET)?;
        uapi::parse_get_reply(&reply).map_err(|error| self.useless(error))
    }

    pub(super) fn apply(&mut self, update: &DeviceUpdate) -> Result<(), Error> {
        if !update.peers.iter().any(|peer| peer.handshake) {
            return self.set(update);
        }
        if self.handshakes == Handshakes::Unknown {
            self.handshakes = self.learn()?;
        }
        let done = self.apply_with_handshakes(update);
        if done.is_err() {
            // Another program may stand behind the socket now.
            self.handshakes = Handshakes::Unknown;
        }
        done
    }

    fn apply_with_handshakes(&mut self, update: &DeviceUpdate) -> Result<(), Error> {
        if self.handshakes == Handshakes::Asked {
            return self.set(update);
        }
        let device = self.device()?;
        if self.handshakes != Handshakes::RestartedInTwo {
            match self.set(&restart::in_one(update, &device)) {
                // gotatun refuses, before anything is done, what names a peer twice.
                Err(Error::Reply { error: ReplyError::Errno(uapi::EINVAL), .. }) => {
                    self.handshakes = Handshakes::RestartedInTwo;
                }
                done => return done,
            }
        }
        restart::in_two(update, &device).iter().try_for_each(|update| self.set(update))
    }

    /// Whether the device knows our key. The question is about a peer that nobody has and is to be passed over where it is
    /// missing, so it has no effect, whatever the answer.
    fn learn(&self) -> Result<Handshakes, Error> {
        let nobody = PeerUpdate { update_only: true, handshake: true, ..PeerUpdate::new(Key::from_bytes([0; 32])) };
        match self.set(&DeviceUpdate { peers: vec![nobody], ..DeviceUpdate::default() }) {
            Ok(()) => Ok(Handshakes::Asked),
            // An errno from wireguard-go; gotatun hangs up.
            Err(Error::Reply { .. }) => Ok(Handshakes::Restarted),
            Err(error) => Err(error),
        }
    }

    fn set(&self, update: &DeviceUpdate) -> Result<(), Error> {
        let reply = self.exchange(&uapi::format_set(update))?;
        uapi::parse_reply(&reply).map_err(|error| self.useless(error))
    }

    fn useless(&self, error: ReplyError) -> Error {
        Error::Reply { name: self.name.clone(), error }
    }

    /// Sends a request and reads up to the end of its answer.
    fn exchange(&self, request: &str) -> Result<String, Error> {
        if request.len() > uapi::MAX_REQUEST_BYTES {
            return Err(Error::TooLong);
        }
        self.converse(request).map_err(|error| match error.kind() {
            ErrorKind::NotFound => Error::Gone(self.name.clone()),
            ErrorKind::PermissionDenied => Error::SocketPermission(self.path.clone()),
            ErrorKind::ConnectionRefused => Error::Stale(self.path.clone()),
            ErrorKind::WouldBlock | ErrorKind::TimedOut => Error::Silent(self.path.clone()),
            _ => Error::Socket(self.path.clone(), error),
        })
    }

    fn converse(&self, request: &str) -> io::Result<String> {
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let mut socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // On a unix socket the send timeout bounds the connect too, which waits while the backlog is full.
        socket.set_write_timeout(Some(ANSWER_TIMEOUT))?;
        socket.connect(&SockAddr::unix(&self.path)?)?;
        socket.write_all(request.as_bytes())?;
        let mut reply = Vec::new();
        let mut chunk = [0; 16 << 10];
        while !is_complete(&reply) && reply.len() < MAX_REPLY_BYTES {
            // A zero timeout would mean none.
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(ErrorKind::TimedOut.into());
            }
            socket.set_read_timeout(Some(left))?;
            match socket.read(&mut chunk) {
                Ok(0) => break,
                Ok(length) => reply.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // The device hung up without reading all.
                Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
                Err(error) => return Err(error),
            }
        }
        String::from_utf8(reply).map_err(|_| ErrorKind::InvalidData.into())
    }
}

/// Whether the answer has its end: an `errno` line and an empty one. The device keeps the connection open for more requests.
fn is_complete(reply: &[u8]) -> bool {
    let Some(body) = reply.strip_suffix(b"\n\n") else { return false };
    let last = body.rsplit(|byte| *byte == b'\n').next().unwrap_or_default();
    last.starts_with(b"errno=")
}

/// The names for which the directory has a socket, sorted; none where there is no such directory.
pub(super) fn names(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let name = |entry: std::fs::DirEntry| Some(entry.file_name().to_str()?.strip_suffix(".sock")?.to_owned());
    let mut names: Vec<_> = entries.filter_map(name).filter(|name| super::check_name(name).is_ok()).collect();
    names.sort();
    names
}
