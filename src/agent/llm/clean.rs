//! Bytes made fit for a parser of events: no byte order mark, no broken characters, no event without end.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures_util::Stream;

use super::answer::AskError;

/// Bytes that may come without an event among them. A token is some 300 bytes; a call of a tool in one piece may be long.
const EVENT_BYTES_MAX: usize = 256 * 1024;

/// The byte order mark that a text may begin with. The parser of events cannot take it off.
const MARK: char = '\u{feff}';

/// Counts the bytes since the last event, on both sides of the parser.
#[derive(Clone, Debug, Default)]
pub(super) struct Gauge(std::sync::Arc<std::sync::atomic::AtomicUsize>);

impl Gauge {
    /// An event came out of the parser.
    pub(super) fn reset(&self) {
        self.0.store(0, std::sync::atomic::Ordering::Relaxed);
    }

    /// So many bytes went in; `false` if that is too much for one event.
    fn add(&self, bytes: usize) -> bool {
        let before = self.0.fetch_add(bytes, std::sync::atomic::Ordering::Relaxed);
        before.saturating_add(bytes) <= EVENT_BYTES_MAX
    }
}

/// Text out of the bytes of `inner`, cut anywhere.
#[derive(Debug)]
pub(super) struct Clean<S> {
    inner: S,
    gauge: Gauge,
    decoder: Decoder,
    is_over: bool,
}

impl<S> Clean<S> {
    pub(super) fn new(inner: S, gauge: Gauge) -> Self {
        Clean { inner, gauge, decoder: Decoder::default(), is_over: false }
    }
}

impl<S, E> Stream for Clean<S>
where
    S: Stream<Item = Result<Bytes, E>> + Unpin,
{
    type Item = Result<String, AskError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        let Poll::Ready(next) = Pin::new(&mut self.inner).poll_next(context) else { return Poll::Pending };
        let item = match next {
            Some(Ok(bytes)) if self.gauge.add(bytes.len()) => Some(Ok(self.decoder.push(&bytes))),
            Some(Ok(_)) => Some(Err(AskError::TooLong)),
            Some(Err(_)) => Some(Err(AskError::Broken)),
            None => None,
        };
        self.is_over = !matches!(item, Some(Ok(_)));
        Poll::Ready(item)
    }
}

/// UTF-8 in pieces. What is not UTF-8 becomes the replacement character, as browsers have it.
#[derive(Debug, Default)]
struct Decoder {
    /// The beginning of a character whose end is still to come: at most three bytes.
    partial: Vec<u8>,
    has_begun: bool,
}

impl Decoder {
    fn push(&mut self, bytes: &[u8]) -> String {
        let mut waiting = std::mem::take(&mut self.partial);
        waiting.extend_from_slice(bytes);
        let (mut rest, mut text) = (waiting.as_slice(), String::with_capacity(waiting.len()));
        while let Err(error) = std::str::from_utf8(rest) {
            let (valid, broken) = rest.split_at_checked(error.valid_up_to()).unwrap_or_default();
            text.push_str(&String::from_utf8_lossy(valid));
            let Some(length) = error.error_len() else {
                self.partial = broken.to_vec();
                rest = &[];
                break;
            };
            text.push(char::REPLACEMENT_CHARACTER);
            rest = broken.get(length..).unwrap_or_default();
        }
        text.push_str(&String::from_utf8_lossy(rest));
        if !text.is_empty() && !std::mem::replace(&mut self.has_begun, true) && text.starts_with(MARK) {
            text.remove(0);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use futures_util::stream;

    use super::*;

    fn cleaned(pieces: &[&[u8]]) -> String {
        let mut decoder = Decoder::default();
        pieces.iter().map(|piece| decoder.push(piece)).collect()
    }

    #[test]
    fn characters_are_whole_wherever_they_are_cut() {
        let text = "\u{feff}a\u{e9}\u{20ac}\u{1f600}z\u{feff}";
        for cut in 0..=text.len() {
            let (head, tail) = text.as_bytes().split_at(cut);
            assert_eq!(cleaned(&[head, tail]), text[3..], "cut at {cut}");
        }
        let single: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(cleaned(&single), text[3..]);
    }

    #[test]
    fn what_is_broken_is_replaced_and_holds_nothing_up() {
        assert_eq!(cleaned(&[b"a\xffb"]), "a\u{fffd}b");
        assert_eq!(cleaned(&[b"a\xe2\x82", b"b"]), "a\u{fffd}b");
        assert_eq!(cleaned(&[b"\xe2", b"\x82", b"\xac"]), "\u{20ac}");
    }

    #[tokio::test]
    async fn an_event_has_an_end() {
        let piece = Ok::<_, ()>(Bytes::from(vec![b'x'; EVENT_BYTES_MAX / 2]));
        let gauge = Gauge::default();
        let mut clean = Clean::new(stream::iter(vec![piece; 4]), gauge.clone());
        assert!(clean.next().await.unwrap().is_ok());
        assert!(clean.next().await.unwrap().is_ok());
        gauge.reset();
        assert!(clean.next().await.unwrap().is_ok());
        assert!(clean.next().await.unwrap().is_ok());
        assert!(clean.next().await.is_none());

        let piece = Ok::<_, ()>(Bytes::from(vec![b'x'; EVENT_BYTES_MAX / 2 + 1]));
        let mut clean = Clean::new(stream::iter(vec![piece; 4]), Gauge::default());
        assert!(clean.next().await.unwrap().is_ok());
        assert_eq!(clean.next().await, Some(Err(AskError::TooLong)));
        assert!(clean.next().await.is_none());
    }
}
