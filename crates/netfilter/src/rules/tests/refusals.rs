//! What is refused, in which words.

use core::net::{Ipv4Addr, Ipv6Addr};

use crate::rules::{Hook, Rule, Ruleset, Sets, TableName};

/// Reads `text` and compares the words of the refusal's beginning.
fn check(text: &str, begins: &str) {
    let error = Ruleset::<Ipv4Addr>::parse(text).expect_err(text).to_string();
    assert!(error.starts_with(begins), "{text}\n is refused by\n{error}\nbut not by\n{begins}");
}

/// The same for a rule in `chain` of `table`, in line 3.
fn check_rule(table: &str, chain: &str, rule: &str, begins: &str) {
    check(&format!("*{table}\n# a comment\n-A {chain} {rule}\nCOMMIT\n"), &format!("line 3: {begins}"));
}

#[test]
fn what_is_not_known_is_named() {
    check_rule(
        "filter",
        "INPUT",
        "-m recent --set -j DROP",
        "the match 'recent' is not supported; supported: addrtype, ",
    );
    check_rule(
        "filter",
        "INPUT",
        "-j NFQUEUE --queue-num 1",
        "'NFQUEUE' is no chain of this table and no supported target; supported: ACCEPT",
    );
    check_rule("filter", "INPUT", "-j nowhere", "'nowhere' is no chain of this table");
    check_rule(
        "filter",
        "INPUT",
        "-m conntrack --ctfoo 1 -j DROP",
        "-m conntrack has no supported option '--ctfoo'; supported: --ctstate",
    );
    check_rule("filter", "INPUT", "-j DROP --hard", "-j DROP has no supported option '--hard': it takes none");
    check_rule("filter", "INPUT", "--dport 22 -j DROP", "a rule has no supported option '--dport'; supported: -s");
    check_rule(
        "filter",
        "INPUT",
        "-p sctp -m sctp --chunk-types any INIT -j DROP",
        "-m sctp has no supported option '--chunk-types'",
    );
    check_rule(
        "nat",
        "PREROUTING",
        "-p tcp -j DNAT --to-destination 1.1.1.1 --random-fully",
        "-j DNAT has no supported option '--random-fully'",
    );
    check_rule("filter", "INPUT", "-m hl --hl-eq 1 -j DROP", "the match 'hl' is not supported");
    check_rule("filter", "INPUT", "-m set --match-set none src -j DROP", "there is no set 'none'");
    check("*security\nCOMMIT\n", "line 1: there is no table 'security'");
}

#[test]
fn rules_that_are_not_known_can_be_left_out_and_each_is_named() {
    let text = "*filter\n:own - [0:0]\n-A FORWARD -j own\n-A FORWARD -p tcp -j TCPMSS --clamp-mss-to-pmtu\n\
                -A own -m recent --set -j DROP\n-A own -j CHECKSUM\n-A own -p tcp -j ACCEPT\nCOMMIT\n";
    let (rules, left_out) = Ruleset::<Ipv4Addr>::parse_known(text, Sets::default()).expect("rules");
    let own = rules.table(TableName::Filter).and_then(|table| table.chains.iter().find(|chain| chain.name == "own"));
    assert_eq!(own.expect("the chain").rules.len(), 1);
    let words: Vec<String> = left_out.iter().map(|error| error.to_string().chars().take(30).collect()).collect();
    assert_eq!(
        words,
        ["line 4: 'TCPMSS' is no chain o", "line 5: the match 'recent' is ", "line 6: 'CHECKSUM' is no chain"]
    );
    assert_eq!(Ruleset::<Ipv4Addr>::parse(text), Err(left_out[0].clone()), "otherwise the first one is refused");
    // What is not in doubt stays refused.
    let wrong = text.replace("-p tcp -j ACCEPT", "-s nowhere -j ACCEPT");
    let error = Ruleset::<Ipv4Addr>::parse_known(&wrong, Sets::default()).expect_err("a wrong value");
    assert_eq!(error.line, Some(7));
}

