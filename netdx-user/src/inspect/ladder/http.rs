//! HTTP HEAD, and the rungs of what is spoken on a port. Owns: [`Head`], the service rungs.
//! Must not know: how the connection came to be.

use super::{
    Ladder, Rung, Status, Step,
    tap::{First, Tap},
    tls::{self, Handshake, Problem},
};
use crate::inspect::{Ask, errno_text};
use http_body_util::Empty;
use hyper::{Request, body::Bytes, client::conn::http1, ext::ReasonPhrase, header};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use std::{
    error::Error as _,
    io,
    net::{IpAddr, SocketAddr},
    time::{Duration, Instant},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::rustls::{self, AlertDescription};

/// More headers than any server should send.
const MOST_HEADERS: usize = 2000;
/// What a server did that said nothing.
const CLOSED: &str = "the server closed the connection without an answer";
/// The name of a [`Problem`] that is none of the server's.
const HTTP2: &str = "http2-only";

/// An answer to HEAD.
#[derive(Clone, Debug, Serialize)]
pub struct Head {
    /// Status code.
    pub status: u16,
    /// What the server says of the status code; what RFC 9110 calls it, where it says the same.
    pub reason: String,
    /// Headers in the order they came; bytes that are not UTF-8 replaced.
    pub headers: Vec<(String, String)>,
}

impl<H: Ask> Ladder<'_, H> {
    /// TLS and HTTP on a port that accepts.
    pub(super) async fn service(&mut self, endpoint: SocketAddr) {
        let target = &self.request.target;
        let patience = self.request.patience;
        if target.tls {
            let began = Instant::now();
            let roots = self.roots.get_or_insert_with(tls::Roots::load);
            let shaken = tls::shake(endpoint, &target.host, target.path.is_some(), roots, patience).await;
            let (rung, stream) = self.judge_handshake(shaken, endpoint, began).await;
            let failed = rung.status == Status::Failed;
            self.push(rung);
            if let (Some(path), Some(stream)) = (&target.path, stream) {
                let began = Instant::now();
                let rung = judge(head(stream, &authority(target.port, &target.host, 443), path, patience).await);
                self.push(rung.at(endpoint).took(began));
            } else if target.path.is_some() && failed {
                self.push(Rung::skipped(Step::Http, "there is no TLS connection that can be trusted").at(endpoint));
            }
        } else if let Some(path) = &target.path {
            let began = Instant::now();
            let answer = match timeout(patience, TcpStream::connect(endpoint)).await {
                Ok(Ok(stream)) => head(stream, &authority(target.port, &target.host, 80), path, patience).await,
                Ok(Err(error)) => Err(Problem::new("http", format!("connecting again failed: {}", errno_text(&error)))),
                Err(_) => Err(Problem::new("http", "connecting again took too long")),
            };
            self.push(judge(answer).at(endpoint).took(began));
        }
    }

    async fn judge_handshake(
        &self,
        shaken: Handshake,
        endpoint: SocketAddr,
        began: Instant,
    ) -> (Rung, Option<tokio_rustls::client::TlsStream<TcpStream>>) {
        let Handshake { session, mut problems, stream } = shaken;
        let mut rung = if problems.is_empty() {
            Rung::ok(Step::Tls, good(&session))
        } else {
            for problem in problems.iter_mut().filter(|p| p.name == "not-tls") {
                if self.speaks_http(endpoint).await {
                    *problem = Problem::new(
                        "plain-http",
                        format!("port {} speaks plain HTTP, not TLS: use http:// or the TLS port", endpoint.port()),
                    );
                }
            }
            let texts: Vec<&str> = problems.iter().map(|p| p.text.as_str()).collect();
            Rung::new(Step::Tls, Status::Failed, texts.join("; "))
        };
        rung.problems = problems.iter().map(|p| p.name).collect();
        rung.tls = Some(session);
        (rung.at(endpoint).took(began), stream)
    }

    /// Whether plain HTTP is answered where TLS was not.
    async fn speaks_http(&self, endpoint: SocketAddr) -> bool {
        let patience = self.request.patience;
        let Ok(Ok(stream)) = timeout(patience, TcpStream::connect(endpoint)).await else { return false };
        let host = authority(Some(endpoint.port()), &self.request.target.host, 80);
        head(stream, &host, "/", patience).await.is_ok()
    }
}

