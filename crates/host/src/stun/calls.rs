//! The task that calls askers back: carries out what [`Calls`] decides.

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::time::Duration;

use pinhole_sansio::Machine;
use pinhole_stun::server::Local;
use pinhole_stun::server::call::{CallId, CallResult, Calls, Input, Output};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpSocket;
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};

use super::shard::{Granted, Outlets, Shared};
use crate::batch::send_from;

/// How long the other side may take over the few bytes of a call before the connection is closed all the same.
const LINGER: Duration = Duration::from_secs(1);

/// What a site's calls are made with.
pub(super) struct Phone {
    pub(super) outlets: Arc<Outlets>,
    /// The addresses of its sockets, the first and the second.
    pub(super) ips: [Option<IpAddr>; 2],
    pub(super) calls: Calls,
}

/// Makes calls until `stop` changes.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut phones: Vec<Phone>,
    mut granted: mpsc::Receiver<Granted>,
    mut stop: watch::Receiver<bool>,
) {
    let mut connecting: JoinSet<(usize, CallId, CallResult)> = JoinSet::new();
    let mut handles: HashMap<(usize, CallId), AbortHandle> = HashMap::new();
    loop {
        let next = phones.iter().filter_map(|phone| Some(phone.calls.poll_timeout()?.at)).min();
        let sleep = tokio::time::sleep(next.map_or(Duration::MAX, |at| at.since(shared.now())));
        tokio::select! {
            _ = stop.changed() => break,
            Some((site, call)) = granted.recv() => phones[site].calls.handle_input(shared.now(), Input::Grant(call)),
            Some(ended) = connecting.join_next() => {
                // A connection that was abandoned has been told of already.
                if let Ok((site, id, result)) = ended {
                    handles.remove(&(site, id));
                    phones[site].calls.handle_input(shared.now(), Input::Ended(id, result));
                }
            }
            () = sleep, if next.is_some() => {
                let now = shared.now();
                phones.iter_mut().for_each(|phone| phone.calls.handle_input(now, Input::Timeout));
            }
        }
        for (site, phone) in phones.iter_mut().enumerate() {
            while let Some(output) = phone.calls.poll_output() {
                match output {
                    Output::Transmit { from, to, bytes } => transmit(&phone.outlets, from, to, &bytes),
                    Output::Connect { call, from, to, bytes } => {
                        let ip = phone.ips[usize::from(from.second_ip)].or(phone.ips[0]);
                        let handle = connecting.spawn(async move { (site, call, connect(ip, to, &bytes).await) });
                        handles.insert((site, call), handle);
                    }
                    Output::Abandon { call } => {
                        if let Some(handle) = handles.remove(&(site, call)) {
                            handle.abort();
                        }
                    }
                }
            }
        }
    }
}

fn transmit(outlets: &Outlets, from: Local, to: SocketAddr, bytes: &[u8]) {
    if let Some(socket) = &outlets[from.index()]
        && let Err(error) = send_from(socket.as_fd(), None, to, bytes)
    {
        tracing::debug!(%error, %to, "calling back");
    }
}

/// Connects from `ip`, sends, closes.
async fn connect(ip: Option<IpAddr>, to: SocketAddr, bytes: &[u8]) -> CallResult {
    match attempt(ip, to, bytes).await {
        Ok(()) => CallResult::Connected,
        Err(error) => match error.kind() {
            io::ErrorKind::ConnectionRefused | io::ErrorKind::ConnectionReset => CallResult::Refused,
            io::ErrorKind::TimedOut => CallResult::TimedOut,
            _ => CallResult::Unreachable,
        },
    }
}

async fn attempt(ip: Option<IpAddr>, to: SocketAddr, bytes: &[u8]) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    if let Some(ip) = ip {
        socket.bind(&SocketAddr::new(ip, 0).into())?;
    }
    let mut stream = TcpSocket::from_std_stream(socket.into()).connect(to).await?;
    // The connection is what was asked for; what becomes of the bytes is not waited for long.
    let _ = tokio::time::timeout(LINGER, async {
        stream.write_all(bytes).await?;
        stream.shutdown().await
    })
    .await;
    Ok(())
}
