//! What the agent has changed on a device, so that it can be undone, also by a later agent after a crash.

use pinhole_wg::{Key, PeerUpdate};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// One change. Endpoints are not among them: WireGuard itself changes them with every packet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owned {
    /// The peer.
    #[serde(serialize_with = "to_base64", deserialize_with = "from_base64")]
    pub peer: Key,
    /// It was added, because the zone announced it.
    pub added: bool,
    /// Its keepalive was changed from this, in seconds.
    pub keepalive: Option<u16>,
}

impl Owned {
    /// The change that undoes it.
    pub fn undo(self) -> PeerUpdate {
        if self.added {
            return PeerUpdate::removal(self.peer);
        }
        PeerUpdate { update_only: true, keepalive: self.keepalive, ..PeerUpdate::new(self.peer) }
    }
}

fn to_base64<S: Serializer>(key: &Key, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&key.to_base64())
}

fn from_base64<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(serde::de::Error::custom)
}
