//! Our own WireGuard device, for hosts whose kernel has none: `pinhole_tunnel`'s engine between a TUN device and UDP sockets.
//!
//! The model: one plain thread per device that waits on everything at once (epoll) and runs each batch to its end: TUN to
//! sockets, sockets to TUN, timers, the UAPI socket, commands of its owner. On the few cores of a home router that is faster
//! than threads that hand packets to each other, and nothing is shared, so nothing is locked. [`Device`] is the owner's handle;
//! anyone else uses the UAPI socket, with `wg(8)` or [`crate::wireguard::Control`].
//!
//! Everything is created in the network namespace of the thread that calls [`Device::start`], and stays there. The interface is
//! created down and without addresses: those are given by [`crate::netlink::route`].
//!
//! Deliberately not here: sticky source addresses, and several threads per device.

mod adopted;
mod daemon;
mod uapi;
mod worker;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread::JoinHandle;

use pinhole_wg::{DeviceUpdate, Key, PrivateKey};

use socket2::Socket;
use tokio::sync::oneshot;

use crate::tun::Tun;
use crate::udp::Udp;
pub use daemon::detach;
use uapi::Listener;
use worker::{Command, Commands, Worker};

/// What WireGuard leaves of 1500 bytes when it runs over IPv6: the MTU that wg-quick gives by default.
pub const DEFAULT_MTU: u16 = 1420;

/// How a device is made.
#[derive(Clone, Debug)]
pub struct Options {
    /// Bytes of the largest packet.
    pub mtu: u16,
    /// Where the UAPI socket goes; `None` for no socket. Interfaces of one name in several namespaces need several places.
    pub uapi: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self { mtu: DEFAULT_MTU, uapi: Some(PathBuf::from(crate::wireguard::DIRECTORY)) }
    }
}

/// Why a device was not made, or has ended.
#[derive(Debug)]
#[non_exhaustive]
pub enum Error {
    /// There is no `/dev/net/tun`.
    NoTun,
    /// The right to make interfaces is missing.
    Permission,
    /// There is an interface of this name.
    Exists(String),
    /// The name is none that an interface can have.
    Name(String),
    /// Another socket has this UDP port.
    PortInUse(u16),
    /// Another device answers on this UAPI socket.
    SocketInUse(PathBuf),
    /// A system call failed; what it was for.
    Io(&'static str, io::Error),
    /// The interface was deleted while the device ran.
    InterfaceGone(String),
    /// The device has ended.
    Ended,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoTun => f.write_str("/dev/net/tun is missing: load the kernel module with `modprobe tun`, or in a container pass --device /dev/net/tun"),
            Self::Permission => f.write_str("not permitted to make a network interface: run as root or with CAP_NET_ADMIN"),
            Self::Exists(name) => write!(f, "interface {name} exists already"),
            Self::Name(name) => write!(f, "{name:?} cannot be the name of an interface: 1 to 15 letters, digits or any of _ = + . -"),
            Self::PortInUse(port) => write!(f, "UDP port {port} is in use by another program: choose another ListenPort"),
            Self::SocketInUse(path) => write!(f, "another WireGuard device answers on {}", path.display()),
            Self::Io(what, error) => write!(f, "cannot {what}: {error}"),
            Self::InterfaceGone(name) => write!(f, "interface {name} was deleted"),
            Self::Ended => f.write_str("the device has ended"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Io(_, error) => Some(error),
            _ => None,
        }
    }
}

/// A running device. Dropping the handle stops it and removes its interface and socket.
#[derive(Debug)]
pub struct Device {
    name: String,
    index: u32,
    commands: Commands,
    /// Completes when the thread ends: its other half lives there.
    ended: oneshot::Receiver<()>,
    thread: Option<JoinHandle<Result<(), Error>>>,
}

