//! The five hooks, drawn: once, as a symbol whose parts take their colours from the packet that shows it.

use std::fmt;

use pinhole_netfilter::Verdict;
use pinhole_netfilter::explain::{Account, Place};
use pinhole_netfilter::rules::Hook;

use super::Escaped;

/// The drawing. Each part has a colour of its own, a custom property, and is grey without it.
pub(super) const SYMBOL: &str = r##"<svg width="0" height="0" class="defs" aria-hidden="true"><symbol id="hooks" viewBox="0 0 902 226">
<g fill="none" stroke-width="3" stroke-linecap="round" stroke-linejoin="round">
<path d="M12 62H78" style="stroke:var(--e-in,var(--off))"/>
<path d="M218 62H262" style="stroke:var(--e-pre,var(--off))"/>
<path d="M378 62H432" style="stroke:var(--e-fwd,var(--off))"/>
<path d="M572 62H672" style="stroke:var(--e-post,var(--off))"/>
<path d="M812 62H880" style="stroke:var(--e-out,var(--off))"/>
<path d="M320 98V190H352" style="stroke:var(--e-li,var(--off))"/>
<path d="M482 190H508" style="stroke:var(--e-host,var(--off))"/>
<path d="M602 190H628" style="stroke:var(--e-lo,var(--off))"/>
<path d="M698 168V130Q698 112 742 104V100" style="stroke:var(--e-up,var(--off))"/>
</g>
<g stroke="none">
<path d="M76 55l12 7l-12 7z" style="fill:var(--e-in,var(--off))"/>
<path d="M256 55l12 7l-12 7z" style="fill:var(--e-pre,var(--off))"/>
<path d="M430 55l12 7l-12 7z" style="fill:var(--e-fwd,var(--off))"/>
<path d="M670 55l12 7l-12 7z" style="fill:var(--e-post,var(--off))"/>
<path d="M878 55l12 7l-12 7z" style="fill:var(--e-out,var(--off))"/>
<path d="M350 183l12 7l-12 7z" style="fill:var(--e-li,var(--off))"/>
<path d="M504 183l12 7l-12 7z" style="fill:var(--e-host,var(--off))"/>
<path d="M624 183l12 7l-12 7z" style="fill:var(--e-lo,var(--off))"/>
<path d="M735 102l7 -12l7 12z" style="fill:var(--e-up,var(--off))"/>
</g>
<g stroke-width="2.5" style="fill:var(--node)">
<rect x="88" y="34" width="130" height="56" rx="9" style="stroke:var(--n-pre,var(--off))"/>
<path d="M320 26L376 62L320 98L264 62Z" style="stroke:var(--n-rt,var(--off))"/>
<rect x="442" y="34" width="130" height="56" rx="9" style="stroke:var(--n-fwd,var(--off))"/>
<rect x="682" y="34" width="130" height="56" rx="9" style="stroke:var(--n-post,var(--off))"/>
<rect x="362" y="168" width="120" height="46" rx="9" style="stroke:var(--n-li,var(--off))"/>
<rect x="516" y="168" width="86" height="46" rx="23" style="stroke:var(--n-host,var(--off))"/>
<rect x="636" y="168" width="124" height="46" rx="9" style="stroke:var(--n-lo,var(--off))"/>
</g>
<g class="labels" text-anchor="middle">
<text x="153" y="58">PRE_ROUTING</text><text x="153" y="76" class="sub">raw · track · dnat</text>
<text x="320" y="67" class="small">routing</text>
<text x="507" y="58">FORWARD</text><text x="507" y="76" class="sub">mangle · filter</text>
<text x="747" y="58">POST_ROUTING</text><text x="747" y="76" class="sub">mangle · snat · confirm</text>
<text x="422" y="187">LOCAL_IN</text><text x="422" y="203" class="sub">filter · confirm</text>
<text x="559" y="196" class="small">this host</text>
<text x="698" y="187">LOCAL_OUT</text><text x="698" y="203" class="sub">track · dnat · filter</text>
</g>
<g stroke="#fff" stroke-width="2.5" stroke-linecap="round">
<g style="opacity:var(--x-pre,0)"><circle cx="218" cy="34" r="12" class="x"/><path d="M213 29l10 10m0 -10l-10 10"/></g>
<g style="opacity:var(--x-rt,0)"><circle cx="348" cy="38" r="12" class="x"/><path d="M343 33l10 10m0 -10l-10 10"/></g>
<g style="opacity:var(--x-fwd,0)"><circle cx="572" cy="34" r="12" class="x"/><path d="M567 29l10 10m0 -10l-10 10"/></g>
<g style="opacity:var(--x-post,0)"><circle cx="812" cy="34" r="12" class="x"/><path d="M807 29l10 10m0 -10l-10 10"/></g>
<g style="opacity:var(--x-li,0)"><circle cx="482" cy="168" r="12" class="x"/><path d="M477 163l10 10m0 -10l-10 10"/></g>
<g style="opacity:var(--x-lo,0)"><circle cx="760" cy="168" r="12" class="x"/><path d="M755 163l10 10m0 -10l-10 10"/></g>
</g>
</symbol></svg>"##;

