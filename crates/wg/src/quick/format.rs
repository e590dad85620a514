//! Writing a configuration file, in the order of `wg-quick save`.

use core::fmt::{self, Display, Write};

use super::{Config, Interface, PeerConfig, Table};

pub(super) fn format(config: &Config) -> String {
    let mut text = String::new();
    // Writing to a `String` cannot fail.
    let _ = write_config(&mut text, config);
    text
}

fn write_config(text: &mut String, config: &Config) -> fmt::Result {
    write_interface(text, &config.interface)?;
    config.peers.iter().try_for_each(|peer| write_peer(text, peer))
}

fn write_interface(text: &mut String, interface: &Interface) -> fmt::Result {
    text.push_str("[Interface]\n");
    for address in &interface.addresses {
        line(text, "Address", address)?;
    }
    for server in &interface.dns_servers {
        line(text, "DNS", server)?;
    }
    for domain in &interface.dns_search {
        line(text, "DNS", domain)?;
    }
    if let Some(mtu) = interface.mtu {
        line(text, "MTU", mtu)?;
    }
    match interface.table {
        Table::Auto => {}
        Table::Off => line(text, "Table", "off")?,
        Table::Number(number) => line(text, "Table", number)?,
    }
    if interface.save_config {
        line(text, "SaveConfig", true)?;
    }
    for (key, hooks) in [
        ("PreUp", &interface.pre_up),
        ("PostUp", &interface.post_up),
        ("PreDown", &interface.pre_down),
        ("PostDown", &interface.post_down),
    ] {
        hooks.iter().try_for_each(|hook| line(text, key, hook))?;
    }
    if let Some(port) = interface.listen_port {
        line(text, "ListenPort", port)?;
    }
    if let Some(mark) = interface.fwmark {
        line(text, "FwMark", format_args!("{mark:#x}"))?;
    }
    if let Some(key) = &interface.private_key {
        line(text, "PrivateKey", key.to_base64())?;
    }
    Ok(())
}

fn write_peer(text: &mut String, peer: &PeerConfig) -> fmt::Result {
    text.push_str("\n[Peer]\n");
    line(text, "PublicKey", peer.public_key)?;
    if let Some(key) = &peer.preshared_key {
        line(text, "PresharedKey", key.to_base64())?;
    }
    if !peer.allowed_ips.is_empty() {
        let prefixes: Vec<_> = peer.allowed_ips.iter().map(ToString::to_string).collect();
        line(text, "AllowedIPs", prefixes.join(", "))?;
    }
    if let Some(endpoint) = &peer.endpoint {
        line(text, "Endpoint", endpoint)?;
    }
    if let Some(seconds) = peer.keepalive {
        line(text, "PersistentKeepalive", seconds)?;
    }
    Ok(())
}

fn line(text: &mut String, key: &str, value: impl Display) -> fmt::Result {
    writeln!(text, "{key} = {value}")
}
