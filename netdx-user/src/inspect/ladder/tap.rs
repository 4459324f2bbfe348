//! The first bytes that came over a stream. Owns: [`Tap`], what those bytes are the beginning of. Must not know: who reads them.

use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex},
    task::{Context, Poll},
};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Length of a frame's header in HTTP/2 (RFC 9113, section 4.1).
const FRAME: usize = 9;

/// A stream that keeps the first bytes that are read from it.
pub(super) struct Tap<S> {
    stream: S,
    first: First,
}

/// The first bytes.
#[derive(Clone, Default)]
pub(super) struct First(Arc<Mutex<Vec<u8>>>);

impl<S> Tap<S> {
    /// The stream, and what will have been read from it.
    pub(super) fn new(stream: S) -> (Tap<S>, First) {
        let first = First::default();
        (Tap { stream, first: first.clone() }, first)
    }
}

impl First {
    fn is(&self, test: impl FnOnce(&[u8]) -> bool) -> bool {
        self.0.lock().is_ok_and(|bytes| test(&bytes))
    }

    /// An HTTP/1 answer begins with its version (RFC 9112, section 4).
    pub(super) fn is_http1(&self) -> bool {
        self.is(|bytes| bytes.starts_with(b"HTTP/"))
    }

    /// A server of HTTP/2 says its settings before anything else, on stream 0 (RFC 9113, section 3.4).
    pub(super) fn is_http2(&self) -> bool {
        self.is(|bytes| matches!(bytes, [0, _, _, 4, 0, 0, 0, 0, 0, ..]))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Tap<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let result = Pin::new(&mut self.stream).poll_read(context, buffer);
        if let Ok(mut first) = self.first.0.lock() {
            let missing = FRAME.saturating_sub(first.len());
            first.extend(buffer.filled()[before..].iter().take(missing));
        }
        result
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Tap<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
