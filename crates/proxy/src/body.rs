//! A request's body: a stream, of which the beginning is kept for as long as it is short. So a
//! request that a replica refused before it looked at it can be sent to another one.

use std::{
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use bytes::Bytes;
use http::HeaderMap;
use hyper::body::{Body, Frame, Incoming, SizeHint};

/// The most that is kept of one body, in bytes with what each part takes itself. Of a longer one
/// nothing is kept.
const OF_ONE: usize = 1 << 20;
/// The most that is kept of all bodies together, in bytes.
const OF_ALL: usize = 64 << 20;

/// The bytes that are kept of all bodies.
#[derive(Clone, Debug, Default)]
pub(crate) struct Budget(Arc<AtomicUsize>);

impl Budget {
    fn take(&self, length: usize) -> bool {
        let grown = |kept: usize| kept.checked_add(length).filter(|kept| *kept <= OF_ALL);
        self.0.fetch_update(Ordering::Relaxed, Ordering::Relaxed, grown).is_ok()
    }

    fn give_back(&self, length: usize) {
        self.0.fetch_sub(length, Ordering::Relaxed);
    }
}

/// The body of a client's request.
pub(crate) struct Kept<B>(Arc<Mutex<Inner<B>>>);

struct Inner<B> {
    /// The part that has not come yet.
    rest: B,
    /// The part that came, as long as it is kept.
    frames: Option<Vec<Part>>,
    length: usize,
    /// Counts the sendings: only the last one takes what comes.
    sending: usize,
    /// The next of the kept parts that the last sending sends.
    next: usize,
    /// Whether the request is answered. Then only the last sending needs the kept parts.
    answered: bool,
    budget: Budget,
}

#[derive(Clone)]
enum Part {
    Data(Bytes),
    Trailers(HeaderMap),
}

impl Part {
    fn frame(self) -> Frame<Bytes> {
        match self {
            Self::Data(bytes) => Frame::data(bytes),
            Self::Trailers(trailers) => Frame::trailers(trailers),
        }
    }

    fn length(&self) -> usize {
        match self {
            Self::Data(bytes) => bytes.len(),
            Self::Trailers(_) => 0,
        }
    }
}

impl<B> Inner<B> {
    /// Keeps one more part, if there is room; otherwise nothing is kept any longer.
    fn keep(&mut self, part: Part) {
        let length = part.length() + size_of::<Part>();
        let Some(frames) = &mut self.frames else { return };
        if self.length + length <= OF_ONE && self.budget.take(length) {
            self.length += length;
            frames.push(part);
            self.next += 1;
        } else {
            self.drop_kept();
        }
    }

    /// Keeps nothing, once the last sending has all that is kept.
    fn forget(&mut self) {
        self.answered = true;
        if self.frames.as_ref().is_none_or(|frames| self.next >= frames.len()) {
            self.drop_kept();
        }
    }

    fn drop_kept(&mut self) {
        self.frames = None;
        self.budget.give_back(std::mem::take(&mut self.length));
    }
}

impl<B> Drop for Inner<B> {
    fn drop(&mut self) {
        self.drop_kept();
    }
}

impl<B> Kept<B> {
    pub(crate) fn new(body: B, budget: &Budget) -> Self {
        Self(Arc::new(Mutex::new(Inner {
            rest: body,
            frames: Some(Vec::new()),
            length: 0,
            sending: 0,
            next: 0,
            answered: false,
            budget: budget.clone(),
        })))
    }

    /// The body from its beginning. An earlier sending ends.
    pub(crate) fn send(&self) -> Sending<B> {
        let mut inner = lock(&self.0);
        inner.sending += 1;
        inner.next = 0;
        Sending { inner: Arc::clone(&self.0), number: inner.sending }
    }

    /// Is all there that came of it?
    pub(crate) fn is_whole(&self) -> bool {
        let inner = lock(&self.0);
        inner.frames.is_some() && !inner.answered
    }

    /// An answer is on its way: nothing needs to be sent again.
    pub(crate) fn forget(&self) {
        lock(&self.0).forget();
    }
}

/// A body on its way to a replica.
pub(crate) struct Sending<B = Incoming> {
    inner: Arc<Mutex<Inner<B>>>,
    number: usize,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Sending<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let this = self.get_mut();
        let mut inner = lock(&this.inner);
        // Its stream was refused, and another sending takes what comes.
        if inner.sending != this.number {
            return Poll::Ready(None);
        }
        if let Some(part) = inner.frames.as_ref().and_then(|frames| frames.get(inner.next)).cloned() {
            inner.next += 1;
            if inner.answered {
                inner.forget();
            }
            return Poll::Ready(Some(Ok(part.frame())));
        }
        let polled = Pin::new(&mut inner.rest).poll_frame(context);
        let Poll::Ready(Some(Ok(frame))) = polled else { return polled };
        let part = match frame.into_data().map_err(Frame::into_trailers) {
            Ok(bytes) => Part::Data(bytes),
            Err(Ok(trailers)) => Part::Trailers(trailers),
            // HTTP has no other frames.
            Err(Err(frame)) => return Poll::Ready(Some(Ok(frame))),
        };
        inner.keep(part.clone());
        Poll::Ready(Some(Ok(part.frame())))
    }

    fn is_end_stream(&self) -> bool {
        let inner = lock(&self.inner);
        let is_behind = inner.frames.as_ref().is_some_and(|frames| inner.next < frames.len());
        inner.sending != self.number || !is_behind && inner.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        let inner = lock(&self.inner);
        let kept = inner.frames.iter().flatten().skip(inner.next).map(Part::length).sum::<usize>();
        let kept = u64::try_from(kept).unwrap_or(u64::MAX);
        let rest = inner.rest.size_hint();
        let mut hint = SizeHint::new();
        hint.set_lower(rest.lower().saturating_add(kept));
        if let Some(upper) = rest.upper() {
            hint.set_upper(upper.saturating_add(kept));
        }
        hint
    }
}

