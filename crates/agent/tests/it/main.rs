//! The registry and two agents in a small world in virtual time: the same machines that run in production, with WireGuard, NATs
//! and lossy links as models.

mod nat;
mod punch;
mod wgsd;
mod wireguard;
mod world;
