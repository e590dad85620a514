//! NAT: which ports and addresses are chosen, for how long, and what is rewritten (`nf_nat_core.c`, `nf_nat_proto.c`).

use pinhole_netfilter::rules::Ruleset;
use pinhole_netfilter::{Reason, Status, explain};
use pinhole_wire::text;

use super::Home;

fn snat(range: &str) -> Home {
    Home::new(&format!("*nat\n-A POSTROUTING -o wan -p udp -j SNAT --to-source {range}\nCOMMIT\n"))
}

#[test]
fn what_no_rule_translates_is_kept_unique_all_the_same() {
    let mut home = Home::masquerading();
    home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8").expect("it passes");
    // The router's own packet would have the same tuple outside.
    let own = home.own("203.0.113.1:5000 > 192.0.2.1:53 udp 8").expect("it leaves");
    assert!(!own.starts_with("203.0.113.1:5000 "), "{own}");
    assert!(own.starts_with("203.0.113.1:"), "{own}");
}

#[test]
fn ports_that_are_taken_are_replaced_by_ports_of_their_class() {
    let mut home = Home::masquerading();
    for (port, class) in [(80, 1..=511), (700, 600..=1_023), (5_000, 1_024..=65_535)] {
        for host in 1..20 {
            let out = home.port(&format!("10.0.0.{host}:{port} > 192.0.2.1:53 udp 8"));
            assert!(if host == 1 { out == port } else { class.contains(&out) && out != port }, "{port} became {out}");
        }
    }
}

#[test]
fn a_range_is_searched_whole_if_it_is_small_and_then_the_packet_drops() {
    let mut home = snat("203.0.113.1:2000-2099");
    let mut ports: Vec<u16> =
        (0..100).map(|host| home.port(&format!("10.0.0.{}:5000 > 192.0.2.1:53 udp 8", host + 1))).collect();
    ports.sort_unstable();
    assert!(ports.iter().copied().eq(2_000..=2_099), "each one once");
    assert_eq!(home.out("10.0.0.200:5000 > 192.0.2.1:53 udp 8"), Err(Reason::Clash));
    assert!(home.out("10.0.0.200:5000 > 192.0.2.2:53 udp 8").is_ok(), "towards another peer they are free");
}

#[test]
fn a_large_range_is_tried_248_times_at_most() {
    let mut home = snat("203.0.113.1:2000-2299");
    // Starts are random: who finds no port tries again, until none is free.
    for n in (0..300).cycle().take(100_000) {
        if home.router.v4().table.len() == 300 {
            break;
        }
        let _ = home.out(&format!("10.0.{}.{}:7 > 192.0.2.1:53 udp 8", n / 200, n % 200 + 1));
    }
    assert_eq!(home.router.v4().table.len(), 300);
    let packet = text::read("10.0.9.9:7 > 192.0.2.1:53 udp 8").expect("a packet");
    let account = explain::explain(&mut home.router, home.now, explain::Origin::Interface(home.lan), &packet);
    let mut notes = account.stages.into_iter().flat_map(|stage| stage.notes);
    let told = notes.find(|note| note.text.contains("given up")).map(|note| note.text);
    let told = told.expect("it is given up");
    assert!(told.starts_with("no free port in 2000-2299 after 248 tries: given up"), "{told}");
}

#[test]
fn random_ports_differ_by_destination_and_others_do_not() {
    for (flag, same) in [("", true), (" --random", false), (" --random-fully", false)] {
        let mut home = snat(&format!("203.0.113.1{flag}"));
        let ports: Vec<u16> =
            (1..6).map(|peer| home.port(&format!("10.0.0.1:5000 > 192.0.2.{peer}:53 udp 8"))).collect();
        assert_eq!(ports.iter().all(|&port| port == ports[0]), same, "{flag} {ports:?}");
    }
}

#[test]
fn a_pool_gives_a_host_one_address_for_all_only_if_it_is_persistent() {
    for (flag, one) in [(" --persistent", true), ("", false)] {
        // Random, so that what the host has already is not looked for.
        let mut home = snat(&format!("203.0.113.1-203.0.113.8 --random{flag}"));
        let mut addresses: Vec<String> = (1..40)
            .map(|peer| home.out(&format!("10.0.0.1:5000 > 192.0.2.{peer}:53 udp 8")).expect("it passes"))
            .map(|out| out.split(':').next().unwrap_or_default().to_owned())
            .collect();
        addresses.sort_unstable();
        addresses.dedup();
        assert_eq!(addresses.len() == 1, one, "{flag} {addresses:?}");
    }
}