/// Nothing in here is left half-changed by a panic.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{collections::VecDeque, convert::Infallible};

    use http_body_util::BodyExt as _;

    use super::*;

    /// A body in pieces.
    struct Pieces(VecDeque<Part>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(self.0.pop_front().map(|part| Ok(part.frame())))
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty()
        }

        fn size_hint(&self) -> SizeHint {
            let length: usize = self.0.iter().map(Part::length).sum();
            SizeHint::with_exact(u64::try_from(length).unwrap())
        }
    }

    fn pieces(texts: &[&str]) -> Pieces {
        let data = texts.iter().map(|text| Part::Data(Bytes::copy_from_slice(text.as_bytes())));
        Pieces(
            data.chain([Part::Trailers(HeaderMap::from_iter([(
                http::header::ETAG,
                http::HeaderValue::from_static("x"),
            )]))])
            .collect(),
        )
    }

    async fn text(sending: Sending<Pieces>) -> (String, bool) {
        let all = sending.collect().await.unwrap();
        let has_trailers = all.trailers().is_some();
        (String::from_utf8(all.to_bytes().to_vec()).unwrap(), has_trailers)
    }

    #[tokio::test]
    async fn a_body_is_sent_again_from_its_beginning() {
        let budget = Budget::default();
        let kept = Kept::new(pieces(&["one", "two", "three"]), &budget);
        let mut first = kept.send();
        assert_eq!(first.size_hint().exact(), Some(11));
        let frame = first.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), "one");
        assert_eq!(budget.0.load(Ordering::Relaxed), 3 + size_of::<Part>());
        // The first one ends, wherever it was.
        let second = kept.send();
        assert!(first.is_end_stream() && first.frame().await.is_none());
        assert!(!second.is_end_stream());
        assert_eq!(second.size_hint().exact(), Some(11));
        assert_eq!(text(second).await, ("onetwothree".to_owned(), true));
        // All of it came by now.
        let third = kept.send();
        assert!(!third.is_end_stream());
        assert_eq!(text(third).await, ("onetwothree".to_owned(), true));
        assert!(kept.is_whole());
        kept.forget();
        assert!(!kept.is_whole());
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn an_answer_in_the_middle_of_a_sending_makes_no_gap() {
        let budget = Budget::default();
        let kept = Kept::new(pieces(&["one", "two", "three"]), &budget);
        let mut first = kept.send();
        for _ in 0..2 {
            first.frame().await.unwrap().unwrap();
        }
        let mut second = kept.send();
        assert_eq!(second.frame().await.unwrap().unwrap().into_data().unwrap(), "one");
        kept.forget();
        assert!(!kept.is_whole());
        assert_eq!(second.size_hint().exact(), Some(8));
        assert_eq!(text(second).await, ("twothree".to_owned(), true));
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn many_short_parts_count_with_what_they_take_themselves() {
        let budget = Budget::default();
        let parts = OF_ONE / size_of::<Part>();
        let kept = Kept::new(pieces(&vec!["x"; parts]), &budget);
        assert_eq!(text(kept.send()).await.0.len(), parts);
        assert!(!kept.is_whole());
    }

    #[tokio::test]
    async fn what_is_kept_has_limits() {
        let budget = Budget::default();
        let half = "x".repeat(OF_ONE / 2);
        let long = Kept::new(pieces(&[&half, &half, "y"]), &budget);
        let sent = text(long.send()).await.0;
        assert_eq!(sent.len(), OF_ONE + 1);
        assert!(!long.is_whole());
        assert_eq!(budget.0.load(Ordering::Relaxed), 0);
        // Others have used up what all may have.
        budget.0.store(OF_ALL - 1, Ordering::Relaxed);
        let short = Kept::new(pieces(&["ab"]), &budget);
        assert_eq!(text(short.send()).await.0, "ab");
        assert!(!short.is_whole());
        drop((long, short));
        assert_eq!(budget.0.load(Ordering::Relaxed), OF_ALL - 1);
    }
}
