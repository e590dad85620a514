//! FTP (RFC 959, RFC 2428): each file has a connection of its own, whose address and port are agreed upon in the text of the
//! control connection (`nf_conntrack_ftp.c`, `nf_nat_ftp.c`).
//!
//! The client says `PORT 10,0,0,2,156,64` or `EPRT |1|10.0.0.2|40000|` and the server will come; or the server answers `227
//! Entering Passive Mode (192,0,2,1,156,64)` or `229 Entering Extended Passive Mode (|||40000|)` and the client will come.

mod commands;
mod lines;

pub use commands::Numbers;
use commands::{Form, Found};
pub use lines::Lines;

use super::{Call, Desk, Helper, Outcome, TCP, Text};
use crate::expect::{ChildNat, Policy};
use crate::tuple::Address;
use crate::watch::Watch;

/// `ftp_exp_policy`.
const POLICY: Policy = Policy::new(1, 300);

pub(super) fn inspect<A: Address, W: Watch>(
    call: &Call<'_, A>,
    lines: &mut Lines,
    desk: &mut Desk<'_, A, W>,
) -> Outcome<A> {
    if !call.is_established() {
        return Outcome::ACCEPT;
    }
    let Some(segment) = call.segment() else { return Outcome::ACCEPT };
    let (direction, payload) = (call.direction(), segment.payload());
    let begins_line = lines.begins(direction, segment.seq());
    let mut outcome = if begins_line {
        match commands::find(payload, direction, call.own().src, call.settings.ftp_numbers) {
            Found::Nothing => Outcome::ACCEPT,
            // Else the rest of the command would pass unseen in the next segment.
            Found::Part(command) => {
                desk.note(|| format!("{command} begins here, and what follows is missing or wrong: dropped"));
                return Outcome { gathers: true, ..Outcome::DROP };
            }
            Found::Whole(command) => announced(call, &command, desk),
        }
    } else {
        desk.note(|| "no line begins here: not looked at".to_owned());
        Outcome::ACCEPT
    };
    if payload.last() == Some(&b'\n') {
        lines.ended(direction, segment.seq().wrapping_add(payload.len() as u32));
    }
    outcome.gathers = true;
    outcome
}

/// What is expected after an address and port were announced, and what the other side is told instead.
fn announced<A: Address, W: Watch>(
    call: &Call<'_, A>,
    command: &commands::Command<A>,
    desk: &mut Desk<'_, A, W>,
) -> Outcome<A> {
    let (own, other) = (call.own(), call.other());
    desk.note(|| format!("{} announces {} port {}", command.form, command.address, command.port));
    let seen_at = if command.address == own.src {
        other.dst
    } else if call.settings.ftp_loose {
        command.address
    } else {
        desk.note(|| format!("{} is not the sender, {}: ignored", command.address, own.src));
        return Outcome::ACCEPT;
    };
    let mut expectation = call.expectation(Helper::Ftp, TCP, (Some(other.src), None), (seen_at, command.port));
    if !call.is_translated() {
        return match desk.expect(expectation, POLICY) {
            Some(_) => Outcome::ACCEPT,
            None => Outcome::DROP,
        };
    }
    // Whoever comes, comes to where this packet seems to come from.
    expectation.nat = ChildNat::FollowMaster { direction: !call.direction(), port: command.port };
    match desk.expect_at_free_port(expectation, POLICY) {
        Some(port) => {
            let text = command.form.write(other.dst, port);
            desk.note(|| format!("the text becomes {text:?}"));
            Outcome::edit(command.range.clone(), text)
        }
        None => Outcome::DROP,
    }
}

impl Form {
    /// The text that announces an address and port in this form (`nf_nat_ftp_fmt_cmd`).
    fn write<A: Address>(self, address: A, port: u16) -> Text {
        let number = address.to_number();
        match self {
            Self::Port | Self::Pasv => {
                let [a, b, c, d] = (number as u32).to_be_bytes();
                Text::new(format_args!("{a},{b},{c},{d},{},{}", port >> 8, port & 0xff))
            }
            Self::Eprt if A::IS_V4 => Text::new(format_args!("|1|{address}|{port}|")),
            // The kernel's %pI6: nothing left out.
            Self::Eprt => {
                let [a, b, c, d, e, f, g, h] = core::net::Ipv6Addr::from_bits(number).segments();
                Text::new(format_args!("|2|{a:04x}:{b:04x}:{c:04x}:{d:04x}:{e:04x}:{f:04x}:{g:04x}:{h:04x}|{port}|"))
            }
            Self::Epsv => Text::new(format_args!("|||{port}|")),
        }
    }
}

#[cfg(test)]
mod tests;
