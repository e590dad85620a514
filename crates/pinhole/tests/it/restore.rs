//! What an agent changes on a device it undoes, itself or the next one after a crash.

use pinhole_wg::Device;

use crate::support::device::{Kind, state};
use crate::support::plan::{self, DEVICE};
use crate::support::ready::ready;
use crate::support::until;
use crate::support::world::{Setup, World};

/// The keepalive that the device has towards `peer`.
fn keepalive(device: &Device, peer: &str) -> u16 {
    let peer = device.peers.iter().find(|known| known.public_key == plan::key(peer));
    peer.expect("it has the peer").keepalive
}

#[test]
fn an_agent_gives_back_the_keepalive_it_has_set() {
    if !ready(&["wireguard-go"]) {
        return;
    }
    let mut world = World::connected(Setup { wireguard: [Kind::Go; 3], ..Setup::default() });
    until("a keepalive towards bob", || (keepalive(&state(world.host("alice")), "bob") == 25).then_some(()));
    let note = world.host("alice").path(format!("/run/pinhole/agent-{DEVICE}.json"));
    assert!(note.exists(), "what was changed is written down");
    let (status, words) = world.agents.remove("alice").expect("it runs").terminate();
    assert!(status.success(), "{words}");
    let device = state(world.host("alice"));
    assert_eq!((keepalive(&device, "bob"), keepalive(&device, "hub")), (0, 5), "bob's as it was, the hub's untouched");
    assert!(!note.exists(), "and there is nothing left to undo");
}

#[test]
fn after_a_crash_the_next_agent_undoes_what_the_first_has_changed() {
    if !ready(&["wireguard-go"]) {
        return;
    }
    let mut world = World::connected(Setup { wireguard: [Kind::Go; 3], ..Setup::default() });
    until("a keepalive towards bob", || (keepalive(&state(world.host("alice")), "bob") == 25).then_some(()));
    world.agents.remove("alice").expect("it runs").kill();
    let note = world.host("alice").path(format!("/run/pinhole/agent-{DEVICE}.json"));
    assert!(note.exists(), "what the next one has to undo");
    assert_eq!(keepalive(&state(world.host("alice")), "bob"), 25, "nobody could undo it");
    world.start_agent("alice");
    world.agent("alice").wait_for("the path", |event| event["event"] == "up");
    let (status, words) = world.agents.remove("alice").expect("it runs").terminate();
    assert!(status.success(), "{words}");
    assert_eq!(keepalive(&state(world.host("alice")), "bob"), 0);
    assert!(!note.exists(), "and nothing is left");
}
