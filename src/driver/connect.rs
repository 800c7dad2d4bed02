//! The way to a peer below TLS: TCP, unless somebody hands in other byte streams.

use std::io;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

/// A connection as bytes, whatever carries them.
pub trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// Makes connections. TLS and the WebSocket go over what it makes, and its time counts for the limit of the whole dialling.
pub trait Connect: Send + Sync {
    /// A connection to `port` of `host`, which is a name or an address without brackets.
    ///
    /// Dropping the future gives the attempt up.
    ///
    /// # Errors
    /// Why there is none; it reaches the operator's log, never the caller.
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn ByteStream>>>;
}

/// Over the network.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tcp;

impl Connect for Tcp {
    fn connect<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn ByteStream>>> {
        async move {
            let stream = TcpStream::connect((host, port)).await?;
            // Without it a short text waits for the acknowledgement of the one before.
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn ByteStream>)
        }
        .boxed()
    }
}
