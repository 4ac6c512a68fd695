//! What a session runs over: TLS records, or TCP as it is while encryption is off. The relay knows only this trait.

use tokio::io::{AsyncRead, AsyncWrite};

pub trait Transport: AsyncRead + AsyncWrite + Unpin + Send {}

impl<T: AsyncRead + AsyncWrite + Unpin + Send> Transport for T {}
