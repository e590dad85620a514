//! Which NAT each layer is, as far as servers outside can tell, who see all of them together.
//!
//! | what is seen together | what each is |
//! |---|---|
//! | an endpoint-independent mapping, ports that are kept, a filter that lets in everybody | each is so: any other would spoil it |
//! | a dependent mapping, a strict filter | none is stricter, and one of them is it |
//! | with the first hop's filter opened by packets that die behind it, [another filter](Nat::filtering_beyond) | that is the filter of the rest; the first hop's is the strict one |
//! | that such packets open the mapping that servers see, at another address | the first hop's mapping is endpoint-independent, and the dependent one is that of the rest |
//! | the filter opens where packets die at the first router | it is this host's own, and the NATs have none |
//! | packets to the own mapping come back | the outermost turns them around |
//!
//! What neither excludes stays [`AtMost`](Share::AtMost), or unknown.

use super::facts::Dependence::EndpointIndependent;
use super::facts::{Allocation, Dependence, Nat};

/// What is known of one NAT.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Kind {
    /// On what its mappings depend.
    pub mapping: Share,
    /// On what its filter depends.
    pub filtering: Share,
    /// How it chooses ports.
    pub allocation: Option<Allocation>,
    /// Whether packets to a mapping of its own come back.
    pub hairpin: Option<bool>,
}

/// What is known of the part that one NAT has in what all of them do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Share {
    /// Nothing.
    #[default]
    Unknown,
    /// It depends on this or on less.
    AtMost(Dependence),
    /// On this.
    Exactly(Dependence),
}

impl Share {
    /// The value, if there is one.
    pub const fn exactly(self) -> Option<Dependence> {
        match self {
            Self::Exactly(value) => Some(value),
            Self::AtMost(_) | Self::Unknown => None,
        }
    }

    fn at_most(whole: Option<Dependence>) -> Self {
        match whole {
            Some(EndpointIndependent) => Self::Exactly(EndpointIndependent),
            Some(whole) => Self::AtMost(whole),
            None => Self::Unknown,
        }
    }

    fn of(whole: Option<Dependence>) -> Self {
        whole.map_or(Self::Unknown, Self::Exactly)
    }
}

/// Of the NATs on the way, `count` of them, what each is, the nearest first.
pub(super) fn of(nat: &Nat, count: usize) -> Vec<Kind> {
    let filtering = match nat.outermost_filter {
        Some(0) => Some(EndpointIndependent),
        Some(_) | None => nat.filtering,
    };
    match count {
        0 => Vec::new(),
        1 => vec![Kind {
            mapping: Share::of(nat.mapping),
            filtering: Share::of(filtering),
            allocation: nat.allocation,
            hairpin: nat.hairpin,
        }],
        _ => several(nat, filtering, count),
    }
}

/// The first, and the rest as one.
fn several(nat: &Nat, filtering: Option<Dependence>, count: usize) -> Vec<Kind> {
    let allocation = nat.allocation.filter(|allocation| *allocation == Allocation::Preserving);
    let between =
        Kind { mapping: Share::at_most(nat.mapping), filtering: Share::at_most(filtering), allocation, hairpin: None };
    let mut kinds = vec![between; count];
    let beyond = nat.filtering_beyond.filter(|_| filtering != Some(EndpointIndependent));
    if let (Some(whole), Some(beyond)) = (filtering, beyond) {
        kinds[0].filtering = if beyond < whole { Share::Exactly(whole) } else { Share::AtMost(whole) };
        rest(&mut kinds, |kind| &mut kind.filtering, beyond);
    }
    if let (Some(whole), Some(EndpointIndependent)) = (nat.mapping, beyond)
        && whole != EndpointIndependent
    {
        kinds[0].mapping = Share::Exactly(EndpointIndependent);
        rest(&mut kinds, |kind| &mut kind.mapping, whole);
    }
    kinds[count - 1].hairpin = nat.hairpin;
    kinds
}

/// All but the first together are `whole`: if that is one, it is it.
fn rest(kinds: &mut [Kind], of: impl Fn(&mut Kind) -> &mut Share, whole: Dependence) {
    let is_one = kinds.len() == 2;
    for kind in &mut kinds[1..] {
        *of(kind) = if is_one { Share::Exactly(whole) } else { Share::at_most(Some(whole)) };
    }
}

#[cfg(test)]
mod tests;
