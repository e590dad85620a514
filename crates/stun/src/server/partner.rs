//! Two hosts with one address each, as one server: who is asked to answer from the other address has the other host send the
//! answer.
//!
//! The order is a STUN message between the two, authenticated with their common key: the answer, to whom, from which port. It
//! is good for half a minute, and once: each sender numbers its orders, and a receiver remembers a window of numbers. The clocks
//! of the two must agree to that half minute. Nothing in it is secret.

use core::net::SocketAddr;

use pinhole_sansio::Instant;

use super::{Clock, Layout, Local, Second};
use crate::behaviour::Change;
use crate::credentials::Key;
use crate::{AttributeType, Class, Integrity, Message, Method, TransactionId, Writer, address};

/// Bytes of a key at least: a password that somebody types is not one.
pub const MIN_KEY: usize = 16;
/// Bytes of an answer that is sent by way of the partner, at most: with the order around it, it fits one packet of 1,280. All
/// answers are shorter but for their PADDING, which is cut to fit.
pub(super) const MAX_ANSWER: usize = 1_024;
/// How old an order may be, or how far ahead the sender's clock, in milliseconds.
const TOLERANCE_MS: u64 = 30_000;
/// Senders that are remembered: threads of the partner, and of its last start.
const MAX_SENDERS: usize = 64;

/// Not a method that IANA gives away (RFC 8489 §18.2 reserves 0x100 to 0xfff): an order never leaves the two hosts.
const ORDER: Method = Method(0xb07);
/// Sender, number and time of an order.
const NUMBER: AttributeType = AttributeType(0x7e01);
/// The answer to send.
const DATA: AttributeType = AttributeType(0x7e02);

/// The key of the two hosts.
#[derive(Clone, Debug)]
pub struct PartnerKey(Key);

impl PartnerKey {
    /// The key of this text. `None` if it has less than [`MIN_KEY`] bytes.
    pub fn new(text: &str) -> Option<Self> {
        (text.len() >= MIN_KEY).then(|| Self(Key::short_term(text)))
    }
}

/// The other host, as this one knows it.
#[derive(Debug)]
pub(super) struct Partner {
    key: PartnerKey,
    /// Where it takes orders.
    address: SocketAddr,
    clock: Clock,
    sender: u64,
    sent: u64,
    senders: Vec<Sender>,
}

/// The numbers of a sender that have been seen.
#[derive(Clone, Copy, Debug)]
struct Sender {
    id: u64,
    highest: u64,
    /// Bit n: `highest - n` has been seen.
    window: u64,
    heard: Instant,
}

/// An order that has been accepted.
#[derive(Debug)]
pub(super) struct Order<'a> {
    pub(super) from: Local,
    pub(super) to: SocketAddr,
    pub(super) bytes: &'a [u8],
}

/// True if this may be an order; a request is none, whoever sends it.
pub(super) fn is_order(bytes: &[u8]) -> bool {
    bytes.get(..2) == Some(&crate::message::message_type(Class::Indication, ORDER))
}

impl Partner {
    /// The one of a layout that has one. `sender` tells this server's orders from those of other threads and other starts.
    pub(super) fn new(key: PartnerKey, layout: &Layout, clock: Clock, sender: u64) -> Option<Self> {
        match layout.second {
            Second::Partner(ip) => {
                let address = SocketAddr::new(ip, layout.port);
                Some(Self { key, address, clock, sender, sent: 0, senders: Vec::new() })
            }
            Second::Here(_) | Second::Missing => None,
        }
    }

    /// True if `source` is at the partner's address.
    pub(super) fn is_from(&self, source: SocketAddr) -> bool {
        source.ip().to_canonical() == self.address.ip()
    }

    /// Puts the answer in the first `len` bytes of `out` into an order to send it to `to`, from the partner's socket that is
    /// `from` here. To where, and the length; `None` if it does not fit.
    pub(super) fn order(
        &mut self,
        now: Instant,
        from: Local,
        to: SocketAddr,
        len: usize,
        out: &mut [u8],
    ) -> Option<(SocketAddr, usize)> {
        let mut answer = [0; MAX_ANSWER];
        let answer = answer.get_mut(..len)?;
        answer.copy_from_slice(&out[..len]);
        self.sent += 1;
        let mut number = [0; 24];
        number[..8].copy_from_slice(&self.sender.to_be_bytes());
        number[8..16].copy_from_slice(&self.sent.to_be_bytes());
        number[16..].copy_from_slice(&self.clock.unix_ms(now).to_be_bytes());
        let mut random = [0; 12];
        random.copy_from_slice(&number[4..16]);
        let mut writer = Writer::new(out, Class::Indication, ORDER, TransactionId::new(random));
        writer
            .attribute(NUMBER, &number)
            .address(AttributeType::RESPONSE_ADDRESS, to)
            .attribute(AttributeType::CHANGE_REQUEST, &Change { ip: false, port: from.second_port }.value())
            .attribute(DATA, answer)
            .integrity_sha256(&self.key.0);
        Some((self.address, writer.finish().ok()?))
    }

    /// Takes an order. `None` if it is not the partner's, not fresh, or has been taken.
    pub(super) fn accept<'a>(&mut self, now: Instant, bytes: &'a [u8]) -> Option<Order<'a>> {
        let message = Message::read(bytes).ok().filter(|message| message.method() == ORDER)?;
        message.attribute(AttributeType::MESSAGE_INTEGRITY_SHA256)?;
        match message.integrity(&self.key.0) {
            Integrity::Right => {}
            Integrity::Absent | Integrity::Wrong => return None,
        }
        let number = <&[u8; 24]>::try_from(message.value(NUMBER)?).ok()?;
        let word = |at: usize| number[at..at + 8].iter().fold(0, |word: u64, byte| word << 8 | u64::from(*byte));
        let [sender, count, unix_ms] = [0, 8, 16].map(word);
        if self.clock.unix_ms(now).abs_diff(unix_ms) > TOLERANCE_MS || !self.is_new(now, sender, count) {
            return None;
        }
        let to = address::read(message.value(AttributeType::RESPONSE_ADDRESS)?)?;
        let change = Change::read(message.value(AttributeType::CHANGE_REQUEST)?)?;
        Some(Order { from: Local { second_ip: false, second_port: change.port }, to, bytes: message.value(DATA)? })
    }

    /// Notes a number; false if it has been seen, or is too old to know.
    fn is_new(&mut self, now: Instant, id: u64, count: u64) -> bool {
        let Some(sender) = self.senders.iter_mut().find(|sender| sender.id == id) else {
            if self.senders.len() == MAX_SENDERS {
                let oldest = (0..MAX_SENDERS).min_by_key(|&at| self.senders[at].heard).unwrap_or(0);
                self.senders.swap_remove(oldest);
            }
            self.senders.push(Sender { id, highest: count, window: 1, heard: now });
            return true;
        };
        sender.heard = now;
        if count > sender.highest {
            let ahead = count - sender.highest;
            sender.window = if ahead < 64 { sender.window << ahead | 1 } else { 1 };
            sender.highest = count;
            return true;
        }
        let behind = sender.highest - count;
        let bit = if behind < 64 { 1 << behind } else { return false };
        let is_new = sender.window & bit == 0;
        sender.window |= bit;
        is_new
    }
}