/// `TLSv1.3, certificate for a.example, expires in 80 days (2026-...), issued by ...`
fn good(session: &tls::Session) -> String {
    let mut text = session.version.clone().unwrap_or_else(|| "TLS".into());
    if let Some(own) = session.certificates.first() {
        text += &format!(
            ", certificate for {}, {} days left (until {}), issued by {}",
            own.names.join(", "),
            own.days_left,
            own.not_after,
            own.issuer
        );
    }
    text
}

/// The Host header: without the port where it is the scheme's own.
fn authority(port: Option<u16>, host: &str, default: u16) -> String {
    let host = match host.parse::<IpAddr>() {
        Ok(IpAddr::V6(v6)) => format!("[{v6}]"),
        Ok(_) | Err(_) => host.trim_end_matches('.').to_owned(),
    };
    match port {
        Some(port) if port != default => format!("{host}:{port}"),
        _ => host,
    }
}

/// What browsers and curl read, too.
fn lenient() -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .max_headers(MOST_HEADERS)
        .allow_spaces_after_header_name_in_responses(true)
        .allow_obsolete_multiline_headers_in_responses(true)
        .ignore_invalid_headers_in_responses(true);
    builder
}

/// Asks for the head of a page.
async fn head<S>(stream: S, host: &str, path: &str, patience: Duration) -> Result<Head, Problem>
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let (stream, first) = Tap::new(stream);
    let exchange = async {
        let (mut sender, connection) = lenient().handshake(TokioIo::new(stream)).await?;
        let request = Request::head(path)
            .header(header::HOST, host)
            .header(header::USER_AGENT, concat!("netdx/", env!("CARGO_PKG_VERSION")))
            .header(header::ACCEPT, "*/*")
            .header(header::CONNECTION, "close")
            .body(Empty::<Bytes>::new());
        let Ok(request) = request else { return Ok(None) };
        // The connection has to be driven for the answer to come; how it ends is what the answer tells.
        let driven = async {
            _ = connection.await;
            std::future::pending::<()>().await;
        };
        tokio::select! {
            answer = sender.send_request(request) => answer.map(Some),
            () = driven => Ok(None),
        }
    };
    let response = match timeout(patience, exchange).await {
        Err(_) => {
            let text = format!("the request was sent, but no answer came within {} s", patience.as_secs_f32());
            return Err(Problem::new("http-silent", text));
        }
        Ok(Err(error)) => return Err(described(&error, &first)),
        Ok(Ok(None)) => return Err(Problem::new("http", format!("{host}{path} can't be asked for in HTTP"))),
        Ok(Ok(Some(response))) => response,
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Head {
        status: response.status().as_u16(),
        reason: match response.extensions().get::<ReasonPhrase>() {
            Some(reason) => text(reason.as_bytes()),
            None => response.status().canonical_reason().unwrap_or_default().to_owned(),
        },
        headers: response.headers().iter().map(|(name, value)| (name.to_string(), text(value.as_bytes()))).collect(),
    })
}

