//! What is read from either side of a connection, and what can go wrong on it.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};

use super::pipe::Pipe;
use super::policy::Failed;
use crate::tunnel::buffers::Buffer;

/// Why a connection cannot go on. Both sides of it are reset then.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    #[error("the client is gone: {0}")]
    Client(io::Error),
    #[error("the server is gone: {0}")]
    Server(io::Error),
    #[error("a request's body is malformed")]
    Malformed,
    #[error("the policy failed: {0}")]
    Policy(#[from] Failed),
}

impl Broken {
    pub fn server(why: &str) -> Self {
        Self::Server(io::Error::other(why))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Side {
    Client,
    Server,
}

impl Side {
    fn broken(self, error: io::Error) -> Broken {
        match self {
            Self::Client => Broken::Client(error),
            Self::Server => Broken::Server(error),
        }
    }
}

/// Bytes of one side that nobody has used yet.
pub struct Input<R> {
    reader: R,
    side: Side,
    pub buffer: Buffer,
    pub ended: bool,
}

impl<R: AsyncRead + Unpin> Input<R> {
    pub fn new(reader: R, side: Side) -> Self {
        Self { reader, side, buffer: Buffer::default(), ended: false }
    }

    /// Reads once behind what is there, for which there must be room; 0 at the end. Nothing is lost when it is dropped.
    pub async fn fill(&mut self) -> Result<usize, Broken> {
        if self.ended {
            return Ok(0);
        }
        let read = std::future::poll_fn(|cx| self.buffer.poll_extend(&mut self.reader, cx)).await;
        let length = read.map_err(|error| self.side.broken(error))?;
        self.ended = length == 0;
        Ok(length)
    }

    /// Reads ahead until the end, as far as there is room. Returns only with the end.
    pub async fn watch(&mut self) -> Result<(), Broken> {
        loop {
            if self.ended || self.buffer.is_full() {
                std::future::pending::<()>().await;
            }
            if self.fill().await? == 0 {
                return Ok(());
            }
        }
    }
}

/// The writing half of one side.
pub struct Output<W> {
    pub writer: W,
    side: Side,
}

impl<W: AsyncWrite + Unpin> Output<W> {
    pub fn new(writer: W, side: Side) -> Self {
        Self { writer, side }
    }

    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), Broken> {
        self.writer.write_all(bytes).await.map_err(|error| self.side.broken(error))
    }

    pub async fn some(&mut self, bytes: &[u8]) -> Result<usize, Broken> {
        match self.writer.write(bytes).await {
            Ok(0) => Err(self.side.broken(io::ErrorKind::WriteZero.into())),
            Ok(written) => Ok(written),
            Err(error) => Err(self.side.broken(error)),
        }
    }

    /// Says that no more will come. Whoever is gone already shows it elsewhere.
    pub async fn end(&mut self) {
        let _ = self.writer.shutdown().await;
    }
}

/// All four ways of a connection.
pub struct Wire<'a> {
    pub client: Input<ReadHalf<'a>>,
    pub client_out: Output<WriteHalf<'a>>,
    pub server: Input<Pipe>,
    pub server_out: Output<Pipe>,
}

/// Passes on what comes from one side, to its end and with it.
pub async fn pump<R: AsyncRead + Unpin, W: AsyncWrite + Unpin>(
    from: &mut Input<R>,
    to: &mut Output<W>,
) -> Result<(), Broken> {
    loop {
        while !from.buffer.is_empty() {
            let written = to.some(from.buffer.bytes()).await?;
            from.buffer.consume(written);
        }
        if from.fill().await? == 0 {
            to.end().await;
            return Ok(());
        }
    }
}

impl Wire<'_> {
    /// Passes on everything, both ways, until both have ended.
    pub async fn tunnel(&mut self) -> Result<(), Broken> {
        let up = pump(&mut self.client, &mut self.server_out);
        let down = pump(&mut self.server, &mut self.client_out);
        tokio::try_join!(up, down).map(|_| ())
    }
}
