//! Servers that tests start for themselves, in islands of their own. Owns: a scripted DNS server, HTTP with and without TLS.
//! Must not know: what is tested. Each serves until its test process ends.

use crate::island::Island;
use hickory_proto::{
    op::{Message, MessageType, ResponseCode},
    rr::{Name, RData, Record, RecordType},
};
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, socket_with};
use std::{
    io::{Read as _, Write as _},
    net::{IpAddr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::{AsRawFd as _, OwnedFd},
    sync::Arc,
    time::Duration,
};
use tokio_rustls::rustls::{self, ServerConfig, ServerConnection, StreamOwned, crypto::ring};

/// What a DNS server answers.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    /// Owner without the final dot, TTL, data.
    pub records: Vec<(String, u32, RData)>,
    /// The answer to what isn't in the zone.
    pub otherwise: Option<ResponseCode>,
    /// Says that it validated (AD).
    pub authentic: bool,
    /// Every UDP answer is cut (TC).
    pub truncate: bool,
    /// Nothing listens on TCP.
    pub no_tcp: bool,
    /// Never answers.
    pub dead: bool,
    /// Answers FORMERR to EDNS.
    pub no_edns: bool,
    /// Never answers questions for this type.
    pub mute: Option<RecordType>,
    /// Thinks so long before every answer.
    pub delay: Duration,
}

impl Zone {
    /// Adds a record: a full name without the final dot.
    #[must_use]
    pub fn with(mut self, name: &str, ttl: u32, data: impl Into<RData>) -> Zone {
        self.records.push((name.to_ascii_lowercase(), ttl, data.into()));
        self
    }

    /// Adds an address.
    #[must_use]
    pub fn address(self, name: &str, address: &str) -> Zone {
        let address: IpAddr = address.parse().expect("an address");
        self.with(name, 300, RData::from(address))
    }

    fn answer(&self, question: &Message, tcp: bool) -> Message {
        let mut answer = Message::response(question.metadata.id, question.metadata.op_code);
        answer.metadata.message_type = MessageType::Response;
        answer.metadata.recursion_desired = question.metadata.recursion_desired;
        answer.metadata.recursion_available = true;
        answer.metadata.authentic_data = self.authentic;
        if self.no_edns && question.edns.is_some() {
            answer.metadata.response_code = ResponseCode::FormErr;
            return answer;
        }
        let Some(query) = question.queries.first() else { return answer };
        answer.add_query(query.clone());
        if self.truncate && !tcp {
            answer.metadata.truncation = true;
            return answer;
        }
        let mut name = query.name.to_ascii().trim_end_matches('.').to_ascii_lowercase();
        let mut known = false;
        loop {
            let here: Vec<_> = self.records.iter().filter(|(owner, ..)| *owner == name).collect();
            known |= !here.is_empty();
            let mut alias = None;
            for (owner, ttl, data) in here {
                if data.record_type() == query.query_type || data.record_type() == RecordType::CNAME {
                    let owner = Name::from_ascii(format!("{owner}.")).expect("a name");
                    answer.add_answer(Record::from_rdata(owner, *ttl, data.clone()));
                }
                if let RData::CNAME(to) = data {
                    alias = Some(to.to_ascii().trim_end_matches('.').to_ascii_lowercase());
                }
            }
            match alias.filter(|_| query.query_type != RecordType::CNAME) {
                Some(to) => name = to,
                None => break,
            }
        }
        if !known {
            answer.metadata.response_code = self.otherwise.unwrap_or(ResponseCode::NXDomain);
        }
        answer
    }
}

/// Serves a zone on port 53 of an address.
pub fn dns(island: &Island, address: &str, zone: Zone) {
    let endpoint = SocketAddr::new(address.parse().expect("an address"), 53);
    let zone = Arc::new(zone);
    let (udp, tcp) = island.inside(move || {
        (UdpSocket::bind(endpoint).expect("bind UDP port 53"), TcpListener::bind(endpoint).expect("bind TCP port 53"))
    });
    let over_tcp = zone.clone();
    if !zone.no_tcp {
        std::thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let zone = over_tcp.clone();
                std::thread::spawn(move || serve_over_tcp(&zone, stream));
            }
        });
    }
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, from)) = udp.recv_from(&mut buffer) {
            let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
            let is_mute = |zone: &Zone| question.queries.first().is_some_and(|q| Some(q.query_type) == zone.mute);
            if !zone.dead && !is_mute(&zone) {
                std::thread::sleep(zone.delay);
                let answer = zone.answer(&question, false).to_vec().expect("an answer");
                // A client that has gone away needs no answer.
                _ = udp.send_to(&answer, from);
            }
        }
    });
}