/// A packet's way through the drawing.
pub(super) struct Way<'a>(pub(super) &'a Account);

impl fmt::Display for Way<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let account = self.0;
        f.write_str("<svg class=\"way\" viewBox=\"0 0 902 226\" role=\"img\" aria-label=\"")?;
        for (n, stage) in account.stages.iter().enumerate() {
            write!(f, "{}{}", if n == 0 { "" } else { ", " }, stage.place)?;
        }
        f.write_str("\" style=\"")?;
        self.parts().iter().try_for_each(|part| write!(f, "--{part}:var(--on);"))?;
        if let (Verdict::Drop(_), Some(end)) = (account.verdict, account.end()) {
            let node = node(end);
            write!(f, "--n-{node}:var(--bad);--x-{node}:1;")?;
        }
        f.write_str("\"><use href=\"#hooks\"/><g class=\"ends\">")?;
        if let Some(input) = &account.input {
            write!(f, "<text x=\"12\" y=\"44\">{}</text>", Escaped(input))?;
        }
        if let Some(output) = &account.output {
            write!(f, "<text x=\"890\" y=\"44\" text-anchor=\"end\">{}</text>", Escaped(output))?;
        }
        f.write_str("</g></svg>\n")
    }
}

impl Way<'_> {
    /// The parts of the drawing that the packet passes.
    fn parts(&self) -> Vec<&'static str> {
        let mut parts = Vec::new();
        let mut last = None;
        for stage in &self.0.stages {
            parts.extend_from_slice(match (last, stage.place) {
                (_, Place::Arrival) => &["e-in"][..],
                (_, Place::Hook(Hook::PreRouting)) => &["e-in", "n-pre"],
                (Some(Place::Hook(Hook::PreRouting)), Place::Routing) => &["e-pre", "n-rt"],
                (_, Place::Routing) => &["n-host"],
                (_, Place::Hook(Hook::Input)) => &["e-li", "n-li"],
                (_, Place::Hook(Hook::Forward)) => &["e-fwd", "n-fwd"],
                (_, Place::Hook(Hook::Output)) => &["n-host", "e-lo", "n-lo"],
                (Some(Place::Hook(Hook::Forward)), Place::Hook(Hook::PostRouting)) => &["e-post", "n-post"],
                (_, Place::Hook(Hook::PostRouting)) => &["e-up", "n-post"],
            });
            last = Some(stage.place);
        }
        match self.0.verdict {
            Verdict::Forward(_) => parts.push("e-out"),
            Verdict::Deliver => parts.extend(["e-host", "n-host"]),
            Verdict::Hold | Verdict::Drop(_) => {}
        }
        parts
    }
}

/// The name of a place's node.
const fn node(place: Place) -> &'static str {
    match place {
        Place::Arrival | Place::Hook(Hook::PreRouting) => "pre",
        Place::Routing => "rt",
        Place::Hook(Hook::Input) => "li",
        Place::Hook(Hook::Forward) => "fwd",
        Place::Hook(Hook::Output) => "lo",
        Place::Hook(Hook::PostRouting) => "post",
    }
}
