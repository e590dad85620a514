//! What TLS is spoken with (RFC 8489 §6.2.3): a certificate and its key, from files or made for this run.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring::default_provider;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// The port of STUN over TLS (RFC 8489 §8.1).
pub const PORT: u16 = 5349;

/// TLS 1.2 and 1.3, and where.
#[derive(Clone)]
pub struct Tls {
    pub(super) acceptor: TlsAcceptor,
    /// At this port of every address; 0 for any that is free.
    pub port: u16,
}

impl fmt::Debug for Tls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tls at port {}", self.port)
    }
}

/// Why there is no TLS.
#[derive(Debug)]
pub enum TlsError {
    /// A file cannot be read, or has not in it what it should.
    File(PathBuf, &'static str, pem::Error),
    /// The key is not that of the certificate, or of a kind that is not known.
    Pair(rustls::Error),
    /// A certificate cannot be made.
    Make(rcgen::Error),
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path, what, pem::Error::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
                write!(f, "there is no {what} {}", path.display())
            }
            Self::File(path, what, error) => write!(f, "there is no {what} in {} (PEM): {error}", path.display()),
            Self::Pair(error) => write!(f, "certificate and key do not serve together: {error}"),
            Self::Make(error) => write!(f, "a certificate cannot be made: {error}"),
        }
    }
}

impl std::error::Error for TlsError {}

impl Tls {
    /// With a chain of certificates and the key of the first, as PEM.
    ///
    /// # Errors
    /// If they cannot be read or do not belong together.
    pub fn from_files(certificate: &Path, key: &Path, port: u16) -> Result<Self, TlsError> {
        let failed = |path: &Path, what| {
            let path = path.to_owned();
            move |error| TlsError::File(path, what, error)
        };
        let chain = CertificateDer::pem_file_iter(certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(failed(certificate, "certificate"))?;
        if chain.is_empty() {
            return Err(failed(certificate, "certificate")(pem::Error::NoItemsFound));
        }
        let private = PrivateKeyDer::from_pem_file(key).map_err(failed(key, "key"))?;
        Self::new(chain, private, port)
    }

    /// With a certificate for `names` that nobody has signed: for tests, and for clients that do not look.
    ///
    /// # Errors
    /// If a name is none.
    pub fn self_signed(names: Vec<String>, port: u16) -> Result<Self, TlsError> {
        let made = rcgen::generate_simple_self_signed(names).map_err(TlsError::Make)?;
        let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
        Self::new(vec![made.cert.der().clone()], key.into(), port)
    }

    fn new(chain: Vec<CertificateDer<'static>>, key: PrivateKeyDer<'static>, port: u16) -> Result<Self, TlsError> {
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .and_then(|builder| builder.with_no_client_auth().with_single_cert(chain, key))
            .map_err(TlsError::Pair)?;
        Ok(Self { acceptor: TlsAcceptor::from(Arc::new(config)), port })
    }
}