/// Answers the questions of one connection, until the client has no more.
fn serve_over_tcp(zone: &Zone, mut stream: TcpStream) {
    let mut length = [0; 2];
    while stream.read_exact(&mut length).is_ok() {
        let mut bytes = vec![0; usize::from(u16::from_be_bytes(length))];
        if stream.read_exact(&mut bytes).is_err() {
            return;
        }
        let Ok(question) = Message::from_vec(&bytes) else { return };
        let answer = zone.answer(&question, true).to_vec().expect("an answer");
        let length = u16::try_from(answer.len()).expect("a short answer");
        // A client that has gone away needs no answer.
        _ = stream.write_all(&[&length.to_be_bytes()[..], &answer].concat());
    }
}

/// Answers each datagram to port 53 of an address with whatever `answer` makes of it, from another address if one is given.
pub fn raw_dns(
    island: &Island,
    address: &str,
    from: Option<&str>,
    mut answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) {
    let at = |text: &str| SocketAddr::new(text.parse().expect("an address"), 53);
    let (to, from) = (at(address), from.map(at));
    let (socket, other) = island.inside(move || {
        let bind = |end| UdpSocket::bind(end).expect("bind UDP port 53");
        (bind(to), from.map(bind))
    });
    std::thread::spawn(move || {
        let mut buffer = [0; 4096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer) {
            for bytes in answer(&buffer[..length]) {
                // A client that has gone away needs no answer.
                _ = other.as_ref().unwrap_or(&socket).send_to(&bytes, client);
            }
        }
    });
}

/// Answers the first bytes of each connection to TCP port 53 with whatever `answer` makes of them, and closes it.
pub fn raw_dns_over_tcp(
    island: &Island,
    address: &str,
    mut answer: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static,
) {
    let listener = listen(island, &SocketAddr::new(address.parse().expect("an address"), 53).to_string());
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut buffer = [0; 4096];
            let Ok(length) = stream.read(&mut buffer) else { continue };
            for bytes in answer(&buffer[..length]) {
                // A segment of its own for each.
                _ = stream.set_nodelay(true);
                // A client that has gone away needs no answer.
                _ = stream.write_all(&bytes);
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    });
}

/// Listens and never accepts; the queue takes a few.
#[must_use]
pub fn listen(island: &Island, endpoint: &str) -> TcpListener {
    let endpoint: SocketAddr = endpoint.parse().expect("an endpoint");
    island.inside(move || TcpListener::bind(endpoint).unwrap_or_else(|error| panic!("listen on {endpoint}: {error}")))
}

/// Listens with room for four connections, never accepts, and takes a connection for set up only when its first data comes
/// (TCP_DEFER_ACCEPT): several handshakes can be under way at once.
#[must_use]
pub fn deferring(island: &Island, endpoint: &str) -> OwnedFd {
    let seconds = 30_i32.to_ne_bytes();
    prepared(island, endpoint, 3, move |socket| set(socket, libc::TCP_DEFER_ACCEPT, &seconds))
}

/// Listens and takes from this peer only segments that are signed (TCP-MD5, RFC 2385).
#[must_use]
pub fn signing(island: &Island, endpoint: &str, peer: &str) -> OwnedFd {
    /// `struct tcp_md5sig` (include/uapi/linux/tcp.h): an address of 128 bytes, flags, prefix, key length, interface, key.
    const LENGTH: usize = 216;
    let mut option = [0; LENGTH];
    match peer.parse().expect("an address") {
        IpAddr::V4(peer) => {
            option[..2].copy_from_slice(&(libc::AF_INET as u16).to_ne_bytes());
            option[4..8].copy_from_slice(&peer.octets());
        }
        IpAddr::V6(peer) => {
            option[..2].copy_from_slice(&(libc::AF_INET6 as u16).to_ne_bytes());
            option[8..24].copy_from_slice(&peer.octets());
        }
    }
    option[130..132].copy_from_slice(&6_u16.to_ne_bytes());
    option[136..142].copy_from_slice(b"secret");
    prepared(island, endpoint, 8, move |socket| set(socket, libc::TCP_MD5SIG, &option))
}

