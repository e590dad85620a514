//! What of a message is rewritten under NAT (`nf_nat_sip.c`).

use std::borrow::Cow;

use core::net::IpAddr;
use core::ops::Range;

use super::header::{self, Brackets, Header, Uri, Uris};
use super::sdp;
use crate::helper::{Call, Edit, TCP, Text};
use crate::tuple::Address;

/// A message that is rewritten in place, as in Linux: who looks for something next finds what was written, and may write it
/// anew.
pub struct Paper<'a>(Cow<'a, [u8]>);

impl<'a> Paper<'a> {
    /// The message as it came.
    pub fn new(text: &'a [u8]) -> Self {
        Self(Cow::Borrowed(text))
    }

    /// The message as it is now.
    pub fn text(&self) -> &[u8] {
        &self.0
    }

    /// What has become of the message that began at `base` of the payload, if anything has: the part that differs.
    pub fn edit(self, base: usize, original: &[u8]) -> Option<Edit> {
        let text = self.0;
        let same = |(one, other): &(&u8, &u8)| one == other;
        let front = text.iter().zip(original).take_while(same).count();
        let back = text[front..].iter().rev().zip(original[front..].iter().rev()).take_while(same).count();
        let range = front..original.len() - back;
        let becomes = &text[front..text.len() - back];
        (!range.is_empty() || !becomes.is_empty())
            .then(|| Edit { range: base + range.start..base + range.end, text: becomes.to_vec() })
    }

    /// Writes an address and a port.
    pub fn endpoint<A: Address>(&mut self, range: Range<usize>, address: A, port: u16) {
        self.replace(range, Text::new(format_args!("{}:{port}", in_brackets(address))));
    }

    /// Writes a port in the description of streams. `false` if the length of that is not said.
    #[must_use]
    pub fn port(&mut self, range: Range<usize>, port: u16) -> bool {
        self.replace(range, Text::new(format_args!("{port}")));
        self.write_length()
    }

    /// Writes the address of the line of this kind behind `from` of the description, as descriptions have it: without brackets.
    /// `false` if there is none.
    #[must_use]
    pub fn address<A: Address>(&mut self, from: usize, kind: &[u8; 2], address: A) -> bool {
        let Some(place) = sdp::place::<A>(self.text(), from, kind) else { return false };
        self.replace(place.range, Text::new(format_args!("{address}")));
        true
    }

    /// Says anew how long the description is. `false` if that was not said.
    #[must_use]
    pub fn write_length(&mut self) -> bool {
        let Some(start) = sdp::start(self.text()) else { return false };
        let Some((_, digits)) = header::number_in(self.text(), Header::ContentLength) else { return false };
        self.replace(digits, Text::new(format_args!("{}", self.0.len() - start)));
        true
    }

    /// Rewrites where the flow's own ends stand in the request line, in Via and its parameters, Contact, From and To.
    pub fn rewrite_headers<A: Address>(&mut self, call: &Call<'_, A>, listens_at: Option<u16>) {
        // NAT does not look at what stands behind the version (`nf_nat_sip`; measured on 6.18).
        let is_request = !crate::helper::text::starts_with(self.text(), b"SIP/2.0");
        if is_request && let Some(uri) = header::request_uri::<A>(self.text()) {
            self.map(call, &uri, listens_at);
        }
        let own = call.own();
        let via = if own.protocol == TCP { Header::ViaTcp } else { Header::ViaUdp };
        let end = if is_request { (own.src, own.src_id) } else { (own.dst, own.dst_id) };
        if let Some(via) = header::uri::<A>(self.text(), via).filter(|via| (via.address, via.port) == end) {
            let behind = self.map(call, &via, listens_at);
            self.rewrite_parameters(call, behind);
        }
        // Linux looks for the next one where this one ended before it was rewritten.
        let mut contacts = Uris::new(Header::Contact);
        while let Some(contact) = contacts.next::<A>(self.text()) {
            self.map(call, &contact, listens_at);
        }
        for header in [Header::From, Header::To] {
            if let Some(uri) = header::uri::<A>(self.text(), header) {
                self.map(call, &uri, listens_at);
            }
        }
    }

    /// Where to answer, and where the server says that a request came from: `maddr`, `received` and `rport` of Via.
    fn rewrite_parameters<A: Address>(&mut self, call: &Call<'_, A>, from: usize) {
        let (own, other) = (call.own(), call.other());
        let addresses: [(&[u8], Brackets, A, A); 2] =
            [(b"maddr=", Brackets::Must, own.src, other.dst), (b"received=", Brackets::May, own.dst, other.src)];
        for (name, brackets, old, new) in addresses {
            let place = header::parameter(self.text(), from, name);
            let found = place.and_then(|at| Some((at, header::address::<A>(self.text(), at, brackets)?)));
            if let Some((at, (address, end))) = found
                && address == old
                && old != new
            {
                let text = match brackets {
                    Brackets::Must => in_brackets(new),
                    Brackets::May => Text::new(format_args!("{new}")),
                };
                self.replace(at..end, text);
            }
        }
        let rport = header::parameter(self.text(), from, b"rport=").and_then(|at| header::number(self.text(), at));
        if let Some((port, digits)) = rport
            && port == u32::from(own.dst_id)
            && own.dst_id != other.src_id
        {
            self.replace(digits, Text::new(format_args!("{}", other.src_id)));
        }
    }

    /// Replaces an end of the flow by what it is on the other side; says where the text behind it begins.
    fn map<A: Address>(&mut self, call: &Call<'_, A>, uri: &Uri<A>, listens_at: Option<u16>) -> usize {
        let (own, other, here) = (call.own(), call.other(), (uri.address, uri.port));
        let (address, port) = if here == (own.src, own.src_id) {
            (other.dst, other.dst_id)
        } else if here == (own.dst, own.dst_id) {
            (other.src, listens_at.unwrap_or(other.src_id))
        } else {
            here
        };
        let behind = self.0.len() - uri.range.end;
        if (address, port) != here {
            self.endpoint(uri.range.clone(), address, port);
        }
        self.0.len() - behind
    }

    fn replace(&mut self, range: Range<usize>, text: Text) {
        self.0.to_mut().splice(range, text.as_bytes().iter().copied());
    }
}

/// As a URI has it.
fn in_brackets<A: Address>(address: A) -> Text {
    match address.into() {
        IpAddr::V4(address) => Text::new(format_args!("{address}")),
        IpAddr::V6(address) => Text::new(format_args!("[{address}]")),
    }
}
