//! The real binary on real hosts: namespaces, kernel NAT, our own links; see `support`.

mod cli;
mod connect;
mod conntrack;
mod demo;
mod dns;
mod doctor;
mod gateway;
mod hole;
mod lab;
mod quick;
mod recover;
mod restore;
mod servers;
mod stun;
mod stun_query;
mod stun_xdp;
mod support;
mod timewait;
