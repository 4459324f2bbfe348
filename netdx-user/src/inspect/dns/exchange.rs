//! One question to one server: over UDP, again over TCP when the answer was cut. Owns: [`Exchange`], and the sockets it takes.
//! Must not know: which names or servers are asked, and why.
//!
//! The question asks for what a validating resolver would say (EDNS with DO, RFC 3225, and AD, RFC 6840 section 5.7); a server
//! that answers FORMERR to that is asked again without EDNS, and it is noted.

use hickory_proto::{
    op::{Edns, Message, MessageType, Query, ResponseCode},
    rr::{Name, RecordType},
};
use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout_at,
};

/// EDNS payload size that isn't fragmented on usual paths (DNS flag day 2020).
const PAYLOAD: u16 = 1232;

/// How long, how often, and over what a server is asked.
#[derive(Clone, Copy, Debug)]
pub struct Patience {
    /// For one try.
    pub timeout: Duration,
    /// UDP tries.
    pub tries: u32,
    /// TCP from the start.
    pub tcp: bool,
}

/// What came of one question.
#[derive(Debug)]
pub struct Exchange {
    /// From the first packet to the answer, or to giving up.
    pub elapsed: Duration,
    /// UDP packets sent.
    pub tries: u32,
    /// The UDP answer had TC set, so TCP was tried.
    pub truncated: bool,
    /// The server could not read EDNS (FORMERR) and was asked without.
    pub without_edns: bool,
    /// The answer, or why there is none.
    pub result: Result<Message, Failure>,
}

/// Why a server gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Nothing came back in time.
    #[error("no answer")]
    Silence,
    /// The kernel refused, or an ICMP error came back.
    #[error("{operation}: {}", crate::inspect::errno_text(error))]
    Io {
        /// What was being done.
        operation: &'static str,
        /// What the kernel said.
        error: io::Error,
    },
    /// The UDP answer was cut, and TCP failed.
    #[error("the answer over UDP was cut, and over TCP: {0}")]
    Tcp(Box<Failure>),
    /// What came back is not DNS.
    #[error("the answer can't be read as DNS: {0}")]
    Malformed(String),
}

impl Failure {
    /// The errno of the socket call that failed, if one did.
    #[must_use]
    pub fn errno(&self) -> Option<i32> {
        match self {
            Failure::Io { error, .. } => error.raw_os_error(),
            Failure::Tcp(inner) => inner.errno(),
            Failure::Silence | Failure::Malformed(_) => None,
        }
    }
}

/// Asks `server` one question.
pub async fn ask(server: SocketAddr, name: &Name, kind: RecordType, patience: Patience) -> Exchange {
    let began = Instant::now();
    let mut exchange = ask_once(server, name, kind, patience, true).await;
    if exchange.result.as_ref().is_ok_and(|m| m.metadata.response_code == ResponseCode::FormErr) {
        exchange = ask_once(server, name, kind, patience, false).await;
        // One that can't read the question without it either does not fail because of it.
        exchange.without_edns =
            exchange.result.as_ref().is_ok_and(|m| m.metadata.response_code != ResponseCode::FormErr);
    }
    exchange.elapsed = began.elapsed();
    exchange
}

async fn ask_once(server: SocketAddr, name: &Name, kind: RecordType, patience: Patience, edns: bool) -> Exchange {
    let mut exchange = Exchange {
        elapsed: Duration::ZERO,
        tries: 0,
        truncated: false,
        without_edns: false,
        result: Err(Failure::Silence),
    };
    if patience.tcp {
        exchange.result = over_tcp(server, name, kind, patience.timeout, edns).await;
        return exchange;
    }
    while exchange.tries < patience.tries.max(1) {
        exchange.tries += 1;
        exchange.result = over_udp(server, name, kind, patience.timeout, edns).await;
        if !matches!(exchange.result, Err(Failure::Silence)) {
            break;
        }
    }
    if exchange.result.as_ref().is_ok_and(|m| m.metadata.truncation) {
        exchange.truncated = true;
        exchange.result = over_tcp(server, name, kind, patience.timeout, edns)
            .await
            .map_err(|failure| Failure::Tcp(Box::new(failure)));
    }
    exchange
}

