//! The server. The first byte of a connection says what it is for.

use std::io;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::options::Options;
use crate::pattern::Checksum;

pub(crate) const ECHO: u8 = b'e';
pub(crate) const SINK: u8 = b's';
pub(crate) const SOURCE: u8 = b'd';
pub(crate) const PINGPONG: u8 = b'p';
pub(crate) const UPLOAD: u8 = b'u';

pub(crate) const BUFFER: usize = 256 * 1024;

pub(crate) async fn serve(options: &Options) -> Result<Value, String> {
    let address = options.address("listen")?;
    let listener = TcpListener::bind(address).await.map_err(|error| format!("cannot listen on {address}: {error}"))?;
    println!("ready");
    loop {
        match listener.accept().await {
            // A client that goes away in the middle is its own business.
            Ok((stream, _)) => drop(tokio::spawn(async { drop(connection(stream).await) })),
            // Too many open files, or a client that left at once: the next one may fare better.
            Err(error) => {
                eprintln!("error: accept: {error}");
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    }
}

async fn connection(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    match stream.read_u8().await? {
        ECHO => {
            let (mut from, mut to) = stream.split();
            tokio::io::copy_buf(&mut tokio::io::BufReader::with_capacity(BUFFER, &mut from), &mut to).await?;
            to.shutdown().await
        }
        SINK => {
            tokio::io::copy(&mut tokio::io::BufReader::with_capacity(BUFFER, &mut stream), &mut tokio::io::sink())
                .await?;
            Ok(())
        }
        SOURCE => source(&mut stream).await,
        PINGPONG => {
            let mut message = [0; 64];
            while stream.read_exact(&mut message).await.is_ok() {
                stream.write_all(&message).await?;
            }
            Ok(())
        }
        UPLOAD => upload(&mut stream).await,
        other => Err(io::Error::other(format!("no such mode: {other}"))),
    }
}

async fn source(stream: &mut TcpStream) -> io::Result<()> {
    let mut left = stream.read_u64().await?;
    let block = vec![0x5a; BUFFER];
    while left > 0 {
        let length = usize::try_from(left).unwrap_or(BUFFER).min(BUFFER);
        stream.write_all(&block[..length]).await?;
        left -= length as u64;
    }
    stream.shutdown().await
}

async fn upload(stream: &mut TcpStream) -> io::Result<()> {
    let mut checksum = Checksum::new();
    let mut total = 0_u64;
    let mut buffer = vec![0; BUFFER];
    loop {
        let length = stream.read(&mut buffer).await?;
        if length == 0 {
            break;
        }
        checksum.add(&buffer[..length]);
        total += length as u64;
    }
    stream.write_u64(total).await?;
    stream.write_u64(checksum.finish()).await?;
    stream.shutdown().await
}
