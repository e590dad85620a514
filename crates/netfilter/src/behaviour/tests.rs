//! NATs, seen from the hosts on both sides.

mod world;

mod allocation;
mod chaos;
mod devices;
mod fragments;
mod icmp;
mod rfc4787;
mod tcp;
mod types;
