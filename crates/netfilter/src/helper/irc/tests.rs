use super::*;
use crate::helper::Verdict;
use crate::helper::tests::{Flow, edited};

use Direction::{Original, Reply};

/// Sends a text, and says what is expected.
fn check(text: &str) -> Vec<String> {
    let mut flow = Flow::direct(Helper::Irc);
    assert_eq!(flow.send(Original, text), Outcome::ACCEPT);
    flow.expected()
}

#[test]
fn what_clients_offer() {
    let expected = "any any > 10.0.0.2 40000 tcp";
    let cases = [
        ("PRIVMSG friend :\x01DCC SEND file 167772162 40000 1234\x01\r\n", Some(expected)),
        ("PRIVMSG friend :\x01DCC CHAT chat 167772162 40000\x01\r\n", Some(expected)),
        ("PRIVMSG friend :\x01DCC MOVE file 167772162 40000\x01\n", Some(expected)),
        ("PRIVMSG friend :\x01DCC TSEND file 167772162 40000\x01\n", Some(expected)),
        ("PRIVMSG friend :\x01DCC SCHAT file 167772162   40000\x01\n", Some(expected)),
        ("\r\n  privmsg friend :\x01DCC SEND file 167772162 40000\x01\n", Some(expected)),
        ("PRIVMSG friend :\x01DCC send file 167772162 40000 1234\x01\r\n", None),
        ("PRIVMSG friend :look: \x01DCC SEND file 167772162 40000\x01\n", None),
        ("NOTICE friend :\x01DCC SEND file 167772162 40000 1234\x01\r\n", None),
        ("PRIVMSG friend :\x01DCC SEND file 167772162 40000 1234\x01", None),
        ("PRIVMSG friend :\x01DCC SEND file 167772163 40000 1234\x01\n", None),
        ("PRIVMSG friend :\x01DCC SEND file 167772162 0 1234\x01\n", None),
        ("PRIVMSG friend :\x01DCC SEND file 10.0.0.2 40000 1234\x01\n", None),
        ("PRIVMSG friend :\x01DCC SEND \n", None),
        ("PRIVMSG f :\x01DCC SEND SEND 167772162 40000 1234567890\x01\r\n", Some(expected)),
        ("PRIVMSG f :\x01DCC SEND CHAT a 167772162 40000 1234567890\x01\r\n", None),
        (
            "PRIVMSG f :\x01DCC XEND a 1 2\x01\r\nPRIVMSG f :\x01DCC SEND a 167772162 40000 1234567890\x01\r\n",
            Some(expected),
        ),
        ("PRIVMSG f :\x01DCC SEND a 1 2\x01\r\nPRIVMSG f :\x01DCC SEND a 167772162 40000 1234567890\x01\r\n", None),
        ("PRIVMSG friend :\x01DCC RESUME file 40000 1234\x01\r\n", None),
    ];
    for (text, expected) in cases {
        assert_eq!(check(text), Vec::from_iter(expected), "{text:?}");
    }
}

#[test]
fn only_the_client_is_heard_and_only_after_an_answer() {
    let text = "PRIVMSG friend :\x01DCC SEND file 167772162 40000 1234\x01\r\n";
    let mut flow = Flow::direct(Helper::Irc);
    flow.send(Reply, text);
    flow.status.clear(crate::status::Status::SEEN_REPLY);
    flow.send(Original, text);
    assert!(flow.expected().is_empty());
}

#[test]
fn what_is_not_the_senders_is_said_to_be_ignored() {
    let mut flow = Flow::direct(Helper::Irc);
    flow.send(Original, "PRIVMSG friend :\x01DCC SEND file 1 40000 1234\x01\r\n");
    assert_eq!(flow.last_note(), "0.0.0.1 port 40000 is not the sender's, 10.0.0.2: ignored");
}

#[test]
fn nat_writes_the_gateways_address_as_a_number() {
    let mut flow = Flow::masqueraded(Helper::Irc);
    let text = "PRIVMSG friend :\x01DCC SEND file 167772162 40000 1234\x01\r\n";
    let outcome = flow.send(Original, text);
    assert_eq!(edited(&outcome, text), "PRIVMSG friend :\x01DCC SEND file 3405803777 40000 1234\x01\r\n");
    assert_eq!(outcome.growth(), 1);
    assert_eq!(flow.expected(), ["any any > 203.0.113.1 40000 tcp"]);

    let own = "PRIVMSG friend :\x01DCC SEND file 3405803777 40000 1234\x01\r\n";
    assert_eq!(edited(&flow.send(Original, own), own), own, "the client knows its address outside");
}

#[test]
fn as_many_as_the_parameter_says_are_expected_and_a_full_table_drops() {
    let mut flow = Flow::direct(Helper::Irc);
    for port in 1_000..1_010 {
        flow.send(Original, format!("PRIVMSG friend :\x01DCC SEND file 167772162 {port} 1234\x01\r\n"));
    }
    assert_eq!(flow.expected().len(), flow.settings.irc_max_channels);
    flow.expectations = crate::expect::Expectations::new(0);
    let outcome = flow.send(Original, "PRIVMSG friend :\x01DCC SEND file 167772162 40000 1234\x01\r\n");
    assert_eq!(outcome.verdict, Verdict::Drop);
}
