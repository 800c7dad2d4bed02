//! Just enough of WebSocket (RFC 6455) for a client that makes hundreds of calls on one core: whole text messages out, a
//! buffer of bytes in. A library would copy, mask and allocate for each message; measured here is the gateway, and every
//! cycle of ours makes its figures worse.

/// Longest message taken; a gateway's media messages have a few hundred bytes.
const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// Bytes that are read at once: some frames and their marks.
const READ_BYTES: usize = 4 * 1024;

const FINAL: u8 = 0x80;
const MASKED: u8 = 0x80;
const TEXT: u8 = 0x1;
const CLOSE: u8 = 0x8;
const PONG: u8 = 0xA;

/// A message of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Received<'a> {
    Text(&'a [u8]),
    Binary,
    Ping(&'a [u8]),
    Pong,
    Close(Option<u16>),
}

/// The server sends what this client does not read: a message in pieces, a mask, an extension, more than 64 KiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unreadable;

/// What was read and not understood yet.
#[derive(Debug, Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    /// Bytes of it that were understood.
    taken: usize,
}

impl Frames {
    /// Where the next bytes are read to: append to it.
    pub(super) fn room(&mut self) -> &mut Vec<u8> {
        self.bytes.drain(..self.taken.min(self.bytes.len()));
        self.taken = 0;
        if self.bytes.capacity() - self.bytes.len() < READ_BYTES / 2 {
            self.bytes.reserve(READ_BYTES);
        }
        &mut self.bytes
    }

    /// The next whole message, if there is one.
    pub(super) fn next(&mut self) -> Result<Option<Received<'_>>, Unreadable> {
        let rest = self.bytes.get(self.taken..).unwrap_or_default();
        let &[first, second, ref rest @ ..] = rest else { return Ok(None) };
        if first & 0xF0 != FINAL || second & MASKED != 0 {
            return Err(Unreadable);
        }
        let (bytes, rest, head) = match (second, rest) {
            (0..=125, rest) => (usize::from(second), rest, 2),
            (126, &[high, low, ref rest @ ..]) => (usize::from(u16::from_be_bytes([high, low])), rest, 4),
            (126, _) => return Ok(None),
            (127.., _) => return Err(Unreadable),
        };
        if bytes > MESSAGE_BYTES_MAX {
            return Err(Unreadable);
        }
        let Some(body) = rest.get(..bytes) else { return Ok(None) };
        self.taken += head + bytes;
        Ok(Some(match first & 0x0F {
            TEXT => Received::Text(body),
            0x2 => Received::Binary,
            CLOSE => Received::Close(body.first_chunk().map(|code| u16::from_be_bytes(*code))),
            0x9 => Received::Ping(body),
            PONG => Received::Pong,
            _ => return Err(Unreadable),
        }))
    }
}

/// Appends a text message of a client.
///
/// A client has to mask, and the key may be anything that a page in a browser cannot foresee (section 5.3). No browser
/// takes part here, and the key of zeros leaves the bytes as they are; the server unmasks as it always does.
pub(super) fn push_text(out: &mut Vec<u8>, message: &[u8]) {
    push(out, TEXT, message);
}

/// Appends the answer to a ping.
pub(super) fn push_pong(out: &mut Vec<u8>, body: &[u8]) {
    push(out, PONG, body);
}

/// Appends a close frame.
pub(super) fn push_close(out: &mut Vec<u8>, code: u16) {
    push(out, CLOSE, &code.to_be_bytes());
}

fn push(out: &mut Vec<u8>, kind: u8, body: &[u8]) {
    out.push(FINAL | kind);
    match (u8::try_from(body.len()), u16::try_from(body.len())) {
        (Ok(bytes @ 0..=125), _) => out.push(MASKED | bytes),
        (_, Ok(bytes)) => {
            out.push(MASKED | 126);
            out.extend_from_slice(&bytes.to_be_bytes());
        }
        (_, Err(_)) => {
            out.push(MASKED | 127);
            out.extend_from_slice(&(body.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(body);
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server's frame.
    fn served(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![FINAL | kind];
        match body.len() {
            short @ 0..=125 => bytes.push(short as u8),
            long => bytes.extend([&[126][..], &(long as u16).to_be_bytes()].concat()),
        }
        [bytes, body.to_vec()].concat()
    }

    #[test]
    fn messages_are_found_however_the_bytes_arrive() {
        let long = vec![b'x'; 300];
        let stream =
            [served(TEXT, b"one"), served(TEXT, &long), served(0x9, b"?"), served(CLOSE, &1_001_u16.to_be_bytes())]
                .concat();
        for step in [1, 2, 3, 7, 299, stream.len()] {
            let (mut frames, mut seen) = (Frames::default(), Vec::new());
            for piece in stream.chunks(step) {
                frames.room().extend_from_slice(piece);
                while let Some(message) = frames.next().unwrap() {
                    seen.push(match message {
                        Received::Text(text) => text.len(),
                        Received::Ping(body) => 1_000 + body.len(),
                        Received::Close(code) => usize::from(code.unwrap()) * 10,
                        other => panic!("{other:?}"),
                    });
                }
            }
            assert_eq!(seen, [3, 300, 1_001, 10_010], "in steps of {step}");
        }
    }

    #[test]
    fn what_it_cannot_read_is_said() {
        let cases: [&[u8]; 4] = [&[0x01, 0], &[0x81, 0x80], &[0xC1, 0], &[0x81, 127, 0, 0, 0, 0, 0, 1, 0, 0]];
        for bytes in cases {
            let mut frames = Frames::default();
            frames.room().extend_from_slice(bytes);
            assert_eq!(frames.next(), Err(Unreadable), "{bytes:x?}");
        }
    }

    #[tokio::test]
    async fn a_library_reads_what_is_written() {
        use futures_util::StreamExt as _;
        use tokio::io::AsyncWriteExt as _;
        use tokio_tungstenite::WebSocketStream;
        use tokio_tungstenite::tungstenite::{Message, protocol::Role};

        let (mut near, far) = tokio::io::duplex(128 * 1024);
        let mut server = WebSocketStream::from_raw_socket(far, Role::Server, None).await;
        let mut out = Vec::new();
        for bytes in [0, 125, 126, 65_535, 65_536] {
            out.clear();
            let text = "y".repeat(bytes);
            push_text(&mut out, text.as_bytes());
            near.write_all(&out).await.unwrap();
            assert_eq!(server.next().await.unwrap().unwrap(), Message::text(text));
        }
        out.clear();
        push_close(&mut out, 1_000);
        near.write_all(&out).await.unwrap();
        let Message::Close(Some(frame)) = server.next().await.unwrap().unwrap() else { panic!("no close") };
        assert_eq!(u16::from(frame.code), 1_000);
    }
}
