//! What two hosts say to each other while they spray: STUN messages that only the two can write.
//!
//! A word is a Binding *indication* (RFC 8489 §3), so that a STUN server that is hit by chance does not answer, with two
//! attributes: SPRAY, which is `version, kind, role of the sender, 0, session (8), socket (2), port (2)`, and
//! MESSAGE-INTEGRITY-SHA256 of full length. 76 bytes. Its first four bytes, read as WireGuard reads them, are no WireGuard message: a WireGuard that gets one
//! drops it.
//!
//! Everything that is said is under the HMAC: a word of another session, another peer or another role is none, and each
//! counts once at a socket: what is said again has another transaction id. Two numbers
//! bind words to their way: the opener's socket, by which it says something and which a nomination repeats; and the opener's
//! port, which a probe was sent to and which the answer repeats. So an answer that somebody sends on from another port is
//! none, nor is a nomination that he carries to another hole.

use pinhole_sansio::Rng;
use pinhole_stun::credentials::Key;
use pinhole_stun::{AttributeType, Class, Integrity, Message, Method, TransactionId, Writer};

use super::{Role, Secret, Session};

const VERSION: u8 = 1;
/// Bytes of a word: a header, SPRAY, and an HMAC with its header.
pub(super) const LENGTH: usize = 20 + (4 + SPRAY) + (4 + HMAC);
/// Bytes of the value of SPRAY.
const SPRAY: usize = 16;
/// Bytes of an HMAC that is not truncated.
const HMAC: usize = 32;

/// What is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    /// Do you hear me? From both sides; what opens a NAT is one, too.
    Probe,
    /// The opener has heard a probe here.
    Answer,
    /// The prober has heard an answer: let it be this pair.
    Nominate,
    /// The opener has heard the nomination, and hands the hole over.
    Accept,
    /// The opener speaks from WireGuard's port through the hole.
    Ready,
    /// The prober has heard that.
    Done,
}

impl Word {
    const ALL: [Self; 6] = [Self::Probe, Self::Answer, Self::Nominate, Self::Accept, Self::Ready, Self::Done];

    const fn number(self) -> u8 {
        match self {
            Self::Probe => 1,
            Self::Answer => 2,
            Self::Nominate => 3,
            Self::Accept => 4,
            Self::Ready => 5,
            Self::Done => 6,
        }
    }
}

/// Which way a word is about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct About {
    /// The opener's socket: 0 is WireGuard's port.
    pub(super) socket: u16,
    /// The opener's port, as the prober sees it.
    pub(super) port: u16,
}

/// Something that was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) word: Word,
    pub(super) about: About,
    pub(super) id: TransactionId,
}

/// Why bytes are no word for us.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refused {
    /// They are something else.
    Foreign,
    /// They belong to another attempt: late, or replayed.
    OtherSession,
    /// We have said that ourselves: it was reflected.
    Mirrored,
    /// Somebody has written it who does not have the secret.
    Forged,
}

/// Writes and reads the words of one attempt.
#[derive(Clone, Debug)]
pub(super) struct Language {
    key: Key,
    session: Session,
    role: Role,
}

impl Language {
    pub(super) fn new(secret: &Secret, session: Session, role: Role) -> Self {
        Self { key: Key::shared(&secret.0), session, role }
    }

    pub(super) fn write(&self, word: Word, about: About, rng: &mut Rng) -> Vec<u8> {
        let mut random = [0; 12];
        random[..8].copy_from_slice(&rng.next_u64().to_be_bytes());
        random[8..].copy_from_slice(&(rng.next_u64() as u32).to_be_bytes());
        let mut bytes = vec![0; LENGTH];
        let mut writer = Writer::new(&mut bytes, Class::Indication, Method::BINDING, TransactionId::new(random));
        writer.attribute(AttributeType::SPRAY, &self.value(word, self.role, about)).integrity_sha256(&self.key);
        writer.finish().expect("the buffer is as long as a word");
        bytes
    }

    /// What the peer has said. What is cheap is looked at first; nothing is answered before the HMAC is.
    pub(super) fn read(&self, bytes: &[u8]) -> Result<Said, Refused> {
        let message = Message::read(bytes).map_err(|_| Refused::Foreign)?;
        let is_word =
            bytes.len() == LENGTH && message.class() == Class::Indication && message.method() == Method::BINDING;
        let spray = message.value(AttributeType::SPRAY).filter(|_| is_word).ok_or(Refused::Foreign)?;
        let hmac = message.value(AttributeType::MESSAGE_INTEGRITY_SHA256).ok_or(Refused::Foreign)?;
        let &[VERSION, _, _, 0, ref session @ .., a, b, c, d] = spray else { return Err(Refused::Foreign) };
        if session != self.session.0 {
            return Err(Refused::OtherSession);
        }
        if hmac.len() != HMAC || message.integrity(&self.key) != Integrity::Right {
            return Err(Refused::Forged);
        }
        let about = About { socket: u16::from_be_bytes([a, b]), port: u16::from_be_bytes([c, d]) };
        let said_by = |role| Word::ALL.into_iter().find(|&word| spray == self.value(word, role, about));
        match (said_by(self.role.other()), said_by(self.role)) {
            (Some(word), _) => Ok(Said { word, about, id: message.transaction_id() }),
            (None, Some(_)) => Err(Refused::Mirrored),
            (None, None) => Err(Refused::Foreign),
        }
    }

    fn value(&self, word: Word, role: Role, about: About) -> [u8; SPRAY] {
        let role = match role {
            Role::Prober => 1,
            Role::Opener => 2,
        };
        let mut value = [0; SPRAY];
        value[..3].copy_from_slice(&[VERSION, word.number(), role]);
        value[4..12].copy_from_slice(&self.session.0);
        value[12..14].copy_from_slice(&about.socket.to_be_bytes());
        value[14..].copy_from_slice(&about.port.to_be_bytes());
        value
    }
}

#[cfg(test)]
mod tests;
