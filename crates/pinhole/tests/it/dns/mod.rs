//! The registry as its clients and neighbours see it: the real program, real sockets, real DNS tools.
//!
//! Each test has namespaces of its own, so that ports are not shared and the registry may have its port 53. The WireGuard
//! devices are [fake](device): text on a UAPI socket, which serves any number of peers without a kernel or a handshake.
//! Questions are [written by hand](wire), not by the encoder under test; answers are compared byte for byte where a golden
//! answer is known, and else read by `dig`, `delv`, `unbound` and our decoder.
//!
//! Not here: the rendezvous option (a matter of the agents' tests) and speed (`docs/benchmarks.md`).

mod device;
mod stage;
mod wire;

mod access;
mod edns;
mod golden;
mod hostile;
mod limits;
mod negative;
mod resolver;
mod streams;
mod tools;
mod wgsd;
mod wgsd_client;
mod zones;