#[test]
fn what_an_option_does_not_take_is_named() {
    check_rule("filter", "INPUT", "-s localhost -j DROP", "-s does not take 'localhost': it wants an IPv4 address");
    check_rule("filter", "INPUT", "-s ::1 -j DROP", "-s does not take '::1': it wants an IPv4 address");
    check_rule("filter", "INPUT", "-i", "-i needs the name of an interface");
    check_rule("filter", "INPUT", "-i sixteen_bytes_ab -j DROP", "-i does not take 'sixteen_bytes_ab'");
    check_rule(
        "filter",
        "INPUT",
        "-p tcp --dport 9:1 -j DROP",
        "--dport does not take '9:1': it wants a range that ends",
    );
    check_rule("filter", "INPUT", "-p tcp --dport 65536 -j DROP", "--dport does not take '65536'");
    check_rule("filter", "INPUT", "-m state --state SNAT -j DROP", "--state does not take 'SNAT'");
    check_rule("filter", "INPUT", "-m limit --limit 10001/sec -j DROP", "--limit does not take '10001/sec'");
    check_rule("filter", "INPUT", "-m limit --limit 1/day -j DROP", "--limit does not take '1/day'");
    check_rule(
        "filter",
        "INPUT",
        "-j REJECT --reject-with no-route",
        "--reject-with does not take 'no-route': it wants tcp-reset, icmp-net",
    );
    check_rule("nat", "POSTROUTING", "-j SNAT --to-source 1.1.1", "--to-source does not take '1.1.1'");
    check_rule("raw", "OUTPUT", "-j CT --zone 65536", "--zone does not take '65536'");
}

#[test]
fn what_makes_no_sense_is_said() {
    check_rule("filter", "INPUT", "-o wan -j DROP", "-o makes no sense in INPUT");
    check_rule("filter", "INPUT", "-m tcp --dport 1 -j DROP", "-m tcp needs -p tcp before it");
    check_rule("filter", "INPUT", "-m conntrack -j DROP", "-m conntrack needs an option");
    check_rule("filter", "INPUT", "-m mark -j DROP", "-m mark needs an option");
    check_rule("filter", "INPUT", "-j REJECT --reject-with tcp-reset", "--reject-with tcp-reset needs -p tcp");
    check_rule("filter", "INPUT", "-j MASQUERADE", "MASQUERADE is for table nat, not for filter");
    check_rule("nat", "PREROUTING", "-j MASQUERADE", "MASQUERADE makes no sense in PREROUTING");
    check_rule("nat", "PREROUTING", "-j DROP", "table nat is asked for the first packet of a flow only");
    check_rule("nat", "POSTROUTING", "-j SNAT --to-source :5", "SNAT with ports needs -p tcp");
    check_rule("raw", "OUTPUT", "-j CT --helper ftp", "CT --helper and --timeout need -p");
    check_rule("filter", "INPUT", "! -s 1.1.1.1,1.1.1.2 -j DROP", "'!' makes no sense before -s with a list");
    check_rule("filter", "INPUT", "-m limit ! --limit 3/min -j DROP", "'!' makes no sense before --limit");
    check_rule("filter", "INPUT", "-s 1.1.1.1 -s 1.1.1.2 -j DROP", "-s is there twice");
    check_rule("filter", "INPUT", "-j FORWARD", "a rule cannot jump to the built-in chain 'FORWARD'");
    check_rule("filter", "INPUT", "-m comment --comment \"open -j DROP", "a double quote is opened and never closed");
    check_rule("filter", "nowhere", "-j DROP", "there is no chain 'nowhere' in table filter");
}

#[test]
fn a_target_is_checked_where_jumps_lead_to_it() {
    let text = "*nat\n:mine - [0:0]\n-A PREROUTING -j mine\n-A mine -j MASQUERADE\nCOMMIT\n";
    check(text, "line 4: MASQUERADE makes no sense in PREROUTING, from which this rule is reached");
}

