//! `[stun]`: a STUN server's settings.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use pinhole_host::stun::tls::{self, Tls};
use pinhole_host::stun::xdp::Wish;
use pinhole_host::stun::{SecondIp, Site};
use pinhole_stun::server::accounts::Accounts;
use pinhole_stun::server::limit::RateLimit;
use pinhole_stun::server::partner::{MIN_KEY, PartnerKey};
use serde::Deserialize;

/// The port of STUN (RFC 8489 §8.1).
pub const PORT: u16 = 3478;
/// The usual second port for behaviour discovery (RFC 5780 §9 leaves it open; coturn and stuntman use this one).
pub const SECOND_PORT: u16 = 3479;

/// A STUN server's settings.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Stun {
    /// Where to serve. Empty: every address, port 3478.
    pub listen: Vec<StunAddress>,
    /// A second address of this host, one per family, for behaviour discovery.
    pub second: Vec<IpAddr>,
    /// The address of another host that answers for this one, one per family, in place of a second address.
    pub partner: Vec<IpAddr>,
    /// The file that holds the key of the two hosts.
    pub partner_key: Option<PathBuf>,
    /// The second port; without it 3479 where there is a second address or a partner, and none where not.
    pub second_port: Option<u16>,
    /// The addresses that clients see where a router translates them one to one: per family the first, then the second.
    pub public: Vec<IpAddr>,
    /// Serve by TCP too.
    pub tcp: bool,
    /// The certificate to serve by TLS with, as PEM.
    pub tls_cert: Option<PathBuf>,
    /// Its key, as PEM.
    pub tls_key: Option<PathBuf>,
    /// Serve by TLS with a certificate made for this run.
    pub tls_self_signed: bool,
    /// The port for TLS.
    pub tls_port: u16,
    /// Call askers back who want to know whether they can be reached.
    pub call_back: bool,
    /// Requests a minute of one source (IPv4 address, IPv6 /64); 0: unlimited.
    pub rate_limit: u32,
    /// A file with lines NAME:PASSWORD. If there is one, nobody else gets an answer.
    pub users: Option<PathBuf>,
    /// The realm of these users.
    pub realm: String,
    /// Threads per address and port; 0: one per processor.
    pub threads: usize,
    /// Interfaces whose plain requests are answered by an XDP program: names, or "auto".
    #[serde(default)]
    pub xdp: Vec<Xdp>,
}

impl Default for Stun {
    fn default() -> Self {
        Self {
            listen: Vec::new(),
            second: Vec::new(),
            partner: Vec::new(),
            partner_key: None,
            second_port: None,
            public: Vec::new(),
            tcp: true,
            tls_cert: None,
            tls_key: None,
            tls_self_signed: false,
            tls_port: tls::PORT,
            call_back: false,
            rate_limit: default_rate_limit(),
            users: None,
            realm: default_realm(),
            threads: 0,
            xdp: Vec::new(),
        }
    }
}

/// The default of [`Stun::rate_limit`].
pub fn default_rate_limit() -> u32 {
    RateLimit::REQUESTS.per_minute
}

/// The default of [`Stun::tls_port`].
pub fn default_tls_port() -> u16 {
    tls::PORT
}

/// The default of [`Stun::realm`].
pub fn default_realm() -> String {
    "pinhole".to_owned()
}

/// An address with or without a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct StunAddress(pub SocketAddr);

impl TryFrom<String> for StunAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for StunAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
        let with_port = text.parse().ok();
        let address = with_port.or_else(|| bare.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, PORT)));
        let wrong = || format!("`{text}` is not an address: expected 192.0.2.1, 192.0.2.1:3478 or [2001:db8::1]:3478");
        address.map(Self).ok_or_else(wrong)
    }
}

/// An interface for XDP, and a mode.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Xdp(pub Wish);

impl TryFrom<String> for Xdp {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for Xdp {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        text.parse().map(Self)
    }
}

impl Stun {
    /// What a registry serves its agents with: no more than two ports, by UDP, that say where a packet came from.
    pub fn for_agents() -> Self {
        Self { second_port: Some(SECOND_PORT), tcp: false, threads: 1, ..Self::default() }
    }