/// Listens, and has a filter of its own (classic BPF) that lets nothing in.
#[must_use]
pub fn deaf(island: &Island, endpoint: &str) -> OwnedFd {
    prepared(island, endpoint, 8, |socket| {
        // BPF_RET | BPF_K: of each packet, keep nothing.
        let mut drop_all = [libc::sock_filter { code: 6, jt: 0, jf: 0, k: 0 }];
        let program = libc::sock_fprog { len: 1, filter: drop_all.as_mut_ptr() };
        let length = libc::socklen_t::try_from(size_of_val(&program)).expect("a short option");
        let value = (&raw const program).cast();
        // SAFETY: the kernel copies the program, and the one instruction that it points to, before the call returns.
        let result =
            unsafe { libc::setsockopt(socket.as_raw_fd(), libc::SOL_SOCKET, libc::SO_ATTACH_FILTER, value, length) };
        assert_eq!(result, 0, "attach a filter: {}", std::io::Error::last_os_error());
    })
}

/// Listens on a socket with options of its own, and never accepts.
fn prepared(island: &Island, endpoint: &str, backlog: i32, options: impl FnOnce(&OwnedFd) + Send + 'static) -> OwnedFd {
    let endpoint: SocketAddr = endpoint.parse().expect("an endpoint");
    island.inside(move || {
        let family = if endpoint.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a socket");
        options(&socket);
        bind(&socket, &endpoint).expect("bind");
        rustix::net::listen(&socket, backlog).expect("listen");
        socket
    })
}

/// An option of TCP, for which rustix has no name.
fn set(socket: &OwnedFd, option: libc::c_int, value: &[u8]) {
    let length = libc::socklen_t::try_from(value.len()).expect("a short option");
    // SAFETY: the kernel reads `length` bytes of the value, which lives until the call returns.
    let result =
        unsafe { libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, option, value.as_ptr().cast(), length) };
    assert_eq!(result, 0, "set option {option}: {}", std::io::Error::last_os_error());
}

/// Answers every HTTP request with this status line and these headers.
pub fn http(island: &Island, endpoint: &str, head: &str) {
    let listener = listen(island, endpoint);
    let head = format!("HTTP/1.1 {head}\r\nServer: netdx-tests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            converse(&mut stream, &head);
        }
    });
}

/// The same inside TLS.
pub fn https(island: &Island, endpoint: &str, head: &str, config: ServerConfig) {
    let listener = listen(island, endpoint);
    let head = format!("HTTP/1.1 {head}\r\nServer: netdx-tests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    let config = Arc::new(config);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let connection = ServerConnection::new(config.clone()).expect("a TLS session");
            let mut stream = StreamOwned::new(connection, stream);
            converse(&mut stream, &head);
            stream.conn.send_close_notify();
            // A client that did not like the certificate has gone away already.
            _ = stream.flush();
        }
    });
}

/// Reads a request and writes the answer.
fn converse(stream: &mut (impl std::io::Read + std::io::Write), head: &str) {
    let mut request = Vec::new();
    let mut buffer = [0; 1024];
    while !request.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => return,
            Ok(length) => request.extend_from_slice(&buffer[..length]),
        }
        // What doesn't look like a request is answered at once, as servers do.
        if !request.starts_with(b"HEAD") {
            break;
        }
    }
    // A client that has gone away needs no answer.
    _ = stream.write_all(head.as_bytes());
    _ = stream.flush();
}

/// A certificate authority that only a test trusts.
pub struct Authority {
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
    /// Its own certificate as PEM: what SSL_CERT_FILE has to hold.
    pub pem: String,
}

impl Default for Authority {
    fn default() -> Authority {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "netdx tests' own authority");
        let certificate = parameters.self_signed(&key).expect("a certificate");
        Authority { pem: certificate.pem(), issuer: rcgen::Issuer::new(parameters, key) }
    }
}

impl Authority {
    /// A server's TLS with a certificate for these names, valid from and to these years.
    #[must_use]
    pub fn server(&self, names: &[&str], years: (i32, i32)) -> ServerConfig {
        let key = rcgen::KeyPair::generate().expect("a key");
        let names: Vec<String> = names.iter().map(ToString::to_string).collect();
        let mut parameters = rcgen::CertificateParams::new(names).expect("parameters");
        parameters.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        parameters.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        let certificate = parameters.signed_by(&key, &self.issuer).expect("a certificate");
        tls(&certificate, &key)
    }

    /// A server's TLS with a certificate that is its own authority, as `openssl req -x509` makes it.
    #[must_use]
    pub fn itself(name: &str) -> (Authority, ServerConfig) {
        let key = rcgen::KeyPair::generate().expect("a key");
        let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let certificate = parameters.self_signed(&key).expect("a certificate");
        let config = tls(&certificate, &key);
        (Authority { pem: certificate.pem(), issuer: rcgen::Issuer::new(parameters, key) }, config)
    }
}

fn tls(certificate: &rcgen::Certificate, key: &rcgen::KeyPair) -> ServerConfig {
    let key = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).expect("a private key");
    ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .expect("TLS versions")
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .expect("a certificate and its key")
}
