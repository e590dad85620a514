//! How to do the same on real machines.

use super::plan::{self, PORT, Plan, ZONE};

/// The steps, ready to print.
pub(super) fn text(plan: &Plan) -> String {
    let (hub, alice, bob) = (plan.hub.address, plan.alice.address, plan.bob.address);
    let device = "[[wireguard]]\nconfig = \"/etc/wireguard/wg0.conf\"\n\n";
    let role = |role: String| block(&format!("{device}{role}").replace(ZONE, "example.com."));
    let peer = block(&format!(
        "[Interface]\nPrivateKey = …\nAddress = {alice}/24\nListenPort = {PORT}\n\n\
         [Peer]  # the registry\nPublicKey = …\nEndpoint = hub.example.com:{PORT}\nAllowedIPs = {hub}/32\n\
         PersistentKeepalive = 25\n\n\
         [Peer]  # bob: nobody has to know where\nPublicKey = …\nAllowedIPs = {bob}/32\n"
    ));
    format!(
        "    1. On a host with a public address: a WireGuard device with every peer's key, and /etc/pinhole/pinhole.toml\n\n\
         {hub_role}\n    \
         2. On each peer: /etc/wireguard/wg0.conf (keys: `pinhole wg genkey`, `pinhole wg pubkey`)\n\n{peer}\n       \
         and /etc/pinhole/pinhole.toml\n\n{peer_role}\n    \
         3. On all of them: `pinhole up`. No NAT has to be configured, and WireGuard itself stays as it is.",
        hub_role = role(plan::registry_role()),
        peer_role = role(plan::agent_role(hub)),
    )
}

fn block(text: &str) -> String {
    text.lines().map(|line| if line.is_empty() { "\n".to_owned() } else { format!("         {line}\n") }).collect()
}