#[test]
fn a_destination_keeps_its_port_where_the_rule_names_none() {
    let mut home = Home::new("*nat\n-A PREROUTING -i wan -p udp -j DNAT --to-destination 10.0.0.9\nCOMMIT\n");
    let first = home.back("192.0.2.1:53 > 203.0.113.1:4000 udp 8").expect("it passes");
    assert_eq!(first, "192.0.2.1:53 > 10.0.0.9:4000 udp 8 ttl 63");
    // The same endpoint by another outside address would be the same tuple inside: its port stays, its source's moves.
    let second = home.back("192.0.2.1:53 > 203.0.113.77:4000 udp 8").expect("it passes");
    assert!(second.contains(" > 10.0.0.9:4000 udp"), "{second}");
    assert!(!second.starts_with("192.0.2.1:53 "), "{second}");
}

#[test]
fn two_hosts_with_one_echo_identifier_have_two_outside_and_each_keeps_its_own_for_all() {
    let mut home = Home::masquerading();
    let mut identifier = |host: u8, peer: u8| {
        let out =
            home.out(&format!("10.0.0.{host} > 192.0.2.{peer} icmp echo-request id 777 seq 1 8")).expect("it passes");
        out.split(" id ").nth(1).and_then(|rest| rest.split(' ').next()).expect("an identifier").to_owned()
    };
    let (first, second) = (identifier(1, 1), identifier(2, 1));
    assert_eq!(first, "777");
    assert_ne!(second, "777");
    assert_eq!((identifier(1, 2), identifier(2, 2)), (first, second));
}

#[test]
fn a_masqueraded_flow_that_leaves_by_another_interface_goes_with_its_packet() {
    let mut home = Home::masquerading();
    let dmz =
        home.router.add_interface(pinhole_netfilter::Interface::new("dmz", ["198.18.0.1/24".parse().expect("a net")]));
    home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8").expect("it passes");
    home.router.add_route("192.0.2.0/24".parse().expect("a net"), dmz);
    assert_eq!(home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8"), Err(Reason::OtherInterface));
    assert_eq!(home.flows().len(), 0);
    let out = home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8").expect("it begins anew");
    assert!(out.starts_with("10.0.0.1:5000 "), "{out}: no rule masquerades by dmz");
}

#[test]
fn new_rules_are_for_new_flows_and_a_flow_that_is_deleted_is_new() {
    let mut home = snat("203.0.113.10");
    let out = |home: &mut Home| home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8").expect("it passes");
    assert!(out(&mut home).starts_with("203.0.113.10:"));
    let rules = "*nat\n-A POSTROUTING -o wan -j SNAT --to-source 203.0.113.11\nCOMMIT\n";
    home.router.set_rules_v4(Ruleset::parse(rules).expect("rules"));
    assert!(out(&mut home).starts_with("203.0.113.10:"), "as it was decided");
    let now = home.now;
    home.router.v4().delete_all(now, |_| true);
    assert!(out(&mut home).starts_with("203.0.113.11:"));
}

#[test]
fn an_icmp_error_about_a_translated_flow_is_dropped_if_its_checksum_is_wrong() {
    let mut home = Home::masquerading();
    home.set("nf_conntrack_checksum", "0");
    home.out("10.0.0.1:5000 > 192.0.2.1:53 udp 8").expect("it passes");
    let about = "(203.0.113.1:5000 > 192.0.2.1:53 udp 8)";
    let wrong = home.back(&format!("192.0.2.254 > 203.0.113.1 icmp time-exceeded {about} badsum"));
    assert!(matches!(wrong, Err(Reason::IcmpError(_))), "{wrong:?}");
    let right = home.back(&format!("192.0.2.254 > 203.0.113.1 icmp time-exceeded {about}"));
    assert!(right.is_ok_and(|line| line.contains(" > 10.0.0.1 icmp time-exceeded (10.0.0.1:5000 > ")));
    assert!(home.flow().status.contains(Status::SRC_NAT), "and the flow is still there");
}
