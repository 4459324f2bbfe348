//! The TLS handshake, and what the server's certificate is worth. Owns: [`Session`], [`Certificate`], the judging of a chain.
//! Must not know: who asks, what is spoken inside.
//!
//! The handshake is finished whatever the certificate says, so that it can be shown; nothing is sent through a connection whose
//! certificate was not found good.

use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use serde::Serialize;
use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};
use tokio::{net::TcpStream, time::timeout};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        self, AlertDescription, CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
        client::{
            ResolvesClientCert,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
            verify_server_cert_signed_by_trust_anchor, verify_server_name,
        },
        crypto::{CryptoProvider, ring},
        server::ParsedCertificate,
        sign::CertifiedKey,
    },
};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

/// What was agreed on, and the certificates.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Session {
    /// `TLSv1.3`; null: the handshake was not finished.
    pub version: Option<String>,
    /// Cipher suite.
    pub cipher: Option<String>,
    /// Application protocol agreed on (ALPN).
    pub alpn: Option<String>,
    /// The chain as the server sent it, its own certificate first.
    pub certificates: Vec<Certificate>,
    /// Which roots it was judged by: `system` or `built-in`.
    pub roots: &'static str,
}

/// A certificate.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Certificate {
    /// Whom it is for, as in the certificate.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// DNS names and addresses it is good for.
    pub names: Vec<String>,
    /// First second of validity, RFC 3339.
    pub not_before: String,
    /// Last second of validity, RFC 3339.
    pub not_after: String,
    /// Whole days until it expires; negative: since it has.
    pub days_left: i64,
    /// Subject and issuer are the same.
    pub self_signed: bool,
    #[serde(skip)]
    pub(super) first: i64,
    #[serde(skip)]
    pub(super) last: i64,
}

/// Something wrong with a certificate, or with the handshake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Stable name.
    pub(super) name: &'static str,
    /// In a sentence.
    pub(super) text: String,
}

impl Problem {
    pub(super) fn new(name: &'static str, text: impl Into<String>) -> Problem {
        Problem { name, text: text.into() }
    }
}

/// What came of a handshake.
pub(super) struct Handshake {
    /// What is known of it.
    pub(super) session: Session,
    /// What is wrong; empty: all is well.
    pub(super) problems: Vec<Problem>,
    /// The connection, when all is well.
    pub(super) stream: Option<TlsStream<TcpStream>>,
}

/// Certificates that are trusted.
pub(super) struct Roots {
    system: RootCertStore,
    built_in: RootCertStore,
}

impl Roots {
    /// The system's (SSL_CERT_FILE, SSL_CERT_DIR or the distribution's folder), and Mozilla's as built in.
    pub(super) fn load() -> Roots {
        let mut system = RootCertStore::empty();
        // A certificate in the store that can't be read is not trusted, as with every other program.
        system.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        Roots { system, built_in: RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() } }
    }
}

/// Connects and shakes hands.
pub(super) async fn shake(
    endpoint: SocketAddr,
    name: &str,
    http: bool,
    roots: &Roots,
    patience: Duration,
) -> Handshake {
    let mut result = Handshake { session: Session::default(), problems: Vec::new(), stream: None };
    let server = match server_name(name) {
        Ok(server) => server,
        Err(text) => {
            result.problems.push(Problem::new("handshake", text));
            return result;
        }
    };
    let provider = Arc::new(ring::default_provider());
    let witness =
        Arc::new(Witness { provider: provider.clone(), chain: Mutex::default(), asked: AtomicBool::new(false) });
    let config = ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions();
    let mut config = match config {
        Ok(config) => config
            .dangerous()
            .with_custom_certificate_verifier(witness.clone())
            .with_client_cert_resolver(witness.clone()),
        Err(error) => {
            result.problems.push(Problem::new("handshake", error.to_string()));
            return result;
        }
    };
    if http {
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
    }
    let connector = TlsConnector::from(Arc::new(config));
    let handshake = async {
        let tcp = TcpStream::connect(endpoint).await?;
        connector.connect(server.clone(), tcp).await
    };
    match timeout(patience, handshake).await {
        Err(_) => result.problems.push(Problem::new(
            "handshake",
            format!("the connection was accepted, but the handshake did not end within {} s", patience.as_secs_f32()),
        )),
        Ok(Err(error)) => result.problems.push(failed(&error, &witness)),
        Ok(Ok(stream)) => {
            let (_, connection) = stream.get_ref();
            result.session.version =
                connection.protocol_version().and_then(|v| v.as_str()).map(|v| v.replace('_', "."));
            result.session.cipher =
                connection.negotiated_cipher_suite().and_then(|c| c.suite().as_str()).map(str::to_owned);
            result.session.alpn = connection.alpn_protocol().map(|p| String::from_utf8_lossy(p).into_owned());
            result.stream = Some(stream);
        }
    }
    let chain = witness.chain.lock().map(|chain| chain.clone()).unwrap_or_default();
    if !chain.is_empty() {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        result.session.certificates = chain.iter().map(|der| read(der, now)).collect();
        let (store, label) =
            if roots.system.is_empty() { (&roots.built_in, "built-in") } else { (&roots.system, "system") };
        result.session.roots = label;
        let judged = judge(&chain, &result.session.certificates, &server, store, now, &provider);
        let also_built_in = label == "system"
            && judged.iter().any(|p| p.name == "certificate-untrusted")
            && !judge(&chain, &result.session.certificates, &server, &roots.built_in, now, &provider)
                .iter()
                .any(|p| p.name == "certificate-untrusted");
        result.problems.extend(judged);
        if also_built_in {
            for problem in result.problems.iter_mut().filter(|p| p.name == "certificate-untrusted") {
                problem.text += "; Mozilla's list has its root, so this system's certificates are incomplete or old";
            }
        }
    }
    if !result.problems.is_empty() {
        result.stream = None;
    }
    result
}

