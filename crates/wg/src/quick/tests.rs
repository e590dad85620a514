use super::*;

const FULL: &str = "\u{feff}# everything at once
[interface]
  Address = 10.0.0.2/24,fd00::2/64   # two of them
ADDRESS = 10.9.9.9
DNS = 1.1.1.1, example.com
MTU=1380
Table = 1234
SaveConfig = true
PreUp = echo %i
PostUp = nft add table = x; true
PostUp = second
PreDown = c
PostDown = d
ListenPort = 51820
FwMark = 0xCa6c
PrivateKey = 6FcaV5TpqXhOWdkW0fSJmFkbK2TUiUgmyXUzAY+/SWA=

[PEER]
AllowedIPs = 10.0.0.1/24
Endpoint = vpn.example.com:51820
PublicKey = xScVkH3fUGUv4RrJFfmcqm8rs3SEHr41km6+yffAHw4=
PresharedKey = FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE=
allowedips = fd00::1 ,192.168.7.0/24
PersistentKeepalive = 25
[Peer]
PublicKey = syKB97XhGnvC+kynh2KqQJPXoOoOpx/HmpMRTc+r4js=
Endpoint = [2001:db8::1]:51821
PersistentKeepalive = off
AllowedIPs =
";

/// What `FULL` says, in the order and form in which it is written back.
const WRITTEN: &str = "[Interface]
Address = 10.0.0.2/24
Address = fd00::2/64
Address = 10.9.9.9/32
DNS = 1.1.1.1
DNS = example.com
MTU = 1380
Table = 1234
SaveConfig = true
PreUp = echo %i
PostUp = nft add table = x; true
PostUp = second
PreDown = c
PostDown = d
ListenPort = 51820
FwMark = 0xca6c
PrivateKey = 6FcaV5TpqXhOWdkW0fSJmFkbK2TUiUgmyXUzAY+/SWA=

[Peer]
PublicKey = xScVkH3fUGUv4RrJFfmcqm8rs3SEHr41km6+yffAHw4=
PresharedKey = FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE=
AllowedIPs = 10.0.0.0/24, fd00::1/128, 192.168.7.0/24
Endpoint = vpn.example.com:51820
PersistentKeepalive = 25

[Peer]
PublicKey = syKB97XhGnvC+kynh2KqQJPXoOoOpx/HmpMRTc+r4js=
Endpoint = [2001:db8::1]:51821
PersistentKeepalive = 0
";

#[test]
fn a_file_is_read_whole_and_written_back() {
    let config = Config::parse(FULL).unwrap();
    assert_eq!(config.to_text(), WRITTEN);
    assert_eq!(Config::parse(WRITTEN), Ok(config));
}

#[test]
fn an_empty_file_says_nothing() {
    assert_eq!(Config::parse("\n# nothing\n\r\n"), Ok(Config::default()));
    assert_eq!(Config::default().to_text(), "[Interface]\n");
}

#[test]
fn the_special_words_mean_what_wg_quick_means() {
    let interface = |line: &str| Config::parse(&format!("[Interface]\n{line}\n")).unwrap().interface;
    assert_eq!(interface("FwMark = off").fwmark, Some(0));
    assert_eq!(interface("Table = OFF").table, Table::Off);
    assert_eq!(interface("Table = auto").table, Table::Auto);
    assert_eq!(interface("Table = main").table, Table::Number(254));
    assert_eq!(interface("ListenPort = 1\nListenPort = 2").listen_port, Some(2));
    assert!(!interface("SaveConfig = true\nSaveConfig = false").save_config);
}

