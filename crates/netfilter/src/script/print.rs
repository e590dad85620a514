//! Writes a script, as [`parse`](super::parse) reads it.

use core::fmt;

use pinhole_wire::text;

use super::{EntryExpect, Expect, Item, Line, ProtocolView, Script};
use crate::status::Status;

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lines.iter().try_for_each(|line| writeln!(f, "{line}"))
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let said = self.item.to_string();
        match &self.comment {
            None => f.write_str(&said),
            Some(comment) if said.is_empty() => write!(f, "#{comment}"),
            // The end of a block takes no comment: it would be read as a rule.
            Some(comment) => match said.split_once('\n') {
                None => write!(f, "{said}  #{comment}"),
                Some((first, rest)) => write!(f, "{first}  #{comment}\n{rest}"),
            },
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => Ok(()),
            Self::Set(name, value) => write!(f, "set {name} {value}"),
            Self::Address(side, net) => write!(f, "address {side} {net}"),
            Self::Route(side, net) => write!(f, "route {side} {net}"),
            Self::Rules(family, text) => write!(f, "rules {}\n{text}end", family.name()),
            Self::Wait(wait) => write!(f, "+{}", wait.as_micros() as f64 / 1e6),
            Self::Flush => f.write_str("flush"),
            Self::Age(seconds) => write!(f, "age {seconds}"),
            Self::Inject(side, packet) => write!(f, "{side} > {}", text::write(packet)),
            Self::Expect(expect) => write!(f, "  {expect}"),
        }
    }
}

impl fmt::Display for Expect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Drop => f.write_str("drop"),
            Self::Delivered => f.write_str("delivered"),
            Self::Output(output) => write!(f, "{} < {}", output.side, text::write(&output.packet)),
            Self::Info(info) => write!(f, "info {info}"),
            Self::Unseen => f.write_str("info -"),
            Self::NoEntry => f.write_str("ct: none"),
            Self::Entry(entry) => write!(f, "ct:{entry}"),
        }
    }
}

impl fmt::Display for EntryExpect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(state) = self.state {
            write!(f, " {} {}", state.0, ProtocolView::state_name(state))?;
        }
        if let Some(timeout) = self.timeout_s {
            write!(f, " timeout {timeout}")?;
        }
        match self.status {
            None => {}
            Some(0) => f.write_str(" status 0")?,
            Some(bits) => write!(f, " status {}", Status(bits))?,
        }
        if let Some([original, reply]) = self.scale {
            write!(f, " scale {original}/{reply}")?;
        }
        if let Some([original, reply]) = self.flags {
            write!(f, " flags {original:#x}/{reply:#x}")?;
        }
        if let Some([original, reply]) = self.tags {
            write!(f, " tags {original:#x}/{reply:#x}")?;
        }
        if let Some(mark) = self.mark {
            write!(f, " mark {mark:#x}")?;
        }
        if let Some(helper) = &self.helper {
            write!(f, " helper {helper}")?;
        }
        if let Some(original) = self.original {
            write!(f, " original ({original})")?;
        }
        if let Some(reply) = self.reply {
            write!(f, " reply ({reply})")?;
        }
        Ok(())
    }
}
