//! The body of an answer, read as far as somebody wants to know it.

use reqwest::Response;

/// How the reading of a body ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyEnd {
    /// With its last byte.
    Whole,
    /// It is longer than was wanted: what was read by then is no more than its beginning.
    Long,
    /// The connection broke, or the body is shorter than its server said.
    Cut,
}

/// Reads the body of `response`, up to about `bytes_max` bytes: beyond them by a part of one piece, if it is longer. It has no
/// limit of time of its own. Not cancel-safe: what was read is lost.
pub async fn read(mut response: Response, bytes_max: usize) -> (Vec<u8>, BodyEnd) {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(piece)) => body.extend_from_slice(&piece),
            Ok(None) => return (body, BodyEnd::Whole),
            Err(_) => return (body, BodyEnd::Cut),
        }
        if body.len() > bytes_max {
            return (body, BodyEnd::Long);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use futures_util::stream;
    use reqwest::Body;

    use super::*;

    /// A response whose body comes in these pieces, and then breaks if it `is_cut`.
    fn response(pieces: &[&'static str], is_cut: bool) -> Response {
        let pieces = pieces.iter().map(|piece| Ok(*piece));
        let end = is_cut.then(|| Err(io::Error::from(io::ErrorKind::ConnectionReset)));
        let pieces: Vec<io::Result<&str>> = pieces.chain(end).collect();
        hyper::Response::new(Body::wrap_stream(stream::iter(pieces))).into()
    }

    #[tokio::test]
    async fn a_body_is_read_to_its_end_or_to_the_limit() {
        let read = async |pieces: &[&'static str], is_cut, bytes_max| {
            let (body, end) = read(response(pieces, is_cut), bytes_max).await;
            (String::from_utf8(body).unwrap(), end)
        };
        assert_eq!(read(&["ab", "", "c"], false, 3).await, ("abc".to_owned(), BodyEnd::Whole));
        assert_eq!(read(&[], false, 0).await, (String::new(), BodyEnd::Whole));
        assert_eq!(read(&["ab", "cd", "ef"], false, 3).await, ("abcd".to_owned(), BodyEnd::Long));
        assert_eq!(read(&["ab", "c"], true, 3).await, ("abc".to_owned(), BodyEnd::Cut));
    }
}
