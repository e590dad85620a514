//! IPv6, with the same machine.

use core::net::Ipv6Addr;

use pinhole_sansio::Instant;
use pinhole_wire::answer::{self, Trouble};

use super::world::{echo, tcp, udp};
use crate::behaviour::{Behaviour, Nat, Side, Verdict};

#[test]
fn ipv6_is_translated_like_ipv4() {
    let external: Ipv6Addr = "2001:db8::1".parse().expect("an address");
    let mut nat = Nat::new(Behaviour::rfc4787(), [external], Ipv6Addr::LOCALHOST, 1);
    for packet in [
        udp("[fd00::2]:5000", "[2001:db8::9]:53"),
        tcp("[fd00::2]:5000", "[2001:db8::9]:53", "S"),
        echo("fd00::2", "2001:db8::9", false, 5_000),
    ] {
        let mut out = packet.clone();
        assert_eq!(nat.process(Instant::EPOCH, Side::Inside, &mut out), Verdict::Forward(Side::Outside));
        super::world::assert_intact(&out);
        let mut error = vec![0; 600];
        let router = "2001:db8::77".parse().expect("an address");
        let len = answer::error(&out, Trouble::TimeExceeded, router, &mut error).expect("an error");
        error.truncate(len);
        assert_eq!(nat.process(Instant::EPOCH, Side::Outside, &mut error), Verdict::Forward(Side::Inside));
        super::world::assert_intact(&error);
        assert_eq!(error[48..], packet, "the quoted packet is as the host had sent it");
    }
}
