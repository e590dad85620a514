//! What to do about a table that is nearly full, or that drops packets.

use super::Frame;

/// From 95 % on the kernel's own collector throws out flows that nobody has assured (`nf_conntrack_core.c`); before that there
/// is time to act.
const NEARLY_FULL_PERCENT: u64 = 80;
/// With more unreplied flows than that, someone scans or floods, or answers go another way.
const MANY_UNREPLIED_PERCENT: u64 = 50;
/// Fewer flows than that say nothing about the network.
const ENOUGH_FLOWS: u64 = 1000;

/// One sentence for each thing that is wrong; none when all is well.
pub(super) fn advise(frame: &Frame) -> Vec<String> {
    let mut advice = Vec::new();
    let rates = frame.rates.unwrap_or_default();
    if let Some(maximum) = frame.fill.maximum.filter(|&maximum| maximum != 0) {
        let percent = u64::from(frame.fill.entries) * 100 / u64::from(maximum);
        if percent >= NEARLY_FULL_PERCENT {
            advice.push(format!(
                "the table is nearly full: allow more in the first network namespace (sysctl -w \
                 net.netfilter.nf_conntrack_max={}; a flow takes 256 to 384 bytes), shorten the timeouts of what there is \
                 most of (--by state), or exempt traffic that needs no tracking (notrack)",
                maximum.saturating_mul(2)
            ));
        }
    }
    if rates.drop > 0.0 {
        advice.push(
            "packets are being dropped: the table is full, or two packets of a flow raced; new connections fail"
                .to_owned(),
        );
    }
    if rates.early_drop > 0.0 {
        advice.push("flows are being thrown out before their time to make room for new ones".to_owned());
    }
    if rates.insert_failed > 0.0 {
        advice.push(
            "flows cannot be entered: packets of one flow race, or the NAT has no free port towards a destination (give it \
             more addresses or a wider range of ports)"
                .to_owned(),
        );
    }
    if frame.flows >= ENOUGH_FLOWS && frame.unreplied * 100 / frame.flows >= MANY_UNREPLIED_PERCENT {
        advice.push(
            "most flows are unreplied: a scan or a flood, or answers that come back another way (see `pinhole conntrack top \
             -u UNREPLIED`)"
                .to_owned(),
        );
    }
    advice
}
