//! What of a message is rewritten under NAT (`nf_nat_sip.c`).

use core::net::IpAddr;
use core::ops::Range;

use super::header::{self, Brackets, Header, Uri, Uris};
use crate::helper::{Call, Edit, TCP, Text};
use crate::tuple::Address;

/// The edits of a packet, of which each place gets one at most.
#[derive(Default)]
pub struct Paper {
    edits: Vec<Edit>,
    /// Where the message begins in the payload; ranges of what is to be replaced count from there.
    base: usize,
}

impl Paper {
    /// The next message begins at `base` of the payload.
    pub fn turn_to(&mut self, base: usize) {
        self.base = base;
    }

    /// Writes an address as descriptions have it: without brackets.
    pub fn address<A: Address>(&mut self, range: Range<usize>, address: A) {
        self.replace(range, Text::new(format_args!("{address}")));
    }

    /// Writes an address and a port; says by how much they are shorter than what was there.
    pub fn endpoint<A: Address>(&mut self, range: Range<usize>, address: A, port: u16) -> usize {
        self.replace(range, Text::new(format_args!("{}:{port}", in_brackets(address))))
    }

    /// Writes a number.
    pub fn number(&mut self, range: Range<usize>, number: usize) {
        self.replace(range, Text::new(format_args!("{number}")));
    }

    /// How long what begins at `start` of the message, which is `len` long, is after the edits.
    pub fn len_from(&self, start: usize, len: usize) -> usize {
        let start_here = self.base + start;
        let behind = self.edits.iter().filter(|edit| edit.range.start >= start_here);
        behind.fold(len - start, |len, edit| len + edit.text.as_bytes().len() - edit.range.len())
    }

    /// All edits in order.
    pub fn finish(mut self) -> Vec<Edit> {
        self.edits.sort_by_key(|edit| edit.range.start);
        self.edits
    }

    /// Rewrites where the flow's own ends stand in the request line, in Via and its parameters, Contact, From and To.
    pub fn rewrite_headers<A: Address>(
        &mut self,
        call: &Call<'_, A>,
        text: &[u8],
        is_request: bool,
        listens_at: Option<u16>,
    ) {
        if is_request && let Some(uri) = header::request_uri::<A>(text) {
            self.map(call, &uri, listens_at);
        }
        let own = call.own();
        let via = if own.protocol == TCP { Header::ViaTcp } else { Header::ViaUdp };
        let end = if is_request { (own.src, own.src_id) } else { (own.dst, own.dst_id) };
        if let Some(via) = header::uri::<A>(text, via).filter(|via| (via.address, via.port) == end) {
            self.map(call, &via, listens_at);
            self.rewrite_parameters(call, text, via.range.end);
        }
        let mut contacts = Uris::new(text, Header::Contact);
        while let Some(contact) = contacts.next::<A>() {
            // Linux looks for the next one where this one ended before it was rewritten.
            contacts.skip(self.map(call, &contact, listens_at));
        }
        for header in [Header::From, Header::To] {
            if let Some(uri) = header::uri::<A>(text, header) {
                self.map(call, &uri, listens_at);
            }
        }
    }

    /// Where to answer, and where the server says that a request came from: `maddr`, `received` and `rport` of Via.
    fn rewrite_parameters<A: Address>(&mut self, call: &Call<'_, A>, text: &[u8], from: usize) {
        let (own, other) = (call.own(), call.other());
        let addresses: [(&[u8], Brackets, A, A); 2] =
            [(b"maddr=", Brackets::Must, own.src, other.dst), (b"received=", Brackets::May, own.dst, other.src)];
        for (name, brackets, old, new) in addresses {
            let place = header::parameter(text, from, name);
            let found = place.and_then(|at| Some((at, header::address::<A>(text, at, brackets)?)));
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
        let rport = header::parameter(text, from, b"rport=").and_then(|at| header::number(text, at));
        if let Some((port, digits)) = rport
            && port == u32::from(own.dst_id)
            && own.dst_id != other.src_id
        {
            self.number(digits, other.src_id.into());
        }
    }

    /// Replaces an end of the flow by what it is on the other side; says by how much that is shorter.
    fn map<A: Address>(&mut self, call: &Call<'_, A>, uri: &Uri<A>, listens_at: Option<u16>) -> usize {
        let (own, other, here) = (call.own(), call.other(), (uri.address, uri.port));
        let (address, port) = if here == (own.src, own.src_id) {
            (other.dst, other.dst_id)
        } else if here == (own.dst, own.dst_id) {
            (other.src, listens_at.unwrap_or(other.src_id))
        } else {
            return 0;
        };
        if (address, port) == here {
            return 0;
        }
        self.endpoint(uri.range.clone(), address, port)
    }

    /// Replaces, where nothing has been replaced yet; says by how much it is shorter now.
    fn replace(&mut self, range: Range<usize>, text: Text) -> usize {
        let range = self.base + range.start..self.base + range.end;
        let is_free = self.edits.iter().all(|edit| edit.range.end <= range.start || range.end <= edit.range.start);
        if !is_free {
            return 0;
        }
        let shorter = range.len().saturating_sub(text.as_bytes().len());
        self.edits.push(Edit { range, text });
        shorter
    }
}

/// As a URI has it.
fn in_brackets<A: Address>(address: A) -> Text {
    match address.into() {
        IpAddr::V4(address) => Text::new(format_args!("{address}")),
        IpAddr::V6(address) => Text::new(format_args!("[{address}]")),
    }
}
