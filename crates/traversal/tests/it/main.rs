//! The machines in virtual time, among NATs of every behaviour and our own STUN servers.

mod discovery;
mod lifetimes;
mod spray;
mod streams;
mod world;
