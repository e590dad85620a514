//! Rules of real interfaces as rules of the router's two, `in` and `out`: a packet script has no others.

use pinhole_netfilter::script::Side;

use crate::cmd::conntrack::router::means;

/// What stands for an interface that is not there: none of the router's has that name.
const ELSEWHERE: &str = "elsewhere";

/// Rules as `iptables-save` writes them, in which `names` are the inside and the outside.
pub(super) fn rename(rules: &str, names: &[String; 2]) -> String {
    let mut renamed = String::with_capacity(rules.len());
    for line in rules.split_inclusive('\n') {
        let mut wants_name = false;
        for word in words(line) {
            match word {
                name if wants_name && !name.trim().is_empty() && name != "!" => {
                    renamed.push_str(side(name.trim_matches('"'), names));
                    wants_name = false;
                }
                other => {
                    renamed.push_str(other);
                    let is_blank = other.trim().is_empty() || other == "!";
                    wants_name =
                        wants_name && is_blank || matches!(other, "-i" | "-o" | "--in-interface" | "--out-interface");
                }
            }
        }
    }
    renamed
}

/// The side that a rule's name of an interface means.
fn side<'a>(name: &'a str, names: &[String; 2]) -> &'a str {
    let [inside, outside] = [0, 1].map(|at| means(name, &names[at]));
    let is_ours = Side::ALL.iter().any(|side| means(name, side.name()));
    match (inside, outside) {
        (true, true) => "+",
        (true, false) => Side::In.name(),
        (false, true) => Side::Out.name(),
        (false, false) if is_ours => ELSEWHERE,
        (false, false) => name,
    }
}

/// A line cut into words and what is between them; what is in quotes is one word.
fn words(line: &str) -> impl Iterator<Item = &str> {
    let mut rest = line;
    core::iter::from_fn(move || {
        let is_space = rest.chars().next()?.is_whitespace();
        let (mut quoted, mut escaped) = (false, false);
        let ends = |c: char| {
            let inside = quoted || escaped;
            match c {
                _ if escaped => escaped = false,
                '\\' => escaped = true,
                '"' => quoted = !quoted,
                _ => {}
            }
            !inside && c.is_whitespace() != is_space
        };
        let (word, behind) = rest.split_at(rest.find(ends).unwrap_or(rest.len()));
        rest = behind;
        Some(word)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(names: [&str; 2], rules: &str, expected: &str) {
        assert_eq!(rename(rules, &names.map(String::from)), expected);
    }

    #[test]
    fn interfaces_of_rules_become_the_two_sides_and_all_else_stays_as_it_is() {
        check(
            ["lan", "wan"],
            "*nat\n:POSTROUTING ACCEPT [0:0]\n[1:2] -A POSTROUTING  -s 10.0.0.0/8 ! -o lan -j MASQUERADE\n-A X -i ! wan\nCOMMIT",
            "*nat\n:POSTROUTING ACCEPT [0:0]\n[1:2] -A POSTROUTING  -s 10.0.0.0/8 ! -o in -j MASQUERADE\n-A X -i ! out\nCOMMIT",
        );
    }

    #[test]
    fn a_name_in_a_comment_is_no_interface() {
        let rule = r#"-A FORWARD -m comment --comment "\" -i lan \\" -i "lan" -j lan"#;
        check(["lan", "wan"], rule, r#"-A FORWARD -m comment --comment "\" -i lan \\" -i in -j lan"#);
    }

    #[test]
    fn a_wildcard_means_what_it_covers() {
        check(["eth1", "ppp0"], "-A X -i eth+ -o ppp+\n", "-A X -i in -o out\n");
        check(["eth1", "eth0"], "-A X -i eth+ -o eth0\n", "-A X -i + -o out\n");
    }

    #[test]
    fn an_interface_that_is_not_there_stays_so() {
        check(["lan", "wan"], "-A X -i in -o ou+ -i dmz\n", "-A X -i elsewhere -o elsewhere -i dmz\n");
        check(["out", "in"], "-A X -i in -o out\n", "-A X -i out -o in\n");
    }
}