    /// The sites to serve, as far as can be told without the host.
    ///
    /// # Errors
    /// One that says what to change.
    pub fn sites(&self) -> Result<Vec<Site>> {
        let everywhere =
            [IpAddr::from(Ipv4Addr::UNSPECIFIED), Ipv6Addr::UNSPECIFIED.into()].map(|ip| SocketAddr::new(ip, PORT));
        let listen: Vec<SocketAddr> = match &self.listen[..] {
            [] => everywhere.to_vec(),
            listen => listen.iter().map(|StunAddress(address)| *address).collect(),
        };
        if self.tls_cert.is_none() != self.tls_key.is_none() || self.tls_cert.is_some() && self.tls_self_signed {
            bail!("TLS needs a certificate and its key, tls_cert and tls_key, or tls_self_signed and neither");
        }
        if self.partner.is_empty() != self.partner_key.is_none() {
            bail!("a partner and the key it shares with this host go together: give both, partner and partner_key");
        }
        for (name, addresses) in [("second", &self.second), ("partner", &self.partner)] {
            for ip in addresses {
                let firsts: Vec<&SocketAddr> = listen.iter().filter(|first| first.is_ipv4() == ip.is_ipv4()).collect();
                let [first] = firsts[..] else {
                    bail!(
                        "the {name} address {ip} needs one listening address of its family, and there are {}",
                        firsts.len()
                    )
                };
                if first.ip().is_unspecified() {
                    bail!(
                        "with the {name} address {ip}, name the first one too: listen at one address, not at {first}"
                    );
                }
                if first.ip() == *ip {
                    bail!("the {name} address {ip} is the first one: behaviour discovery needs two");
                }
            }
        }
        if !self.xdp.is_empty() && self.users.is_some() {
            bail!("XDP answers everyone, and with users only they are answered: give one of both, xdp or users");
        }
        let mut families = BTreeSet::new();
        if let Some(ip) = self.second.iter().chain(&self.partner).find(|ip| !families.insert(ip.is_ipv4())) {
            bail!("{ip} is one address too many of its family: there is one second address, here or at a partner's");
        }
        Ok(listen.into_iter().map(|first| self.site(first)).collect())
    }

    fn site(&self, first: SocketAddr) -> Site {
        let of_family = |ips: &[IpAddr]| ips.iter().copied().find(|ip| ip.is_ipv4() == first.is_ipv4());
        let second_ip = match (of_family(&self.second), of_family(&self.partner)) {
            (Some(ip), _) => SecondIp::Here(ip),
            (None, Some(ip)) => SecondIp::Partner(ip),
            (None, None) => SecondIp::Missing,
        };
        let default_port = (second_ip != SecondIp::Missing).then_some(SECOND_PORT);
        let mut public = self.public.iter().copied().filter(|ip| ip.is_ipv4() == first.is_ipv4());
        Site {
            ip: first.ip(),
            port: first.port(),
            second_port: self.second_port.or(default_port),
            second_ip,
            public: [public.next(), public.next()],
        }
    }

    /// What TLS is spoken with.
    ///
    /// # Errors
    /// Files that cannot be read, or do not belong together.
    pub fn tls(&self) -> Result<Option<Tls>> {
        match (&self.tls_cert, &self.tls_key) {
            (Some(certificate), Some(key)) => Ok(Some(Tls::from_files(certificate, key, self.tls_port)?)),
            (None, None) if self.tls_self_signed => {
                let ips = self.public.iter().copied().chain(self.listen.iter().map(|StunAddress(at)| at.ip()));
                let names = ips.filter(|ip| !ip.is_unspecified()).map(|ip| ip.to_string());
                Ok(Some(Tls::self_signed(names.chain(["localhost".to_owned()]).collect(), self.tls_port)?))
            }
            (Some(_) | None, _) => Ok(None),
        }
    }

    /// The key of the two hosts.
    ///
    /// # Errors
    /// A file that cannot be read, or holds too little.
    pub fn key(&self) -> Result<Option<PartnerKey>> {
        let Some(path) = &self.partner_key else { return Ok(None) };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the key in {}", path.display()))?;
        let key = PartnerKey::new(text.trim()).with_context(|| {
            format!("the key in {} has less than {MIN_KEY} bytes: `wg genkey` makes a good one", path.display())
        })?;
        Ok(Some(key))
    }

    /// Who has a password.
    ///
    /// # Errors
    /// A file that cannot be read, a line that is none.
    pub fn accounts(&self) -> Result<Option<Accounts>> {
        let Some(path) = &self.users else { return Ok(None) };
        let text =
            std::fs::read_to_string(path).with_context(|| format!("cannot read the users in {}", path.display()))?;
        let mut accounts = Accounts::new(&self.realm)
            .with_context(|| format!("the realm {:?} is too long: 20 bytes are the most", self.realm))?;
        for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
            let (name, password) = line
                .split_once(':')
                .with_context(|| format!("line {number} of {} is not NAME:PASSWORD", path.display()))?;
            accounts.add(name, password);
        }
        Ok(Some(accounts))
    }
}
