//! As much of HTTP/1.1 as the load for LLM calls needs: heads, and the ends of bodies.

use std::io;

use tokio::io::{AsyncBufRead, AsyncBufReadExt};

const LONGEST_HEAD: usize = 64 * 1024;

/// How a body ends.
#[derive(Clone, Copy)]
pub(crate) enum Body {
    Length(usize),
    Chunked,
}

pub(crate) struct Head {
    pub(crate) first_line: String,
    pub(crate) body: Body,
}

/// The next head; None if the connection ended before it.
pub(crate) async fn read_head(stream: &mut (impl AsyncBufRead + Unpin)) -> io::Result<Option<Head>> {
    let mut text = String::new();
    let mut body = Body::Length(0);
    let mut first_line = String::new();
    loop {
        let start = text.len();
        if stream.read_line(&mut text).await? == 0 {
            return if start == 0 { Ok(None) } else { Err(io::ErrorKind::UnexpectedEof.into()) };
        }
        let line = text.get(start..).unwrap_or_default().trim_end();
        if line.is_empty() {
            return Ok(Some(Head { first_line, body }));
        }
        if first_line.is_empty() {
            line.clone_into(&mut first_line);
        } else if let Some((name, value)) = line.split_once(':') {
            if name.eq_ignore_ascii_case("content-length") {
                body = Body::Length(value.trim().parse().map_err(io::Error::other)?);
            } else if name.eq_ignore_ascii_case("transfer-encoding") && value.trim().eq_ignore_ascii_case("chunked") {
                body = Body::Chunked;
            }
        }
        if text.len() > LONGEST_HEAD {
            return Err(io::Error::other("a head without an end"));
        }
    }
}

/// Reads a body and hands its bytes out, in the pieces in which they come.
pub(crate) async fn read_body(
    stream: &mut (impl AsyncBufRead + Unpin),
    body: Body,
    mut take: impl FnMut(&[u8]),
) -> io::Result<()> {
    let Body::Chunked = body else {
        let Body::Length(length) = body else { return Ok(()) };
        return read_exactly(stream, length, &mut take).await;
    };
    let mut line = String::new();
    loop {
        line.clear();
        stream.read_line(&mut line).await?;
        let size = line.trim_end().split(';').next().unwrap_or_default();
        let size = usize::from_str_radix(size, 16).map_err(io::Error::other)?;
        read_exactly(stream, size, &mut take).await?;
        line.clear();
        stream.read_line(&mut line).await?;
        if line != "\r\n" {
            return Err(io::Error::other("a chunk with a wrong end"));
        }
        if size == 0 {
            return Ok(());
        }
    }
}

async fn read_exactly(
    stream: &mut (impl AsyncBufRead + Unpin),
    mut left: usize,
    take: &mut impl FnMut(&[u8]),
) -> io::Result<()> {
    while left > 0 {
        let bytes = stream.fill_buf().await?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let count = bytes.len().min(left);
        take(&bytes[..count]);
        stream.consume(count);
        left -= count;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(bytes: &[u8]) -> io::Result<(String, Vec<u8>)> {
        let mut stream = bytes;
        let head = read_head(&mut stream).await?.ok_or(io::ErrorKind::UnexpectedEof)?;
        let mut body = Vec::new();
        read_body(&mut stream, head.body, |piece| body.extend_from_slice(piece)).await?;
        Ok((head.first_line, body))
    }

    #[tokio::test]
    async fn both_kinds_of_bodies_are_read_to_their_end() {
        let with_length = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabcNEXT";
        assert_eq!(read(with_length).await.unwrap(), ("HTTP/1.1 200 OK".to_owned(), b"abc".to_vec()));
        let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1;x=y\r\nc\r\n0\r\n\r\nNEXT";
        assert_eq!(read(chunked).await.unwrap().1, b"abc");
    }

    #[tokio::test]
    async fn a_body_that_ends_early_is_an_error() {
        assert!(read(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nabc").await.is_err());
        assert!(read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nabc").await.is_err());
        assert!(read(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\nabc\r\n").await.is_err());
    }
}