/// What SNI asks for: the name without its final dot, or the address.
fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(ServerName::from(address));
    }
    ServerName::try_from(name.trim_end_matches('.').to_owned())
        .map_err(|_| format!("{name:?} can't be asked for in TLS (SNI): it is no valid host name"))
}

/// What netdx offers in a handshake, for those that find nothing in it (the ciphers of rustls).
const OFFERED: &str = "TLS 1.2 and 1.3 with ECDHE and AES-GCM or ChaCha20";

/// A handshake that was not finished.
fn failed(error: &io::Error, witness: &Witness) -> Problem {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match inner {
        Some(rustls::Error::InvalidMessage(_)) => Problem::new("not-tls", "what came back is not TLS"),
        Some(rustls::Error::AlertReceived(alert)) => {
            let shown = witness.chain.lock().is_ok_and(|chain| !chain.is_empty());
            let why = match alert {
                _ if witness.asked.load(Ordering::Relaxed) => {
                    "; it asks for a certificate of the client, and netdx has none".to_owned()
                }
                // Before it has said anything of itself: it has found nothing in what was offered.
                AlertDescription::HandshakeFailure | AlertDescription::ProtocolVersion if !shown => {
                    format!("; netdx offers {OFFERED}: it may take older ones only")
                }
                AlertDescription::NoApplicationProtocol => {
                    "; netdx asks for HTTP/1.1, and it may take HTTP/2 only".to_owned()
                }
                _ => String::new(),
            };
            Problem::new("handshake", format!("the server broke the handshake off with the alert {alert:?}{why}"))
        }
        Some(other) => Problem::new("handshake", format!("the handshake failed: {other}")),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            Problem::new("handshake", "the server closed the connection during the handshake")
        }
        None => Problem::new("handshake", format!("the handshake failed: {}", crate::inspect::errno_text(error))),
    }
}

