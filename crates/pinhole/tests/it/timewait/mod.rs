//! `pinhole timewait` and its model against the running kernel, in namespaces.

mod bind;
mod deaths;
mod other_kernels;
mod ports;
mod screen;
mod segments;
mod usage;
mod why;

use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::process::Command;

use pinhole_host::namespace::Namespace;
use pinhole_host::netlink::sock_diag::{States, sockets};
use pinhole_timewait::claim::Options;
use pinhole_wire::{Protocol, build, tcp};
use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketType, sockopt};
use serde_json::Value;

use crate::support::pinhole::{BINARY, Ended, run};
use crate::support::until;

/// A namespace of its own, with loopback only.
struct Stage {
    ns: Namespace,
}

impl Stage {
    fn new(name: &str) -> Self {
        Self { ns: Namespace::create(name).expect("a namespace") }
    }

    fn set(&self, setting: &str, value: &str) {
        self.ns.set(&format!("net/ipv4/{setting}"), value).unwrap_or_else(|error| panic!("{setting}={value}: {error}"));
    }

    fn command(&self, program: &str, line: &str) -> Command {
        let mut command = Command::new(program);
        command.args(line.split_whitespace());
        self.ns.enter(&mut command);
        command
    }

    fn pinhole(&self, line: &str) -> Ended {
        run(&mut self.command(BINARY, &format!("timewait {line}")))
    }

    fn json(&self, line: &str) -> Value {
        let ended = self.pinhole(&format!("{line} --json"));
        serde_json::from_str(&ended.stdout).unwrap_or_else(|error| panic!("{line}: {error}: {}", ended.stderr))
    }

    fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        self.ns.run(work).expect("a thread")
    }
}

fn end(text: &str) -> SocketAddr {
    text.parse().expect("an end")
}

/// A TCP socket with `options`, not bound yet.
fn socket(family: SocketAddr, options: Options) -> OwnedFd {
    let family = if family.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = net::socket(family, SocketType::STREAM, None).expect("a socket");
    sockopt::set_socket_reuseaddr(&socket, options.reuse_addr).expect("an option");
    sockopt::set_socket_reuseport(&socket, options.reuse_port).expect("an option");
    socket
}

/// Connects from `from` (port 0 to let connect() choose, without bind()) to `to`.
fn connect(options: Options, from: Option<SocketAddr>, to: SocketAddr) -> Result<TcpStream, Errno> {
    let socket = socket(to, options);
    if let Some(from) = from {
        net::bind(&socket, &from)?;
    }
    net::connect(&socket, &to)?;
    Ok(socket.into())
}

/// A connection that is closed by the client first, so that its end waits; the client's end.
fn closed(listener: &TcpListener, options: Options, from: Option<SocketAddr>) -> Result<SocketAddr, Errno> {
    let client = connect(options, from, listener.local_addr().expect("bound"))?;
    let (local, server) = close_client(listener, client);
    drop(server);
    Ok(local)
}

/// A connection that the client has closed and the server has not, and that no process has any more; the server's side.
fn half_closed(listener: &TcpListener, options: Options, from: Option<SocketAddr>) -> (SocketAddr, TcpStream) {
    let client = connect(options, from, listener.local_addr().expect("bound")).expect("it listens");
    let (local, server) = close_client(listener, client);
    // The other side's acknowledgement may be delayed; until then it is a whole socket.
    until("FIN_WAIT_2", || {
        let dead = sockets(States::DEAD).expect("a list");
        dead.iter().any(|socket| socket.local == local).then_some(())
    });
    (local, server)
}

/// Closes a client, and gives the server's side of it, which has seen the end.
fn close_client(listener: &TcpListener, client: TcpStream) -> (SocketAddr, TcpStream) {
    let local = client.local_addr().expect("connected");
    // Others may wait there that nobody accepted.
    let is_it = |accepted: &std::io::Result<TcpStream>| {
        accepted.as_ref().is_ok_and(|server| server.peer_addr().is_ok_and(|peer| peer == local))
    };
    let mut server = listener.incoming().find(is_it).expect("endless").expect("it connects");
    drop(client);
    assert_eq!(server.read(&mut [0]).expect("the end"), 0);
    (local, server)
}

/// A whole packet with a segment of `data` bytes: sequence and acknowledgment number, TSval.
fn segment(
    from: SocketAddr,
    to: SocketAddr,
    flags: tcp::Flags,
    (seq, ack): (u32, u32),
    timestamp: Option<u32>,
    data: usize,
) -> Vec<u8> {
    let options = timestamp.map_or(Vec::new(), |value| {
        // Two of nothing, for alignment; then kind 8 of ten bytes, with nothing echoed.
        [&[1, 1, 8, 10][..], &value.to_be_bytes(), &[0; 4]].concat()
    });
    let mut packet = vec![0; 128];
    let header = tcp::HEADER_LEN + options.len();
    let length = build::ip(from.ip(), to.ip(), Protocol::Tcp, 64, header + data, &mut packet, |body| {
        let mut segment =
            tcp::Packet::init(&mut *body, from.port(), to.port(), flags).map_err(|_| build::BuildError::Space)?;
        segment.set_seq(seq);
        segment.set_ack(ack);
        segment.set_window(1000);
        body[tcp::HEADER_LEN..header].copy_from_slice(&options);
        body[12] = (header as u8 / 4) << 4;
        let mut segment = tcp::Packet::new_checked(body).map_err(|_| build::BuildError::Space)?;
        segment.fill_checksum(from.ip(), to.ip());
        Ok(())
    });
    packet.truncate(length.expect("it fits"));
    packet
}