#[test]
fn what_is_wrong_is_named_with_its_line() {
    let peer = "[Peer]\nPublicKey = xScVkH3fUGUv4RrJFfmcqm8rs3SEHr41km6+yffAHw4=\n";
    for (text, line, part) in [
        ("PrivateKey = secret", 1, "before any section"),
        ("[Wrong]", 1, "unknown section [Wrong]"),
        ("[Interface]\n\nsecret", 3, "expected [Interface], [Peer] or Key = value"),
        ("[Interface]\nPrivateKey = secret", 2, "PrivateKey: not a WireGuard key"),
        ("[Interface]\nListenPort = 65536", 2, "ListenPort = 65536: expected a port"),
        ("[Interface]\nListenPort = +1", 2, "expected a port"),
        ("[Interface]\nListenPort =", 2, "expected a port"),
        ("[Interface]\nFwMark = 0x+1", 2, "expected a number, 0x… or off"),
        ("[Interface]\nAddress = 10.0.0.2/24, 10.0.0.300", 2, "Address = 10.0.0.300: expected an address"),
        ("[Interface]\nDNS = 1.1.1.1.1", 2, "DNS = 1.1.1.1.1: expected addresses"),
        ("[Interface]\nMTU = 9", 2, "expected bytes from 68"),
        ("[Interface]\nTable = 0", 2, "expected auto, off"),
        ("[Interface]\nSaveConfig = maybe", 2, "expected true or false"),
        ("[Interface]\nAllowedIPs = 10.0.0.0/8", 2, "AllowedIPs belongs under [Peer]"),
        ("[Interface]\nColour = blue", 2, "unknown key Colour under [Interface]; expected one of PrivateKey"),
        ("[Peer]\nAllowedIPs = 10.0.0.0/8\n[Interface]", 1, "this [Peer] has no PublicKey"),
        ("[Interface]\n[Peer]", 2, "this [Peer] has no PublicKey"),
        ("[Peer]\nPublicKey = short", 2, "PublicKey = short: not a WireGuard key"),
        ("[Peer]\nPresharedKey = secret", 2, "PresharedKey: not a WireGuard key"),
        ("[Peer]\nMTU = 1400", 2, "MTU belongs under [Interface]"),
        (&format!("{peer}AllowedIPs = 10.0.0.0/33"), 3, "expected prefixes"),
        (&format!("{peer}Endpoint = example.com"), 3, "expected a port at the end"),
        (&format!("{peer}Endpoint = example.com:0"), 3, "expected a port from 1"),
        (&format!("{peer}Endpoint = 192.0.2.1:0"), 3, "expected a port from 1"),
        (&format!("{peer}Endpoint = 2001:db8::1:51820"), 3, "in brackets"),
        (&format!("{peer}Endpoint = 192.0.2.300:51820"), 3, "expected ADDRESS:PORT"),
        (&format!("{peer}Endpoint = exa mple.com:51820"), 3, "expected ADDRESS:PORT"),
        (&format!("{peer}PersistentKeepalive = 25s"), 3, "expected seconds"),
    ] {
        let error = Config::parse(text).unwrap_err();
        assert_eq!(error.line, line, "{text:?}: {error}");
        assert!(error.reason.contains(part), "{text:?}: {error}");
        assert!(!error.reason.contains("secret"), "{text:?}: {error}");
    }
}

#[test]
fn the_change_replaces_the_whole_device() {
    let update = Config::parse(FULL).unwrap().update(Endpoint::address);
    assert!(update.replace_peers);
    assert_eq!((update.listen_port, update.fwmark), (Some(51820), Some(0xca6c)));
    assert_eq!(update.peers[0].endpoint, None);
    assert_eq!(update.peers[1].endpoint, Some("[2001:db8::1]:51821".parse().unwrap()));
    assert_eq!(update.peers[1].preshared_key, Some(PresharedKey::from_bytes([0; 32])));
    assert!(update.peers.iter().all(|peer| peer.replace_allowed_ips && !peer.remove && !peer.handshake));
    let bare = Config::default().update(Endpoint::address);
    assert_eq!((bare.private_key, bare.listen_port, bare.fwmark), (None, Some(0), Some(0)));
}

#[test]
fn a_device_is_shown_as_a_file() {
    let mut config = Config::parse(WRITTEN).unwrap();
    config.peers.truncate(1);
    let peer = &config.peers[0];
    let device = Device {
        private_key: config.interface.private_key,
        listen_port: 51820,
        peers: vec![crate::Peer {
            preshared_key: peer.preshared_key,
            endpoint: Some("192.0.2.1:51820".parse().unwrap()),
            allowed_ips: peer.allowed_ips.clone(),
            ..crate::Peer::new(peer.public_key)
        }],
        ..Device::default()
    };
    assert_eq!(
        Config::of_device(&device).to_text(),
        "[Interface]\nListenPort = 51820\nPrivateKey = 6FcaV5TpqXhOWdkW0fSJmFkbK2TUiUgmyXUzAY+/SWA=\n\n[Peer]\n\
         PublicKey = xScVkH3fUGUv4RrJFfmcqm8rs3SEHr41km6+yffAHw4=\n\
         PresharedKey = FpCyhws9cxwWoV4xELtfJvjJN+zQVRPISllRWgeopVE=\n\
         AllowedIPs = 10.0.0.0/24, fd00::1/128, 192.168.7.0/24\nEndpoint = 192.0.2.1:51820\n"
    );
}

#[test]
fn what_can_be_read_can_be_written_and_read_again() {
    let mut rng = pinhole_sansio::Rng::from_seed(1);
    let mut read = 0;
    for _ in 0..20_000 {
        let mut bytes = FULL.as_bytes().to_vec();
        for _ in 0..=rng.below(3) {
            let at = rng.below(bytes.len() as u64) as usize;
            match rng.below(3) {
                0 => bytes[at] = rng.next_u64() as u8,
                1 => bytes.insert(at, b"=\n#[,:/ "[rng.below(8) as usize]),
                _ => drop(bytes.remove(at)),
            }
        }
        if let Ok(config) = Config::parse(&String::from_utf8_lossy(&bytes)) {
            read += 1;
            assert_eq!(Config::parse(&config.to_text()), Ok(config));
        }
    }
    assert!(read > 1_000, "only {read} texts could be read");
}
