//! Messages that others send and files that others write: DNS and WireGuard.

use pinhole_dns::Name;
use pinhole_dns::answers::{Answers, Asker, Query};
use pinhole_dns::message::{Message, View};
use pinhole_dns::zone::Zone;
use pinhole_wg::{quick, uapi};

/// Any bytes as a message, a query and a name.
pub(crate) fn dns(bytes: &[u8]) {
    if let Ok(mut message) = Message::decode(bytes) {
        let encoded = message.encode();
        let again = Message::decode(&encoded).expect("what was written can be read");
        // Records of types that nobody here knows are left out, and so are counted no more.
        message.header.counts = again.header.counts;
        assert_eq!(again, message);
    }
    if let Ok(view) = View::new(bytes)
        && let Ok((_, at)) = view.questions()
    {
        let mut records = view.records(at);
        while let Ok(Some(record)) = records.next_record() {
            let _ = (record.owner(), record.data(), record.as_opt());
        }
    }
    if let Ok(query) = Query::read(bytes) {
        assert_eq!(query.name().len(), query.lower_name().len());
        let origin = Name::parse("example.").expect("a name");
        let zone = Zone::new(origin.clone(), Zone::soa_for(&origin, 1), 60);
        let mut out = [0; 4_096];
        Answers::compile(&[zone]).answer(bytes, &Asker::udp(false), &mut out);
    }
    let _ = Name::from_wire(bytes);
}

/// Any text as what is said to a WireGuard device, and what it answers.
pub(crate) fn uapi(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = uapi::parse_request(&text);
    let _ = uapi::parse_reply(&text);
    if let Ok(device) = uapi::parse_get_reply(&text) {
        let written = uapi::format_get_reply(&device, 0);
        assert_eq!(uapi::parse_get_reply(&written).as_ref(), Ok(&device), "{written}");
    }
    if let Ok(update) = uapi::parse_set(&text) {
        let written = uapi::format_set(&update);
        let _ = uapi::parse_set(&written);
    }
}

/// Any text as the file of a device.
pub(crate) fn quick(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let _ = quick::interface_name(&text);
    if let Ok(file) = quick::Config::parse(&text) {
        let written = file.to_text();
        let again = quick::Config::parse(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
        assert_eq!(again.to_text(), written);
    }
}
