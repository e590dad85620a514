//! The Internet in a box, felt by sockets on its hosts.

mod behaviour;
mod changes;
mod crossing;
mod engine_homes;
mod judges;
mod lifetime;
mod oracle;
mod other_kernels;
mod support;