impl Device {
    /// Makes the interface `name` and runs a device with `config` behind it.
    ///
    /// # Errors
    /// What stands in the way; nothing is left behind.
    pub fn start(name: &str, config: &DeviceUpdate, options: &Options) -> Result<Self, Error> {
        if !is_interface_name(name) {
            return Err(Error::Name(name.into()));
        }
        let listener = options.uapi.as_deref().map(|directory| Listener::bind(directory, name)).transpose()?;
        let tun = Tun::create(name, options.mtu).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Error::NoTun,
            io::ErrorKind::PermissionDenied => Error::Permission,
            io::ErrorKind::AlreadyExists | io::ErrorKind::ResourceBusy => Error::Exists(name.into()),
            _ => Error::Io("make the TUN device", error),
        })?;
        let port = config.listen_port.unwrap_or(0);
        let udp = Udp::bind(port).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => Error::PortInUse(port),
            _ => Error::Io("open the UDP sockets", error),
        })?;
        let index = tun.index();
        let (commands, requests) = Commands::new().map_err(|error| Error::Io("make an event descriptor", error))?;
        let mut worker = Worker::new(tun, udp, listener, requests, options.mtu)?;
        worker.apply(config).map_err(|error| Error::Io("configure the device", error))?;
        let (alive, ended) = oneshot::channel::<()>();
        let run = move || {
            let _alive = alive;
            worker.run()
        };
        let thread = std::thread::Builder::new().name(format!("wg-{name}")).spawn(run);
        let thread = Some(thread.map_err(|error| Error::Io("start a thread", error))?);
        Ok(Self { name: name.into(), index, commands, ended, thread })
    }

    /// The interface's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The interface's number.
    pub fn index(&self) -> u32 {
        self.index
    }

    /// Changes the device.
    ///
    /// # Errors
    /// [`Error::Ended`] when it does not run any more; a port that is in use. Then nothing has changed.
    pub fn apply(&self, update: &DeviceUpdate) -> Result<(), Error> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.commands.send(Command::Apply(Box::new(update.clone()), reply))?;
        match answer.recv().map_err(|_| Error::Ended)? {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
                Err(Error::PortInUse(update.listen_port.unwrap_or_default()))
            }
            Err(error) => Err(Error::Io("configure the device", error)),
        }
    }

    /// Sends to `remote` by `socket` from now on, and receives from it: the hole that it punched is this peer's way. It takes
    /// the place of the one that the peer has, and is closed with the peer. What is sent elsewhere leaves by the device's own
    /// sockets, also to the same peer. The peer's endpoint does not change.
    ///
    /// Whoever wants to hear more than WireGuard there (STUN, mostly) opens an [`OwnPort`](crate::own_port::OwnPort) at the
    /// socket's port.
    ///
    /// # Errors
    /// [`Error::Ended`] when it does not run any more; the kernel's refusal of the socket or of the device's mark. Then the
    /// socket is closed.
    pub fn adopt(&self, peer: Key, remote: SocketAddr, socket: Socket) -> Result<(), Error> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.commands.send(Command::Adopt { peer, remote, socket, reply })?;
        let adopted = answer.recv().map_err(|_| Error::Ended)?;
        adopted.map_err(|error| Error::Io("take the socket over", error))
    }

    /// Closes the socket that [`adopt`](Self::adopt) took over for this peer, if there is one.
    ///
    /// # Errors
    /// [`Error::Ended`] when it does not run any more.
    pub fn release(&self, peer: Key) -> Result<(), Error> {
        self.commands.send(Command::Release(peer))
    }

    /// The device as it is.
    ///
    /// # Errors
    /// [`Error::Ended`] when it does not run any more.
    pub fn device(&self) -> Result<pinhole_wg::Device, Error> {
        let (reply, answer) = mpsc::sync_channel(1);
        self.commands.send(Command::Dump(reply))?;
        answer.recv().map_err(|_| Error::Ended)
    }

    /// Whether it still runs. When it does not, [`stop`](Self::stop) says why.
    pub fn is_running(&self) -> bool {
        self.thread.as_ref().is_some_and(|thread| !thread.is_finished())
    }

    /// Waits until it does not run any more. Can be dropped and called again, also after it has ended.
    pub async fn ended(&mut self) {
        if !self.ended.is_terminated() {
            let _ = (&mut self.ended).await;
        }
    }

    /// Stops the device and removes its interface and socket.
    ///
    /// # Errors
    /// Why it had ended before it was asked to.
    pub fn stop(mut self) -> Result<(), Error> {
        // A device that has ended does not hear it, and says why below.
        let _ = self.commands.send(Command::Stop);
        self.join()
    }

    /// Waits until it ends.
    ///
    /// # Errors
    /// Why it ended, unless someone asked it to.
    pub fn wait(mut self) -> Result<(), Error> {
        self.join()
    }

    fn join(&mut self) -> Result<(), Error> {
        match self.thread.take().map(JoinHandle::join) {
            None => Ok(()),
            Some(Ok(result)) => result,
            Some(Err(panic)) => std::panic::resume_unwind(panic),
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = self.commands.send(Command::Stop);
            if let Some(Err(_)) = self.thread.take().map(JoinHandle::join) {
                tracing::error!(device = self.name, "the device's thread panicked");
            }
        }
    }
}

/// Makes a private key.
///
/// # Errors
/// When the kernel gives no randomness.
pub fn generate_private_key() -> io::Result<PrivateKey> {
    let mut bytes = [0; 32];
    fill_random(&mut bytes)?;
    // Clamped as `wg genkey` does (RFC 7748 §5), so that the text is the same key for every reader.
    bytes[0] &= 0xf8;
    bytes[31] = bytes[31] & 0x7f | 0x40;
    Ok(PrivateKey::from_bytes(bytes))
}

/// Fills a buffer from getrandom(2).
///
/// # Errors
/// When the kernel gives no randomness.
pub fn fill_random(bytes: &mut [u8]) -> io::Result<()> {
    let mut filled = 0;
    while filled < bytes.len() {
        let rest = &mut bytes[filled..];
        // SAFETY: the buffer is ours and has the length that is passed.
        match unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) } {
            got @ 0.. => filled += got as usize,
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
    Ok(())
}

/// What wg-quick accepts as a name.
fn is_interface_name(name: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"_=+.-".contains(&byte);
    (1..=15).contains(&name.len()) && name.bytes().all(allowed) && Path::new(name).file_name().is_some()
}