#[test]
fn a_loop_is_found() {
    check("*filter\n:a - [0:0]\n-A a -j a\nCOMMIT\n", "line 3: chain 'a' can be reached from itself");
    check(
        "*filter\n:a -\n:b -\n-A a -j b\n-A INPUT -j a\n-A b -g a\nCOMMIT\n",
        "line 6: chain 'a' can be reached from itself",
    );
}

#[test]
fn lines_must_make_a_table() {
    check("-A INPUT -j DROP\n", "line 1: this line stands in no table");
    check("*filter\n-A INPUT -j DROP\n", "line 1: table filter has no COMMIT");
    check("*filter\n*nat\n", "line 2: table filter has no COMMIT before this line");
    check("COMMIT\n", "line 1: COMMIT without a table");
    check(
        "*filter\nCOMMIT\n*filter\nCOMMIT\n",
        "line 3: table filter begins a second time, and iptables-restore would keep this one only",
    );
    check("*filter\n:INPUT QUEUE [0:0]\nCOMMIT\n", "line 2: 'QUEUE' is no policy");
    check("*filter\n:mine DROP [0:0]\nCOMMIT\n", "line 2: only the built-in chains have a policy");
    check("*filter\n:a - [0:0]\n:a - [0:0]\nCOMMIT\n", "line 3: chain 'a' is declared in line 2 already");
    check("*filter\n-I INPUT -j DROP\nCOMMIT\n", "line 2: '-I' is not supported");
    check("*filter\n[x] -A INPUT -j DROP\nCOMMIT\n", "line 2: 'x' are no counters");
}

#[test]
fn rules_built_in_rust_are_checked_too() {
    let check = |rule: Rule<Ipv4Addr>, wanted: &str| {
        let error = Ruleset::builder().rule(TableName::Filter, Hook::Input.name(), rule).build().expect_err(wanted);
        assert_eq!(error.to_string(), format!("table filter, chain INPUT, rule 1: {wanted}"));
    };
    check(Rule::new().jump("nowhere"), &format!("{}", crate::rules::Problem::Target("nowhere".into())));
    check(
        Rule::new().in_device("no name"),
        "no interface can have that name: it has 1 to 15 bytes, without '/' and spaces",
    );
}

#[test]
fn ipv6_has_words_of_its_own() {
    let check = |rule: &str, begins: &str| {
        let text = format!("*filter\n-A INPUT {rule}\nCOMMIT\n");
        let error = Ruleset::<Ipv6Addr>::parse(&text).expect_err(rule).to_string();
        assert!(error.starts_with(&format!("line 2: {begins}")), "{error}");
    };
    check("-f -j DROP", "-f is for IPv4 only");
    check("-s 10.0.0.1 -j DROP", "-s does not take '10.0.0.1': it wants an IPv6 address");
    check("-p icmpv6 --icmpv6-type any -j DROP", "--icmpv6-type does not take 'any'");
    check("-m ttl --ttl 5 -j DROP", "the match 'ttl' is not supported");
}

#[test]
fn sets_that_are_not_supported_are_refused() {
    let check = |text: &str, begins: &str| {
        let error = Sets::<Ipv4Addr>::parse(text).expect_err(text).to_string();
        assert!(error.starts_with(begins), "{error}");
    };
    check("create a bitmap:port range 0-9\n", "line 1: sets of type 'bitmap:port' are not supported");
    check("create a hash:ip skbinfo\n", "line 1: 'skbinfo' is not supported for sets");
    check("create a hash:ip timeout\n", "line 1: timeout needs a number");
    check("create a hash:ip\ncreate a hash:ip\n", "line 2: set 'a' is there already");
    check("add a 10.0.0.1\n", "line 1: no 'create a' before this line");
    check("create a hash:ip\nadd a 10.0.0.0/8\n", "line 2: '10.0.0.0/8' is no element of set 'a'");
}
