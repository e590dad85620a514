//! A new flow's translation is decided once, by the nat table or as none, and its packets are made to look so
//! (`nf_nat_inet_fn`).

use super::{Passage, Walk, name};
use crate::conntrack::{Seen, Untranslated};
use crate::headers::Family;
use crate::interface::InterfaceId;
use crate::nat::{Manip, Range};
use crate::router::{Packet, Reason};
use crate::rules::{Decision, Hook, TableName, Translation};
use crate::status::{CtInfo, Direction, Status};
use crate::tuple::Address;
use crate::watch::{Topic, Watch};

impl<A: Family, W: Watch> Walk<'_, A, W> {
    /// Decides a new flow's translation, and makes the packet look so (`nf_nat_inet_fn`).
    #[inline]
    pub(super) fn translate(
        &mut self,
        hook: Hook,
        packet: &mut Packet,
        passage: &mut Passage<A>,
    ) -> Result<(), Reason> {
        let Seen::Flow { at, info } = passage.seen else { return Ok(()) };
        let manip = manip_at(hook);
        if self.stack.translates {
            let is_error = matches!(info, CtInfo::Related | CtInfo::RelatedReply)
                && pinhole_wire::Protocol::from(passage.headers.protocol) == A::ICMP;
            let is_first = matches!(info, CtInfo::New | CtInfo::Related) && !is_error;
            if is_first && !self.stack.conntrack.is_decided(at, manip) {
                self.decide(hook, manip, at, packet, passage)?;
            } else if !is_error {
                self.stays(at, info, hook, passage)?;
            }
        } else {
            return Ok(());
        }
        let Passage { headers, seen, .. } = passage;
        let translated = self.stack.conntrack.translate(&mut packet.bytes, headers, *seen, manip, self.watch);
        translated.map_err(|untranslated| match untranslated {
            Untranslated::IcmpError(refused) => Reason::IcmpError(refused),
            Untranslated::TooShort => Reason::TooShort,
        })
    }

    /// A masqueraded flow must not leave by another interface than before (`nf_nat_oif_changed`).
    #[inline]
    fn stays(&mut self, at: u32, info: CtInfo, hook: Hook, passage: &Passage<A>) -> Result<(), Reason> {
        let masquerade = self.stack.conntrack.table.flow(at).masquerade;
        let leaves = hook == Hook::PostRouting && info.direction() == Direction::Original;
        if leaves && masquerade.is_some() && masquerade != passage.output {
            self.stack.conntrack.table.flow_mut(at).status |= Status::DYING;
            let [old, new] = [masquerade, passage.output].map(|id| name(self.interfaces, id));
            self.watch.note(Topic::Nat, || {
                format!("its flow is masqueraded behind {old}, and it leaves by {new}: the flow and the packet go")
            });
            return Err(Reason::OtherInterface);
        }
        Ok(())
    }

    /// Asks the nat table how a new flow is translated.
    fn decide(
        &mut self,
        hook: Hook,
        manip: Manip,
        at: u32,
        packet: &mut Packet,
        passage: &mut Passage<A>,
    ) -> Result<(), Reason> {
        let now = passage.now;
        let length = packet.bytes.len() as u32;
        let decision = match self.stack.rules.run_empty(TableName::Nat, hook, length, self.watch) {
            Some(decision) => decision,
            None => self.run(TableName::Nat, hook, packet, passage),
        };
        match decision {
            Decision::Accept => {}
            Decision::Drop => return Err(Reason::Rule(TableName::Nat, hook)),
            Decision::Reject(_) => return Err(Reason::Rejected(TableName::Nat, hook)),
            Decision::Nat(translation) => {
                let range = match translation {
                    Translation::To(_, range) => range,
                    Translation::Masquerade(range) => {
                        let own = self.address_of(passage.output);
                        self.note_own("masquerade", passage.output, own);
                        let own = own.ok_or(Reason::NoAddress)?;
                        self.stack.conntrack.table.flow_mut(at).masquerade = passage.output;
                        Range { addresses: Some((own, own)), ..range }
                    }
                    Translation::Redirect(range) => {
                        let own = match hook {
                            Hook::Output => loopback::<A>(),
                            Hook::PreRouting | Hook::Input | Hook::Forward | Hook::PostRouting => {
                                self.address_of(passage.input)
                            }
                        };
                        self.note_own("redirect", passage.input, own);
                        let own = own.ok_or(Reason::NoAddress)?;
                        Range { addresses: Some((own, own)), ..range }
                    }
                };
                let manip = translation.manip();
                self.note(Topic::Nat, || format!("the rule allows as {manip}: {range}"));
                self.stack.conntrack.decide(now, at, &range, manip, self.watch);
            }
        }
        if !self.stack.conntrack.is_decided(at, manip) {
            self.stack.conntrack.bind_as_is(now, at, manip, self.watch);
        }
        Ok(())
    }

    /// Says which of the router's addresses is used.
    #[inline]
    fn note_own(&mut self, what: &str, id: Option<InterfaceId>, own: Option<A>) {
        let interface = name(self.interfaces, id);
        self.watch.note(Topic::Nat, || match own {
            Some(own) => format!("{what}: the address of {interface} is {own}"),
            None => format!("{what}: {interface} has no address"),
        });
    }
}

fn loopback<A: Address>() -> Option<A> {
    A::of(core::net::Ipv4Addr::LOCALHOST.into()).or_else(|| A::of(core::net::Ipv6Addr::LOCALHOST.into()))
}

const fn manip_at(hook: Hook) -> Manip {
    match hook {
        Hook::PreRouting | Hook::Output => Manip::Destination,
        Hook::Input | Hook::Forward | Hook::PostRouting => Manip::Source,
    }
}
