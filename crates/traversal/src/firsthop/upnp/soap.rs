//! Calls of WANIPConnection and WANPPPConnection, versions 1 and 2 (UPnP Forum, WANIPConnection:2 Service), and of
//! WANIPv6FirewallControl:1, which opens pinholes.

use core::fmt::Write;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::super::Protocol;
use super::xml::{Element, escape};

/// A service of the gateway that maps ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Service {
    /// `urn:schemas-upnp-org:service:WANIPConnection:2`.
    pub(super) kind: String,
    /// Where it is called, as the description has it.
    pub(super) control: String,
}

impl Service {
    /// The services of a description that map ports, the better first: version 2, then IP, then PPP.
    pub(super) fn all(description: &Element) -> Vec<Self> {
        const KINDS: [&str; 3] =
            [":service:WANIPConnection:2", ":service:WANIPConnection:1", ":service:WANPPPConnection:1"];
        let rank = |service: &Self| KINDS.iter().position(|kind| service.kind.ends_with(kind));
        let mut services: Vec<Self> = Self::any(description).filter(|service| rank(service).is_some()).collect();
        services.sort_by_key(rank);
        services
    }

    /// The service of a description that opens pinholes.
    pub(super) fn firewall(description: &Element) -> Option<Self> {
        Self::any(description).find(|service| service.kind.ends_with(":service:WANIPv6FirewallControl:1"))
    }

    fn any(description: &Element) -> impl Iterator<Item = Self> {
        let service = |element: &Element| {
            let text =
                |name: &str| element.children.iter().find(|child| child.name == name).map(|child| child.text.clone());
            Some(Self { kind: text("serviceType")?, control: text("controlURL")? })
        };
        description.all().filter(|element| element.name == "service").filter_map(service)
    }

    /// Whether it can choose a port by itself.
    pub(super) fn is_version_2(&self) -> bool {
        self.kind.ends_with(":2")
    }
}

/// What is called.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Call {
    /// Which address the gateway has outside.
    ExternalAddress,
    /// A mapping of exactly this port.
    Add(Lease),
    /// A mapping of this port or another one; version 2 only.
    AddAny(Lease),
    /// The end of a mapping.
    Delete { protocol: Protocol, external: u16 },
    /// A pinhole.
    Open(Pinhole),
    /// The end of a pinhole.
    Close { id: u16 },
}

/// A pinhole as it is asked for: everybody may send to this endpoint of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pinhole {
    pub(super) protocol: Protocol,
    pub(super) client: Ipv6Addr,
    pub(super) port: u16,
    /// Seconds.
    pub(super) lifetime: u32,
}

/// A mapping as it is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Lease {
    pub(super) protocol: Protocol,
    pub(super) client: Ipv4Addr,
    pub(super) internal: u16,
    pub(super) external: u16,
    /// Seconds; zero for ever.
    pub(super) lifetime: u32,
}

impl Call {
    pub(super) const fn name(&self) -> &'static str {
        match self {
            Self::ExternalAddress => "GetExternalIPAddress",
            Self::Add(_) => "AddPortMapping",
            Self::AddAny(_) => "AddAnyPortMapping",
            Self::Delete { .. } => "DeletePortMapping",
            Self::Open(_) => "AddPinhole",
            Self::Close { .. } => "DeletePinhole",
        }
    }

    /// The header that says what is called.
    pub(super) fn action(&self, service: &Service) -> String {
        format!("{}#{}", service.kind, self.name())
    }

    /// The envelope.
    pub(super) fn body(&self, service: &Service) -> String {
        let arguments: Vec<(&str, String)> = match self {
            Self::ExternalAddress => Vec::new(),
            Self::Add(lease) | Self::AddAny(lease) => vec![
                ("NewRemoteHost", String::new()),
                ("NewExternalPort", lease.external.to_string()),
                ("NewProtocol", lease.protocol.to_string()),
                ("NewInternalPort", lease.internal.to_string()),
                ("NewInternalClient", lease.client.to_string()),
                ("NewEnabled", "1".to_owned()),
                ("NewPortMappingDescription", "pinhole".to_owned()),
                ("NewLeaseDuration", lease.lifetime.to_string()),
            ],
            Self::Delete { protocol, external } => vec![
                ("NewRemoteHost", String::new()),
                ("NewExternalPort", external.to_string()),
                ("NewProtocol", protocol.to_string()),
            ],
            // No remote host and port 0: everybody (WANIPv6FirewallControl:1 §2.5.3).
            Self::Open(pinhole) => vec![
                ("RemoteHost", String::new()),
                ("RemotePort", "0".to_owned()),
                ("InternalClient", pinhole.client.to_string()),
                ("InternalPort", pinhole.port.to_string()),
                ("Protocol", pinhole.protocol.number().to_string()),
                ("LeaseTime", pinhole.lifetime.to_string()),
            ],
            Self::Close { id } => vec![("UniqueID", id.to_string())],
        };
        let name = self.name();
        let mut body = format!(
            "<?xml version=\"1.0\"?>\r\n<s:Envelope xmlns:s=\"http://schemas.xmlsoap.org/soap/envelope/\" \
             s:encodingStyle=\"http://schemas.xmlsoap.org/soap/encoding/\"><s:Body><u:{name} xmlns:u=\"{}\">",
            escape(&service.kind)
        );
        for (argument, value) in arguments {
            let _ = write!(body, "<{argument}>{value}</{argument}>");
        }
        let _ = write!(body, "</u:{name}></s:Body></s:Envelope>\r\n");
        body
    }
}

/// What an envelope brings back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Returned {
    /// The gateway's outside address; `None` if it has none.
    ExternalAddress(Option<IpAddr>),
    /// The mapping is there; with the port, if the gateway chose it.
    Added(Option<u16>),
    /// The mapping or the pinhole is gone.
    Deleted,
    /// The pinhole is there, by this number.
    Opened(u16),
    /// An error of UPnP.
    Fault { code: u16, text: String },
    /// No answer to this call.
    Nonsense,
}

impl Returned {
    pub(super) fn of(call: &Call, body: &[u8]) -> Self {
        let envelope = Element::parse(&String::from_utf8_lossy(body));
        if let Some(code) = envelope.find_text("errorCode").and_then(|code| code.parse().ok()) {
            let text = envelope.find_text("errorDescription").unwrap_or_default();
            return Self::Fault { code, text: text.chars().filter(|c| !c.is_control()).take(80).collect() };
        }
        let response = format!("{}Response", call.name());
        let Some(response) = envelope.all().find(|element| element.name == response) else { return Self::Nonsense };
        match call {
            Call::ExternalAddress => {
                let address = response.find_text("NewExternalIPAddress").and_then(|text| text.parse::<IpAddr>().ok());
                Self::ExternalAddress(address.filter(|address| !address.is_unspecified()))
            }
            Call::Add(_) => Self::Added(None),
            Call::AddAny(_) => match response.find_text("NewReservedPort").and_then(|text| text.parse().ok()) {
                Some(port) => Self::Added(Some(port)),
                None => Self::Nonsense,
            },
            Call::Delete { .. } | Call::Close { .. } => Self::Deleted,
            Call::Open(_) => match response.find_text("UniqueID").and_then(|text| text.parse().ok()) {
                Some(id) => Self::Opened(id),
                None => Self::Nonsense,
            },
        }
    }
}
