use pinhole_sansio::Rng;

use super::*;

fn net(text: &str) -> IpNet {
    text.parse().unwrap()
}

#[test]
fn the_longest_prefix_wins() {
    let mut table = AllowedIps::default();
    for (owner, prefix) in
        ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "::/0", "fd00::/8"].iter().enumerate()
    {
        assert_eq!(table.insert(net(prefix), owner), None);
    }
    let cases =
        [("192.0.2.1", 0), ("10.2.0.1", 1), ("10.1.9.9", 2), ("10.1.2.3", 3), ("2001:db8::1", 4), ("fd12::1", 5)];
    for (address, owner) in cases {
        assert_eq!(table.owner(address.parse().unwrap()), Some(owner), "{address}");
    }
}

#[test]
fn a_prefix_has_one_owner_and_only_that_one_can_give_it_up() {
    let mut table = AllowedIps::default();
    table.insert(net("10.0.0.0/24"), 'a');
    assert_eq!(table.insert(net("10.0.0.0/24"), 'b'), Some('a'));
    table.remove(net("10.0.0.0/24"), 'a');
    assert_eq!(table.owner("10.0.0.7".parse().unwrap()), Some('b'));
    table.remove(net("10.0.0.0/24"), 'b');
    assert_eq!(table.owner("10.0.0.7".parse().unwrap()), None);
    assert!(table.v4.is_empty());
}

#[test]
fn lookups_agree_with_a_scan_of_all_prefixes() {
    let mut rng = Rng::from_seed(3);
    let (mut table, mut all) = (AllowedIps::default(), Vec::<(IpNet, u64)>::new());
    for owner in 0..500 {
        // Few distinct high bits, so that prefixes nest.
        let address = (rng.next_u64() as u32) & 0x0303_ff0f;
        let prefix = IpNet::new(IpAddr::V4(address.into()), rng.below(33) as u8).unwrap().trunc();
        table.insert(prefix, owner);
        all.retain(|(other, _)| *other != prefix);
        all.push((prefix, owner));
    }
    for _ in 0..2_000 {
        let address = IpAddr::V4(((rng.next_u64() as u32) & 0x0303_ff0f).into());
        let scan =
            all.iter().filter(|(prefix, _)| prefix.contains(&address)).max_by_key(|(prefix, _)| prefix.prefix_len());
        assert_eq!(table.owner(address), scan.map(|(_, owner)| *owner), "{address}");
    }
}
