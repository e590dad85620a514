//! NATs, seen from the hosts on both sides.

mod world;

mod types;
