//! IRC's direct client connections: a client tells another one, through the server, where it waits for it
//! (`nf_conntrack_irc.c`, `nf_nat_irc.c`).
//!
//! `PRIVMSG friend :\x01DCC SEND file 167772162 40000 1234\x01`: the address is one decimal number.
//!
//! Behind NAT whoever comes seems to come from the IRC server, because the child follows its master (measured on Linux 6.18).

use core::ops::Range;

use super::text::starts_with;
use super::{Call, Desk, Helper, Outcome, TCP, Text};
use crate::expect::{ChildNat, Policy};
use crate::status::Direction;
use crate::tuple::Address;
use crate::watch::Watch;

/// How much of a segment is looked through (`MAX_SEARCH_SIZE`).
const MAX_SEARCH: usize = 4_095;
/// `PRIVMSG x `.
const SHORTEST_PREFIX: usize = 10;
/// ` :\x01DCC SEND t AAAAAAAA P\x01\n`.
const SHORTEST_OFFER: usize = 26;
/// `AAAAAAAA P\x01\n`.
const SHORTEST_ENDPOINT: usize = 12;
/// What may be offered.
const OFFERS: [&[u8]; 5] = [b"SEND ", b"CHAT ", b"MOVE ", b"TSEND ", b"SCHAT "];

pub(super) fn inspect<A: Address, W: Watch>(call: &Call<'_, A>, desk: &mut Desk<'_, A, W>) -> Outcome<A> {
    if call.direction() == Direction::Reply || !call.is_established() || !A::IS_V4 {
        return Outcome::ACCEPT;
    }
    let Some(segment) = call.segment() else { return Outcome::ACCEPT };
    let text = segment.payload();
    let Some(endpoint) = find(&text[..text.len().min(MAX_SEARCH)]) else { return Outcome::ACCEPT };
    let address = A::of_number(endpoint.address.into());
    let is_own = address == call.own().src || address == call.other().dst;
    if !is_own || endpoint.port == 0 {
        desk.note(|| format!("{address} port {} is not the sender's, {}: ignored", endpoint.port, call.own().src));
        return Outcome::ACCEPT;
    }
    offered(call, &endpoint, desk)
}

fn offered<A: Address, W: Watch>(call: &Call<'_, A>, endpoint: &Endpoint, desk: &mut Desk<'_, A, W>) -> Outcome<A> {
    let address = A::of_number(endpoint.address.into());
    desk.note(|| format!("a client is told to come to {address} port {}", endpoint.port));
    let policy = Policy { max: call.settings.irc_max_channels, timeout: call.settings.irc_timeout };
    let seen_at = call.other().dst;
    let mut expectation = call.expectation(Helper::Irc, TCP, (None, None), (seen_at, endpoint.port));
    if !call.is_translated() {
        return match desk.expect(expectation, policy) {
            Some(_) => Outcome::ACCEPT,
            None => Outcome::DROP,
        };
    }
    expectation.nat = ChildNat::FollowMaster { direction: Direction::Reply, port: endpoint.port };
    match desk.expect_at_free_port(expectation, policy) {
        Some(port) => {
            let text = Text::new(format_args!("{} {port}", seen_at.to_number() as u32));
            desk.note(|| format!("the text becomes {text:?}"));
            Outcome::edit(endpoint.range.clone(), text)
        }
        None => Outcome::DROP,
    }
}

/// An address and port in a text.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Endpoint {
    address: u32,
    port: u16,
    /// Where both are.
    range: Range<usize>,
}

/// The first offer with an endpoint in it; the second of two is not looked at, whosever the first is.
fn find(text: &[u8]) -> Option<Endpoint> {
    let mut at = text.iter().take_while(|byte| matches!(byte, b' ' | b'\r' | b'\n')).count();
    if at + SHORTEST_PREFIX >= text.len() || !starts_with(&text[at..], b"PRIVMSG ") {
        return None;
    }
    at += b"PRIVMSG ".len();
    while at + SHORTEST_OFFER < text.len() {
        if !text[at..].starts_with(b" :") {
            at += 1;
            continue;
        }
        at += 2;
        // Only at the start of the message.
        if !text[at..].starts_with(b"\x01DCC ") {
            return None;
        }
        at += b"\x01DCC ".len();
        for offer in OFFERS {
            if text[at..].starts_with(offer) {
                at += offer.len();
                if let Some(endpoint) = endpoint(text, at) {
                    return Some(endpoint);
                }
            }
        }
    }
    None
}

/// `file 167772162 40000` and a line end some time later.
fn endpoint(text: &[u8], at: usize) -> Option<Endpoint> {
    let name_end = at + text[at..].iter().position(|&byte| byte == b' ')?;
    let start = name_end + 1;
    if start + SHORTEST_ENDPOINT > text.len() {
        return None;
    }
    let line = start + text[start..].iter().position(|&byte| byte == b'\n')?;
    let (address, address_end) = digits(&text[..line], start);
    let blanks = text[address_end..line].iter().take_while(|&&byte| byte == b' ').count();
    let (port, end) = digits(&text[..line], address_end + blanks);
    Some(Endpoint { address: address as u32, port: port as u16, range: start..end })
}

/// The number at `at`, of which only the lowest bits count, and where it ends; zero if there is none.
fn digits(text: &[u8], at: usize) -> (u64, usize) {
    let digits = text[at..].iter().take_while(|byte| byte.is_ascii_digit());
    digits.fold((0, at), |(value, end), digit| (value.wrapping_mul(10).wrapping_add(u64::from(digit - b'0')), end + 1))
}

#[cfg(test)]
mod tests;