/// Why there was no HTTP answer.
fn described(error: &hyper::Error, first: &First) -> Problem {
    // A request that had not been sent yet when the connection broke says why behind that.
    let error = error.source().and_then(|source| source.downcast_ref::<hyper::Error>()).unwrap_or(error);
    if first.is_http2() {
        return Problem::new(HTTP2, "it speaks HTTP/2 only (as gRPC does), and netdx asks in HTTP/1.1");
    }
    if error.is_parse() && first.is_http1() {
        return Problem::new("http", format!("it answers in HTTP, in a way that can't be read: {error}"));
    }
    if error.is_parse() {
        return Problem::new("not-http", "what came back is not HTTP");
    }
    // Closed (or reset) before the request had gone, in part or whole.
    if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
        return Problem::new("http-closed", CLOSED);
    }
    match error.source().and_then(|source| source.downcast_ref::<io::Error>()) {
        Some(source) => match source.get_ref().and_then(|inner| inner.downcast_ref()) {
            // The handshake had ended for the client by then (RFC 8446, sections 2 and 4.4.2.4).
            Some(rustls::Error::AlertReceived(AlertDescription::CertificateRequired)) => {
                let text = "the server broke TLS off: it asks for a certificate of the client, and netdx has none";
                Problem::new("http-closed", text)
            }
            _ => Problem::new("http-closed", format!("the connection broke: {}", errno_text(source))),
        },
        None => Problem::new("http", error.to_string()),
    }
}

/// A server that answers is there; one that answers 5xx says itself that it does not work (RFC 9110 section 15.6).
fn judge(answer: Result<Head, Problem>) -> Rung {
    match answer {
        // It is no fault of the server.
        Err(problem) if problem.name == HTTP2 => Rung::skipped(Step::Http, problem.text),
        Err(problem) => {
            let mut rung = Rung::new(Step::Http, Status::Failed, problem.text);
            rung.problems.push(problem.name);
            rung
        }
        Ok(head) => {
            let status = format!("{} {}", head.status, head.reason);
            let shown: Vec<String> = head
                .headers
                .iter()
                .filter(|(name, _)| SHOWN.contains(&name.as_str()))
                .map(|(name, value)| format!("{name}: {value}"))
                .collect();
            let headers = if shown.is_empty() { String::new() } else { format!("; {}", shown.join("; ")) };
            let mut rung = if head.status >= 500 {
                let mut rung =
                    Rung::new(Step::Http, Status::Failed, format!("the server answers {}{headers}", status.trim_end()));
                rung.problems.push("http-status");
                rung
            } else {
                Rung::ok(Step::Http, format!("{}{headers}", status.trim_end()))
            };
            rung.http = Some(head);
            rung
        }
    }
}

/// Headers that say who answers and where else to look; JSON has them all.
const SHOWN: &[&str] = &["server", "via", "location", "www-authenticate", "retry-after", "content-type"];

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        pin::Pin,
        task::{Context, Poll},
    };
    use tokio::io::ReadBuf;

    /// A TLS connection that the server ends with an alert.
    struct Alerted(AlertDescription);

    impl AsyncRead for Alerted {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Err(io::Error::new(io::ErrorKind::InvalidData, rustls::Error::AlertReceived(self.0))))
        }
    }

    impl AsyncWrite for Alerted {
        fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
            Poll::Ready(Ok(bytes.len()))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    fn problem(stream: impl AsyncRead + AsyncWrite + Unpin + 'static) -> Problem {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(head(stream, "db.example", "/", Duration::from_secs(5))).unwrap_err()
    }

    #[test]
    fn a_server_that_closes_at_once_has_closed() {
        let (near, far) = tokio::io::duplex(64);
        drop(far);
        let problem = problem(near);
        assert_eq!((problem.name, problem.text.as_str()), ("http-closed", CLOSED));
    }

    #[test]
    fn a_server_wants_a_certificate_after_the_handshake() {
        let wanted = problem(Alerted(AlertDescription::CertificateRequired));
        assert!(wanted.text.contains("a certificate of the client"), "{wanted:?}");
        let other = problem(Alerted(AlertDescription::InternalError));
        assert!(other.text.contains("InternalError"), "{other:?}");
    }

    #[test]
    fn a_status_without_a_reason() {
        let rung = judge(Ok(Head { status: 503, reason: String::new(), headers: Vec::new() }));
        assert_eq!(rung.text, "the server answers 503");
    }
}
