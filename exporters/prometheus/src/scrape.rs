use std::{
    convert::Infallible,
    io::Write,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Instant,
};

use axum::body::{Bytes, HttpBody};
use flate2::{Compression, write::GzEncoder};
use hyper::body::Frame;

use prometheus::Cursor;

use crate::{
    encode::{self, render},
    exporter::Shared,
    negotiate::Format,
};

/// How much is rendered in one go: a fraction of a millisecond of work, and of holding the store's lock.
const CHUNK_BYTES: usize = 64 * 1024;

/// The answer to one scrape, rendered when the connection has room for it.
///
/// A series is rendered in one piece. Between two pieces the store may change: every sample is as fresh as possible, and
/// no client can make the exporter hold a whole answer in memory.
#[derive(Debug)]
pub(crate) struct Scrape {
    shared: Arc<Shared>,
    format: Format,
    started: Instant,
    cursor: Cursor,
    gzip: Option<GzEncoder<Vec<u8>>>,
    /// Whether it began after the last data had come in.
    is_final: bool,
    is_complete: bool,
}

impl Scrape {
    pub(crate) fn new(shared: Arc<Shared>, format: Format, gzip: bool, started: Instant) -> Self {
        Self {
            is_final: shared.input_has_ended(),
            shared,
            format,
            started,
            cursor: Cursor::default(),
            // The least effort: labels repeat so much that more gains little.
            gzip: gzip.then(|| GzEncoder::new(Vec::new(), Compression::fast())),
            is_complete: false,
        }
    }

    /// Returns the next piece as it is sent. Empty if the compressor kept all of it.
    fn next_piece(&mut self) -> Vec<u8> {
        let mut text = String::with_capacity(CHUNK_BYTES + CHUNK_BYTES / 4);
        let Self { shared, format, started, cursor, .. } = self;
        let has_more = render(&shared.store(), cursor, *format, *started, CHUNK_BYTES, &mut text);
        if !has_more {
            if *format == Format::OpenMetrics {
                text.push_str(encode::EOF);
            }
            self.is_complete = true;
        }
        self.shared.instruments.rendered(text.len());
        let Some(encoder) = &mut self.gzip else { return text.into_bytes() };
        encoder.write_all(text.as_bytes()).expect("a vector takes everything");
        if self.is_complete {
            encoder.try_finish().expect("a vector takes everything");
        }
        std::mem::take(encoder.get_mut())
    }
}

impl HttpBody for Scrape {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let this = self.get_mut();
        while !this.is_complete {
            let piece = this.next_piece();
            if !piece.is_empty() {
                return Poll::Ready(Some(Ok(Frame::data(piece.into()))));
            }
        }
        Poll::Ready(None)
    }

    fn is_end_stream(&self) -> bool {
        self.is_complete
    }
}

impl Drop for Scrape {
    fn drop(&mut self) {
        if self.is_complete {
            self.shared.scrape_completed(self.is_final);
        } else {
            self.shared.instruments.scrape_aborted();
        }
    }
}
