//! The state of a flow, whatever its protocol, and which tracker a protocol has.

use core::time::Duration;

use pinhole_sansio::Instant;
use pinhole_wire::Protocol;

use super::{Change, Context, Dccp, Gre, Judgement, Sctp, Tcp, Udp, Upper, generic, icmp, udp};
use crate::settings::{Settings, Timeouts};
use crate::status::{Direction, Status};
use crate::tuple::{self, Address};
use crate::watch::{Topic, Watch};

/// What a tracker remembers of a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// TCP.
    Tcp(Tcp),
    /// UDP.
    Udp(Udp),
    /// UDP-Lite, where it has a tracker.
    UdpLite,
    /// ICMP queries.
    Icmp,
    /// ICMPv6 queries.
    Icmpv6,
    /// GRE.
    Gre(Gre),
    /// SCTP.
    Sctp(Sctp),
    /// DCCP, where it has a tracker.
    Dccp(Dccp),
    /// Every other protocol.
    Generic,
}

impl State {
    /// The state of a flow that begins with this packet, or nothing if it may not begin one: then it is INVALID.
    /// [`next`](Self::next) is to be asked at once about the same packet.
    pub fn begin<A: Address>(upper: Upper<'_>, settings: &Settings, watch: &mut impl Watch) -> Option<Self> {
        let Upper { protocol, body } = upper;
        match Protocol::from(protocol) {
            Protocol::Tcp => Tcp::begin(body, settings, watch).map(Self::Tcp),
            Protocol::Udp => Some(Self::Udp(Udp::default())),
            Protocol::Icmp | Protocol::Icmpv6 => {
                icmp::may_begin::<A>(upper, watch).then_some(if A::IS_V4 { Self::Icmp } else { Self::Icmpv6 })
            }
            Protocol::Other(tuple::GRE) => Some(Self::Gre(Gre::default())),
            Protocol::Other(tuple::SCTP) => Sctp::begin(body, watch).map(Self::Sctp),
            Protocol::Other(tuple::DCCP) if settings.personality.dccp => {
                Dccp::begin(body, settings, watch).map(Self::Dccp)
            }
            Protocol::Other(tuple::UDP_LITE) if settings.personality.udp_lite => Some(Self::UdpLite),
            Protocol::Other(_) => Some(Self::Generic),
        }
    }

    /// What a packet of this flow does to it. `timeouts` are those of the flow's policy, or those of the settings.
    #[inline]
    pub fn next(
        &mut self,
        upper: Upper<'_>,
        context: &Context<'_>,
        settings: &Settings,
        timeouts: &Timeouts,
        watch: &mut impl Watch,
    ) -> Judgement {
        let body = upper.body;
        let judgement = match self {
            Self::Tcp(tcp) => tcp.next(body, context, settings, timeouts, watch),
            Self::Udp(udp) => udp.next(body, context, timeouts, watch),
            Self::UdpLite => udp::next_lite(body, context, timeouts, watch),
            Self::Icmp => icmp::next(timeouts.icmp),
            Self::Icmpv6 => icmp::next(timeouts.icmpv6),
            Self::Gre(gre) => gre.next(context, timeouts),
            Self::Sctp(sctp) => sctp.next(body, context, timeouts, watch),
            Self::Dccp(dccp) => dccp.next(body, context, timeouts, watch),
            Self::Generic => generic::next(timeouts),
        };
        if let Judgement::Accept(change) = judgement {
            if let Some(timeout) = change.timeout {
                watch.note(Topic::Track, || format!("the flow lives {} s from now on", timeout.as_secs_f64()));
            }
            if change.assured {
                watch.note(Topic::Track, || "the flow becomes ASSURED: it is not dropped early");
            }
        }
        judgement
    }

    /// What a packet does that does what nearly all packets do, and nothing else than to give the flow this long to live; the
    /// state is as it was if the packet is another one. Only for flows without timeouts of their own.
    #[inline(always)]
    pub(crate) fn hurry(
        &mut self,
        upper: Upper<'_>,
        now: Instant,
        direction: Direction,
        status: Status,
        settings: &Settings,
    ) -> Option<Duration> {
        let Upper { protocol, body } = upper;
        if Protocol::from(protocol) == Protocol::Udp {
            udp::settled(body, status, &settings.timeouts)
                .or_else(|| self.hurry_datagram(body, now, direction, status, settings))
        } else if let Self::Tcp(tcp) = self
            && Tcp::may_be_established(status)
        {
            tcp.established(body, direction, settings, &settings.timeouts.tcp, &mut ())
        } else {
            None
        }
    }

    /// The same of a datagram whose flow is not settled yet.
    #[inline(never)]
    fn hurry_datagram(
        &mut self,
        body: &[u8],
        now: Instant,
        direction: Direction,
        status: Status,
        settings: &Settings,
    ) -> Option<Duration> {
        let Self::Udp(udp) = self else { return None };
        let context = Context { now, direction, status, remaining: Duration::ZERO, seqadj: None };
        match udp.next(body, &context, &settings.timeouts, &mut ()) {
            Judgement::Accept(Change { timeout, assured: false, protoinfo: false }) => timeout,
            Judgement::Accept(_)
            | Judgement::Invalid { .. }
            | Judgement::Restart
            | Judgement::Kill
            | Judgement::Drop => None,
        }
    }

    /// The state's name as `conntrack -L` prints it, for protocols that have states.
    pub const fn name(&self) -> Option<&'static str> {
        match self {
            Self::Tcp(tcp) => Some(tcp.state().name()),
            Self::Sctp(sctp) => Some(sctp.state().name()),
            Self::Dccp(dccp) => Some(dccp.state().name()),
            Self::Udp(_) | Self::UdpLite | Self::Icmp | Self::Icmpv6 | Self::Gre(_) | Self::Generic => None,
        }
    }

    /// Whether the flow is about to end, so that it may go early when the table is nearly full (`can_early_drop`).
    pub const fn is_closing(&self) -> bool {
        match self {
            Self::Tcp(tcp) => tcp.state().is_closing(),
            Self::Sctp(sctp) => sctp.state().is_closing(),
            Self::Dccp(dccp) => dccp.state().is_closing(),
            Self::Udp(_) | Self::UdpLite | Self::Icmp | Self::Icmpv6 | Self::Gre(_) | Self::Generic => false,
        }
    }

    /// The state of a TCP flow.
    pub const fn tcp(&self) -> Option<&Tcp> {
        match self {
            Self::Tcp(tcp) => Some(tcp),
            Self::Udp(_)
            | Self::UdpLite
            | Self::Icmp
            | Self::Icmpv6
            | Self::Gre(_)
            | Self::Sctp(_)
            | Self::Dccp(_)
            | Self::Generic => None,
        }
    }
}