fn question(name: &Name, kind: RecordType, edns: bool) -> Message {
    let mut message = Message::query();
    message.metadata.recursion_desired = true;
    message.metadata.authentic_data = true;
    message.add_query(Query::query(name.clone(), kind));
    if edns {
        let mut options = Edns::new();
        options.set_max_payload(PAYLOAD);
        options.set_dnssec_ok(true);
        message.set_edns(options);
    }
    message
}

/// Whether `answer` answers `question`: same id, same question (a server that answers FORMERR or NOTIMP may leave it out).
fn answers(answer: &Message, question: &Message) -> bool {
    answer.metadata.message_type == MessageType::Response
        && answer.metadata.id == question.metadata.id
        && match (answer.queries.first(), question.queries.first()) {
            (Some(a), Some(q)) => a.query_type == q.query_type && a.name.eq_ignore_root(&q.name),
            (None, _) => answer.metadata.response_code != ResponseCode::NoError,
            (Some(_), None) => false,
        }
}

fn io_failure(operation: &'static str) -> impl FnOnce(io::Error) -> Failure {
    move |error| Failure::Io { operation, error }
}

async fn over_udp(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    patience: Duration,
    edns: bool,
) -> Result<Message, Failure> {
    let any: IpAddr = if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0)).await.map_err(io_failure("bind a UDP socket"))?;
    // Connected: an ICMP error comes back as an errno, and the kernel drops datagrams from anybody else.
    socket.connect(server).await.map_err(io_failure("reach the server"))?;
    let question = question(name, kind, edns);
    let bytes = question.to_vec().map_err(|error| Failure::Malformed(error.to_string()))?;
    socket.send(&bytes).await.map_err(io_failure("send the query"))?;
    let deadline = tokio::time::Instant::now() + patience;
    let mut buffer = vec![0; usize::from(u16::MAX)];
    let mut garbage = None;
    loop {
        match timeout_at(deadline, socket.recv(&mut buffer)).await {
            Err(_) => return Err(garbage.map_or(Failure::Silence, Failure::Malformed)),
            Ok(Err(error)) => return Err(Failure::Io { operation: "receive the answer", error }),
            Ok(Ok(length)) => match Message::from_vec(&buffer[..length]) {
                Ok(answer) if answers(&answer, &question) => return Ok(answer),
                // Not the answer to this question: a late one, or forged. The right one may still come.
                Ok(_) => {}
                Err(error) => garbage = Some(error.to_string()),
            },
        }
    }
}

async fn over_tcp(
    server: SocketAddr,
    name: &Name,
    kind: RecordType,
    patience: Duration,
    edns: bool,
) -> Result<Message, Failure> {
    let deadline = tokio::time::Instant::now() + patience;
    let exchange = async {
        let mut stream = TcpStream::connect(server).await.map_err(io_failure("connect over TCP"))?;
        let question = question(name, kind, edns);
        let bytes = question.to_vec().map_err(|error| Failure::Malformed(error.to_string()))?;
        let length = u16::try_from(bytes.len()).map_err(|error| Failure::Malformed(error.to_string()))?;
        let framed = [&length.to_be_bytes()[..], &bytes].concat();
        stream.write_all(&framed).await.map_err(io_failure("send the query over TCP"))?;
        let length = stream.read_u16().await.map_err(io_failure("receive the answer over TCP"))?;
        let mut buffer = vec![0; usize::from(length)];
        stream.read_exact(&mut buffer).await.map_err(io_failure("receive the answer over TCP"))?;
        let answer = Message::from_vec(&buffer).map_err(|error| Failure::Malformed(error.to_string()))?;
        if answers(&answer, &question) {
            Ok(answer)
        } else {
            Err(Failure::Malformed("it answers another question".into()))
        }
    };
    timeout_at(deadline, exchange).await.unwrap_or(Err(Failure::Silence))
}
