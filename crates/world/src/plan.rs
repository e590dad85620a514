//! Who has which key and which tunnel address, drawn from a seed.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use pinhole_lab::PlaceId;
use pinhole_lab::scenario::Scenario;
use pinhole_sansio::{Instant, Rng};
use pinhole_wg::{Key, PrivateKey};

/// The port of every WireGuard device.
pub const PORT: u16 = 51_820;
/// The zone that the registry serves.
pub const ZONE: &str = "lab.example.";
/// The devices' name.
pub const DEVICE: &str = "wg0";

/// What everybody knows of everybody.
#[derive(Debug)]
pub struct Plan {
    /// The registry, if there is one.
    pub registry: Option<Member>,
    /// Those with agents, in the order of the scenario.
    pub agents: Vec<Member>,
}

/// One of them.
#[derive(Debug)]
pub struct Member {
    /// Its host.
    pub place: PlaceId,
    /// Its key.
    pub private: PrivateKey,
    /// The same for others.
    pub public: Key,
    /// Its address in the tunnel.
    pub tunnel: Ipv4Addr,
    /// Its address on its own network.
    pub address: Ipv4Addr,
    /// When its program starts.
    pub at: Instant,
}

impl Plan {
    /// The plan of a scenario; the keys follow from `rng`.
    pub fn new(scenario: &Scenario, rng: &mut Rng) -> Self {
        let mut member = |place: PlaceId, number: u16, at| {
            let mut bytes = [0; 32];
            fill(rng, &mut bytes);
            let private = PrivateKey::generate(bytes);
            let [high, low] = number.to_be_bytes();
            Member {
                place,
                public: private.public(),
                private,
                tunnel: Ipv4Addr::new(10, 77, high, low),
                address: scenario.network.places[place].address,
                at,
            }
        };
        // A scenario has fewer than 65,535 hosts.
        let registry = scenario.registry.map(|place| member(place, u16::MAX - 1, Instant::EPOCH));
        let agents = scenario.agents.iter().zip(1..).map(|(agent, number)| member(agent.place, number, agent.at));
        Self { agents: agents.collect(), registry }
    }

    /// Whoever runs at a place.
    pub fn at(&self, place: PlaceId) -> Option<&Member> {
        self.registry.iter().chain(&self.agents).find(|member| member.place == place)
    }

    /// Whose tunnel address this is.
    pub fn by_tunnel(&self, tunnel: IpAddr) -> Option<&Member> {
        self.registry.iter().chain(&self.agents).find(|member| IpAddr::V4(member.tunnel) == tunnel)
    }

    /// Whose key this is.
    pub fn by_key(&self, key: &Key) -> Option<&Member> {
        self.registry.iter().chain(&self.agents).find(|member| member.public == *key)
    }
}

impl Member {
    /// Where the registry's device is reached.
    pub fn endpoint(&self) -> SocketAddr {
        SocketAddr::new(self.address.into(), PORT)
    }
}

/// Random bytes. Those of a simulation are known to everybody who knows its seed.
pub(crate) fn fill(rng: &mut Rng, bytes: &mut [u8]) {
    for chunk in bytes.chunks_mut(8) {
        chunk.copy_from_slice(&rng.next_u64().to_le_bytes()[..chunk.len()]);
    }
}
