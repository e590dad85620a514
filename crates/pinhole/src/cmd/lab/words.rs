//! Results in words: why a pair is not direct, and what would help.

use pinhole_traversal::diagnosis::pair::{Fix, Outcome};
use pinhole_traversal::diagnosis::text::{self, Lang};
use pinhole_world::{Must, Ruling};

/// Why a pair is not direct, or not every time.
pub(super) fn reason(ruling: &Ruling) -> String {
    match &ruling.verdict.outcome {
        Outcome::Relay(obstacle) => text::obstacle(*obstacle, Lang::En).to_owned(),
        Outcome::Unclear => "the oracle knows too little of these routers".to_owned(),
        Outcome::Direct { way, .. } if !way.is_automatic() => {
            format!("it takes {}, which the agent does not do by itself", text::way(*way, Lang::En))
        }
        Outcome::Direct { way, is_sure: false } => format!("it takes luck: {}", text::way(*way, Lang::En)),
        Outcome::Direct { way, is_sure: true } => format!("it should be: {}", text::way(*way, Lang::En)),
    }
}

/// By which technique a pair is to become direct; `None` if it is not.
pub(super) fn way(ruling: &Ruling) -> Option<&'static str> {
    match &ruling.verdict.outcome {
        Outcome::Direct { way, .. } => Some(text::way(*way, Lang::En)),
        Outcome::Unclear | Outcome::Relay(_) => None,
    }
}

/// What would help; "here" is the first of the two.
pub(super) fn fix(fix: Fix) -> &'static str {
    text::fix(fix, Lang::En)
}

/// What must become of a pair.
pub(super) const fn must(must: Must) -> &'static str {
    match must {
        Must::Direct => "must be direct",
        Must::Maybe => "may be direct",
        Must::Never => "cannot be direct",
    }
}
