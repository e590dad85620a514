//! A request as it reaches the server, before it is known what it asks.

use core::net::SocketAddr;

use super::Local;
use crate::Message;

/// What carried a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// UDP: the source may be forged.
    Datagram,
    /// TCP or TLS: it is not, and the answer can only go back.
    Stream,
}

/// A Binding request and where it came.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<'a> {
    pub(super) message: Message<'a>,
    pub(super) local: Local,
    pub(super) source: SocketAddr,
    pub(super) transport: Transport,
}
