//! The UAPI socket of a device: `/var/run/wireguard/<name>.sock`, where `wg(8)` looks for userspace devices.
//!
//! A connection may carry any number of requests; each ends with an empty line (wireguard.com/xplatform). Clients that say
//! nothing, say too much or do not read their answers cost memory up to a bound, and then their connection.

use std::fs::{self, DirBuilder};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use pinhole_wg::uapi;

use super::Error;

/// Bytes of the longest answer that waits for a client to read it: some 50,000 peers.
const MAX_ANSWER: usize = 16 << 20;

/// The socket that clients find.
#[derive(Debug)]
pub(super) struct Listener {
    listener: UnixListener,
    path: PathBuf,
}

impl Listener {
    /// Makes the socket of the device `name` in `directory`. One that nobody listens on is replaced: its device crashed.
    pub(super) fn bind(directory: &Path, name: &str) -> Result<Self, Error> {
        let path = directory.join(format!("{name}.sock"));
        let failed = |error| Error::Io("make the UAPI socket", error);
        DirBuilder::new().recursive(true).mode(0o700).create(directory).map_err(failed)?;
        match UnixStream::connect(&path) {
            Ok(_) => return Err(Error::SocketInUse(path)),
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(&path).map_err(failed)?,
            Err(_) => {}
        }
        let listener = UnixListener::bind(&path).map_err(failed)?;
        let bound = Self { listener, path };
        // The directory keeps others out while the mode is still the umask's.
        fs::set_permissions(&bound.path, fs::Permissions::from_mode(0o600)).map_err(failed)?;
        bound.listener.set_nonblocking(true).map_err(failed)?;
        Ok(bound)
    }

    /// The next client, if one is waiting.
    pub(super) fn accept(&self) -> Option<Client> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(true).ok()?;
        Some(Client { stream, request: Vec::new(), answer: Vec::new(), written: 0, ended: false })
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// A connection.
#[derive(Debug)]
pub(super) struct Client {
    stream: UnixStream,
    request: Vec<u8>,
    answer: Vec<u8>,
    written: usize,
    ended: bool,
}

impl Client {
    /// Reads and writes what can be, and has `serve` answer each whole request. False when the connection is over.
    pub(super) fn handle(&mut self, mut serve: impl FnMut(&str) -> String) -> bool {
        let Ok(()) = self.read() else { return false };
        while let Some(end) = self.request.windows(2).position(|pair| pair == b"\n\n") {
            let request: Vec<u8> = self.request.drain(..end + 2).collect();
            let answer = match std::str::from_utf8(&request) {
                Ok(request) => serve(request),
                Err(_) => uapi::format_reply(libc::EINVAL),
            };
            self.answer.extend_from_slice(answer.as_bytes());
        }
        if self.request.len() > uapi::MAX_REQUEST_BYTES || self.answer.len() - self.written > MAX_ANSWER {
            return false;
        }
        self.write().is_ok() && !(self.ended && self.is_idle())
    }

    /// Whether nothing waits to be read by the client.
    pub(super) fn is_idle(&self) -> bool {
        self.answer.is_empty()
    }

    fn read(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while self.request.len() <= uapi::MAX_REQUEST_BYTES {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(len) => self.request.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        while self.written < self.answer.len() {
            match self.stream.write(&self.answer[self.written..]) {
                Ok(len) => self.written += len,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.answer.clear();
        self.written = 0;
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}
