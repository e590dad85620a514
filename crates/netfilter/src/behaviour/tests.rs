//! NATs, seen from the hosts on both sides.

mod world;

mod allocation;
mod devices;
mod fragments;
mod icmp;
mod ipv6;
mod rfc4787;
mod tcp;
mod types;
