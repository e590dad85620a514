//! SSDP: who in this network is an Internet gateway (UPnP Device Architecture 1.1 §1.3)?

use core::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Where searches go.
pub const MULTICAST: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(239, 255, 255, 250)), 1900);

/// What is searched for: both versions of the device, and the services for routers that answer only for those.
pub(super) const TARGETS: [&str; 4] = [
    "urn:schemas-upnp-org:device:InternetGatewayDevice:2",
    "urn:schemas-upnp-org:device:InternetGatewayDevice:1",
    "urn:schemas-upnp-org:service:WANIPConnection:1",
    "urn:schemas-upnp-org:service:WANPPPConnection:1",
];

/// A search. `MX` 1: who answers may take a second for it.
pub(super) fn search(target: &str) -> Vec<u8> {
    format!("M-SEARCH * HTTP/1.1\r\nHOST: {MULTICAST}\r\nMAN: \"ssdp:discover\"\r\nMX: 1\r\nST: {target}\r\n\r\n")
        .into_bytes()
}

/// Where a gateway's description is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Location {
    pub(super) host: SocketAddr,
    pub(super) path: String,
}

impl Location {
    /// The location in an answer to a search, if a gateway gave it. Only one at the address that answered is believed:
    /// another would make us send requests to where a stranger wants them.
    pub(super) fn of_answer(bytes: &[u8], from: SocketAddr) -> Option<Self> {
        let text = String::from_utf8_lossy(bytes);
        let mut lines = text.lines();
        let first = lines.next()?;
        if !(first.starts_with("HTTP/1.") && first.split_whitespace().nth(1) == Some("200")) {
            return None;
        }
        let (mut location, mut is_gateway) = (None, false);
        for (name, value) in lines.filter_map(|line| line.split_once(':')) {
            if name.trim().eq_ignore_ascii_case("location") {
                location = Self::parse(value.trim());
            } else if name.trim().eq_ignore_ascii_case("st") {
                let value = value.trim();
                is_gateway = ["InternetGatewayDevice", "WANIPConnection", "WANPPPConnection", "WANConnectionDevice"]
                    .iter()
                    .any(|word| value.contains(word));
            }
        }
        location.filter(|location| is_gateway && location.host.ip() == from.ip())
    }

    /// An `http` address with a literal host.
    pub(super) fn parse(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("HTTP://"))?;
        let (host, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
        let host = match host.parse::<SocketAddr>() {
            Ok(host) => host,
            Err(_) => SocketAddr::new(host.parse::<IpAddr>().ok()?, 80),
        };
        is_clean(path).then(|| Self { host, path: path.to_owned() })
    }

    /// What `url` means in a document that came from here; on another host it means nothing.
    pub(super) fn join(&self, url: &str) -> Option<Self> {
        if let Some(absolute) = Self::parse(url) {
            return (absolute.host.ip() == self.host.ip()).then_some(absolute);
        }
        if url.contains("://") || !is_clean(url) {
            return None;
        }
        let path = if url.starts_with('/') {
            url.to_owned()
        } else {
            let directory = self.path.rfind('/').map_or("/", |at| &self.path[..=at]);
            format!("{directory}{url}")
        };
        Some(Self { host: self.host, path })
    }
}

/// Whether it can stand in a request line: a line feed would begin a header of a stranger's choice.
fn is_clean(path: &str) -> bool {
    path.len() <= 1_024 && path.chars().all(|c| c.is_ascii_graphic())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FROM: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 168, 1, 1)), 1900);

    fn answer(location: &str, target: &str) -> Option<Location> {
        let text =
            format!("HTTP/1.1 200 OK\r\nCACHE-CONTROL: max-age=120\r\nST: {target}\r\nLOCATION: {location}\r\n\r\n");
        Location::of_answer(text.as_bytes(), FROM)
    }

    #[test]
    fn a_gateway_is_believed_where_it_answers_from() {
        let found = Location { host: "192.168.1.1:5000".parse().expect("a host"), path: "/rootDesc.xml".into() };
        assert_eq!(answer("http://192.168.1.1:5000/rootDesc.xml", TARGETS[0]), Some(found));
        assert!(answer("http://192.168.1.1", TARGETS[2]).is_some_and(|location| location.host.port() == 80));
        for (location, target) in [
            ("http://192.168.1.2:5000/rootDesc.xml", TARGETS[0]),
            ("http://example.org/rootDesc.xml", TARGETS[0]),
            ("https://192.168.1.1/rootDesc.xml", TARGETS[0]),
            ("http://192.168.1.1:5000/a b", TARGETS[0]),
            ("http://192.168.1.1:99999/", TARGETS[0]),
            ("http://192.168.1.1:5000/", "urn:schemas-upnp-org:device:MediaServer:1"),
        ] {
            assert_eq!(answer(location, target), None, "{location}");
        }
        assert_eq!(Location::of_answer(b"NOTIFY * HTTP/1.1\r\n\r\n", FROM), None);
        assert_eq!(Location::of_answer(&[0xff; 40], FROM), None);
    }

    #[test]
    fn addresses_in_a_description_are_joined_and_stay_on_its_host() {
        let base = Location::parse("http://192.168.1.1:5000/a/desc.xml").expect("an address");
        let path = |url: &str| base.join(url).map(|location| location.path);
        assert_eq!(path("/ctl"), Some("/ctl".into()));
        assert_eq!(path("ctl"), Some("/a/ctl".into()));
        assert_eq!(path("http://192.168.1.1:49152/ctl"), Some("/ctl".into()));
        assert_eq!(path("http://192.0.2.9/ctl"), None);
        assert_eq!(path("/ctl\r\nX: y"), None);
    }
}
