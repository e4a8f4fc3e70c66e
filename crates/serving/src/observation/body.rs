//! Bodies whose bytes are counted.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use http_body::{Body as HttpBody, Frame, SizeHint};
use tonic::{Code, Status, body::Body};

use super::{
    entry::{Entry, Outcome},
    observer::Open,
};

/// The body of a request.
pub(super) struct Received {
    inner: Body,
    entry: Arc<Entry>,
}

impl Received {
    pub(super) fn new(inner: Body, entry: Arc<Entry>) -> Self {
        Self { inner, entry }
    }
}

impl HttpBody for Received {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        if let Some(Ok(frame)) = &frame
            && let Some(data) = frame.data_ref()
        {
            Entry::add(&self.entry.received, data.remaining());
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

/// The body of an answer. The request is over when it has ended or is dropped.
pub(super) struct Sent {
    inner: Body,
    open: Open,
    outcome: Outcome,
}

impl Sent {
    pub(super) fn new(inner: Body, open: Open, outcome: Outcome) -> Self {
        let mut sent = Self { inner, open, outcome };
        sent.close_at_end();
        sent
    }

    fn close_at_end(&mut self) {
        if self.inner.is_end_stream() {
            self.open.close(self.outcome);
        }
    }
}

impl HttpBody for Sent {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let frame = ready!(Pin::new(&mut self.inner).poll_frame(context));
        match &frame {
            Some(Ok(frame)) => {
                if let Some(data) = frame.data_ref() {
                    Entry::add(&self.open.entry().sent, data.remaining());
                }
                if let Some(trailers) = frame.trailers_ref() {
                    if let Some(status) = trailers.get(Status::GRPC_STATUS) {
                        self.outcome = Outcome::Grpc(Code::from_bytes(status.as_bytes()));
                    }
                    let outcome = self.outcome;
                    self.open.close(outcome);
                }
                self.close_at_end();
            }
            Some(Err(_)) => {}
            None => {
                let outcome = self.outcome;
                self.open.close(outcome);
            }
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