/// Everything that is wrong with a chain, each thing judged on its own.
fn judge(
    chain: &[CertificateDer<'static>],
    certificates: &[Certificate],
    server: &ServerName<'_>,
    roots: &RootCertStore,
    now: Duration,
    provider: &CryptoProvider,
) -> Vec<Problem> {
    let mut problems = Vec::new();
    let (Some(own), Some(shown)) = (chain.first(), certificates.first()) else { return problems };
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    for (index, certificate) in certificates.iter().enumerate() {
        let which = if index == 0 { "the certificate".into() } else { format!("the chain's {}", certificate.subject) };
        if seconds > certificate.last {
            let text = format!("{which} expired on {} ({} days ago)", certificate.not_after, -certificate.days_left);
            problems.push(Problem::new("certificate-expired", text));
        } else if seconds < certificate.first {
            let text =
                format!("{which} is not valid before {}; see that this host's clock is right", certificate.not_before);
            problems.push(Problem::new("certificate-not-yet-valid", text));
        }
    }
    let parsed = match ParsedCertificate::try_from(own) {
        Ok(parsed) => parsed,
        Err(error) => {
            problems.push(Problem::new("certificate-unreadable", format!("the certificate can't be read: {error}")));
            return problems;
        }
    };
    if verify_server_name(&parsed, server).is_err() {
        let names = if shown.names.is_empty() { "no name".into() } else { shown.names.join(", ") };
        let text = format!("the certificate is not for {}: it is for {names}", server.to_str());
        problems.push(Problem::new("certificate-name", text));
    }
    // Trust is judged at a moment at which every certificate was valid, so that an expired one doesn't hide a missing root.
    let first = certificates.iter().map(|c| c.first).max().unwrap_or(seconds);
    let last = certificates.iter().map(|c| c.last).min().unwrap_or(seconds);
    let moment = if first <= last { seconds.clamp(first, last) } else { seconds };
    let at = UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(moment).unwrap_or(0)));
    let algorithms = provider.signature_verification_algorithms.all;
    match verify_server_cert_signed_by_trust_anchor(&parsed, roots, &chain[1..], at, algorithms) {
        Ok(()) => {}
        // A root that has expired since: the dates above have said so where they are at fault.
        Err(rustls::Error::InvalidCertificate(
            CertificateError::Expired
            | CertificateError::ExpiredContext { .. }
            | CertificateError::NotValidYet
            | CertificateError::NotValidYetContext { .. },
        )) if !problems.is_empty() => {}
        Err(rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer)) => {
            let text = if shown.self_signed && chain.len() == 1 {
                "the certificate is signed by itself, and is not among those this system trusts".into()
            } else {
                let last = certificates.last().map_or("", |c| c.issuer.as_str());
                format!("no certificate that this system trusts has signed the chain; its last issuer is {last}")
            };
            problems.push(Problem::new("certificate-untrusted", text));
        }
        // Whether it may sign others (CA:TRUE, as `openssl req -x509` has it) matters to nobody whose own list has it.
        Err(_) if is_root(own, roots) => {}
        Err(error) if shown.self_signed && chain.len() == 1 => {
            let why = match error {
                rustls::Error::InvalidCertificate(CertificateError::Other(_)) => String::new(),
                error => format!(" ({error})"),
            };
            let text = format!("the certificate is signed by itself, and is not among those this system trusts{why}");
            problems.push(Problem::new("certificate-untrusted", text));
        }
        Err(error) => problems.push(Problem::new("certificate-untrusted", format!("the chain does not hold: {error}"))),
    }
    problems
}

/// Whether a certificate is itself one of those that are trusted.
fn is_root(own: &CertificateDer<'static>, roots: &RootCertStore) -> bool {
    let mut alone = RootCertStore::empty();
    alone.add(own.clone()).is_ok() && alone.roots.iter().all(|root| roots.roots.contains(root))
}

/// The fields of a certificate; one that can't be read is shown empty, and judged unreadable.
fn read(der: &CertificateDer<'_>, now: Duration) -> Certificate {
    let Ok((_, certificate)) = X509Certificate::from_der(der) else { return Certificate::default() };
    let names = match certificate.subject_alternative_name() {
        Ok(Some(extension)) => extension.value.general_names.iter().filter_map(name).collect(),
        Ok(None) | Err(_) => Vec::new(),
    };
    let validity = certificate.validity();
    let (first, last) = (validity.not_before.timestamp(), validity.not_after.timestamp());
    let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    Certificate {
        subject: certificate.subject().to_string(),
        issuer: certificate.issuer().to_string(),
        names,
        not_before: moment(first),
        not_after: moment(last),
        days_left: last.saturating_sub(seconds).div_euclid(86_400),
        self_signed: certificate.subject() == certificate.issuer(),
        first,
        last,
    }
}

fn name(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(name) => Some((*name).to_owned()),
        GeneralName::IPAddress(bytes) => match bytes.len() {
            4 => <[u8; 4]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
            16 => <[u8; 16]>::try_from(*bytes).ok().map(|b| IpAddr::from(b).to_string()),
            _ => None,
        },
        _ => None,
    }
}

fn moment(seconds: i64) -> String {
    jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |t| t.to_string())
}

/// A verifier that remembers the chain and lets the handshake go on; signatures of the handshake are checked as always.
/// It has no certificate of its own, and remembers that the server asked for one.
#[derive(Debug)]
struct Witness {
    provider: Arc<CryptoProvider>,
    chain: Mutex<Vec<CertificateDer<'static>>>,
    asked: AtomicBool,
}

impl ResolvesClientCert for Witness {
    fn resolve(&self, _issuers: &[&[u8]], _schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        self.asked.store(true, Ordering::Relaxed);
        None
    }

    fn has_certs(&self) -> bool {
        true
    }
}

impl ServerCertVerifier for Witness {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if let Ok(mut chain) = self.chain.lock() {
            *chain = std::iter::once(own).chain(intermediates).map(|der| der.clone().into_owned()).collect();
        }
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, own, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, own, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
