//! What differs between kernels, as values: a version is a constant, and code asks for the difference, not for the version.

use crate::tuple;

/// The behaviour of one kernel version, where versions differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Personality {
    /// The version as people write it.
    pub name: &'static str,
    /// What a RST inside the window does to an established flow's timeout.
    pub inexact_rst: InexactRst,
    /// Protocols whose clashes at confirm are resolved; empty in 2.6, where every clash drops.
    pub clash: Clash,
    /// Whether a packet joins the flow that it clashes with if that was never looked at for NAT, whatever its other tuple is.
    pub joins_untranslated: bool,
    /// Whether a flow keeps its ports although another one, untranslated, is exactly its reverse.
    pub spares_reverse: bool,
    /// Whether the search for a port evicts flows that are as good as over.
    pub evicts_closing: bool,
    /// Whether UDP-Lite has its own tracker (else it is generic).
    pub udp_lite: bool,
    /// Whether DCCP has its own tracker (else it is generic).
    pub dccp: bool,
    /// Whether numbers of FTP's commands that are too large make them wrong (else they lose their highest bits).
    pub ftp_checks_numbers: bool,
    /// Whether a limit of zero entries refuses everything (else it is no limit).
    pub zero_max_refuses: bool,
    /// Whether helpers are attached by port without a rule.
    pub automatic_helpers: bool,
    /// How a free port is looked for.
    pub port_search: PortSearch,
    /// Which entries may be dropped early for a new one.
    pub early_drop: EarlyDrop,
    /// Whether packets of the host itself pass source NAT in LOCAL_IN.
    pub nat_local_in: bool,
}

/// The timeout after a RST that is in the window but not exactly the next sequence number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InexactRst {
    /// Every RST takes the CLOSE timeout, even if the state stays.
    Close,
    /// Only if the flow stays ESTABLISHED: not more than UNACK's.
    CappedToUnacknowledged,
}

/// Whose clashes at confirm are resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Clash {
    /// Nobody's.
    Never,
    /// UDP, GRE and generic.
    Datagrams,
    /// These, and ICMP.
    DatagramsAndIcmp,
}

/// How a free port is looked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortSearch {
    /// From a static counter through the whole range, one after another.
    Sequential,
    /// From a random start up to 128 ports, then new starts with 64, 32, 16 and 8.
    Windows,
}

/// Which entries may be dropped early for a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EarlyDrop {
    /// The oldest of the same bucket that is not ASSURED.
    SameBucket,
    /// Those of the first of eight buckets that has any that is not ASSURED.
    EightBuckets,
}

impl Personality {
    /// Linux 2.6.14 to 2.6.16: `ip_conntrack`.
    pub const V2_6: Self = Self {
        name: "2.6",
        inexact_rst: InexactRst::Close,
        clash: Clash::Never,
        joins_untranslated: false,
        spares_reverse: false,
        evicts_closing: false,
        udp_lite: false,
        dccp: false,
        ftp_checks_numbers: false,
        zero_max_refuses: false,
        automatic_helpers: true,
        port_search: PortSearch::Sequential,
        early_drop: EarlyDrop::SameBucket,
        nat_local_in: false,
    };

    /// Linux 6.1.
    pub const V6_1: Self = Self {
        name: "6.1",
        clash: Clash::Datagrams,
        joins_untranslated: true,
        udp_lite: true,
        dccp: true,
        automatic_helpers: false,
        port_search: PortSearch::Windows,
        early_drop: EarlyDrop::EightBuckets,
        nat_local_in: true,
        ..Self::V2_6
    };

    /// Linux 6.12 as its stable series has become: 6.12.117 treats inexact resets as 7.3 does.
    pub const V6_12: Self = Self {
        name: "6.12",
        joins_untranslated: false,
        spares_reverse: true,
        evicts_closing: true,
        inexact_rst: InexactRst::CappedToUnacknowledged,
        ftp_checks_numbers: true,
        ..Self::V6_1
    };

    /// Linux 6.18, what our tests run on (6.18.44).
    pub const V6_18: Self =
        Self { name: "6.18", dccp: false, inexact_rst: InexactRst::Close, ftp_checks_numbers: false, ..Self::V6_12 };

    /// Linux 7.3.
    pub const V7_3: Self = Self {
        name: "7.3",
        inexact_rst: InexactRst::CappedToUnacknowledged,
        clash: Clash::DatagramsAndIcmp,
        udp_lite: false,
        ftp_checks_numbers: true,
        zero_max_refuses: true,
        ..Self::V6_18
    };

    /// All of them, oldest first.
    pub const ALL: [Self; 5] = [Self::V2_6, Self::V6_1, Self::V6_12, Self::V6_18, Self::V7_3];

    /// The newest personality that is not newer than a kernel's release, as `uname -r` gives it: `6.12.117+deb13-amd64`.
    pub fn of_release(release: &str) -> Option<Self> {
        let version = version_of(release)?;
        Self::ALL.into_iter().rev().find(|personality| version_of(personality.name) <= Some(version))
    }

    /// Whether flows of an IP protocol have ports: a tracker that the kernel has not does not read them, nor does NAT
    /// (`nf_ct_get_tuple`, `l4proto_manip_pkt`).
    #[inline]
    pub const fn has_ports(&self, protocol: u8) -> bool {
        match protocol {
            6 | 17 | tuple::SCTP => true,
            tuple::UDP_LITE => self.udp_lite,
            tuple::DCCP => self.dccp,
            _ => false,
        }
    }

    /// The personality that people call `name`.
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|personality| personality.name == name)
    }
}

/// The first two numbers of a release.
fn version_of(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

impl Default for Personality {
    fn default() -> Self {
        Self::V6_18
    }
}
