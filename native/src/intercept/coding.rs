//! Content codings (RFC 9110, 8.4), undone as the bytes come, with a bound on what they grow to.

use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};

use super::policy::Again;

/// The window that RFC 9659 allows for content: 8 MiB.
const ZSTD_WINDOW_LOG: u32 = 23;
const BROTLI_BUFFER: usize = 16 * 1024;
/// More are nothing that anybody sends.
const MOST_CODINGS: usize = 3;

#[derive(Debug, thiserror::Error)]
pub enum CodingError {
    #[error("unknown content coding {0}")]
    Unknown(String),
    #[error("the content is larger than {0} bytes without its coding")]
    TooLarge(usize),
    #[error("the content does not decode: {0}")]
    Broken(io::Error),
}

impl CodingError {
    /// Whether the same content, sent again, may come out better.
    pub fn again(&self) -> Again {
        if matches!(self, Self::Broken(_)) { Again::Yes } else { Again::No }
    }
}

/// Takes what a decoder puts out, as long as it is not too much.
struct Sink {
    bytes: Vec<u8>,
    room: usize,
    overflowed: bool,
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if bytes.len() > self.room {
            self.overflowed = true;
            return Err(io::Error::other("too large"));
        }
        self.room -= bytes.len();
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Stage {
    Gzip(MultiGzDecoder<Sink>),
    /// Its first byte tells whether it has the header that it should have.
    Deflate(Option<Sink>),
    Zlib(ZlibDecoder<Sink>),
    RawDeflate(DeflateDecoder<Sink>),
    Brotli(Box<brotli::DecompressorWriter<Sink>>),
    Zstd(zstd::stream::write::Decoder<'static, Sink>),
}

impl Stage {
    fn new(coding: &str, most: usize) -> Result<Self, CodingError> {
        let sink = Sink { bytes: Vec::new(), room: most, overflowed: false };
        Ok(match coding {
            "gzip" | "x-gzip" => Self::Gzip(MultiGzDecoder::new(sink)),
            "deflate" => Self::Deflate(Some(sink)),
            "br" => Self::Brotli(Box::new(brotli::DecompressorWriter::new(sink, BROTLI_BUFFER))),
            "zstd" => {
                let mut decoder = zstd::stream::write::Decoder::new(sink).map_err(CodingError::Broken)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(CodingError::Broken)?;
                Self::Zstd(decoder)
            }
            other => return Err(CodingError::Unknown(other.to_owned())),
        })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if let (Self::Deflate(sink), Some(first)) = (&mut *self, bytes.first())
            && let Some(sink) = sink.take()
        {
            // RFC 1950: method 8 in the low bits. A block of bare deflate that began so would be stored or reserved.
            let has_header = first & 0x0f == 8;
            *self = if has_header {
                Self::Zlib(ZlibDecoder::new(sink))
            } else {
                Self::RawDeflate(DeflateDecoder::new(sink))
            };
        }
        match self {
            Self::Gzip(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::Zlib(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::RawDeflate(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::Brotli(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::Zstd(decoder) => decoder.write_all(bytes).and_then(|()| decoder.flush()),
            Self::Deflate(_) => Ok(()),
        }
    }

    /// The end has come. What is not complete is an error where the format can tell.
    fn finish(&mut self) -> io::Result<()> {
        match self {
            Self::Gzip(decoder) => decoder.try_finish(),
            Self::Zlib(decoder) => decoder.try_finish(),
            Self::RawDeflate(decoder) => decoder.try_finish(),
            Self::Brotli(decoder) => decoder.close(),
            Self::Zstd(decoder) => decoder.flush(),
            Self::Deflate(_) => Ok(()),
        }
    }

    fn sink(&mut self) -> Option<&mut Sink> {
        match self {
            Self::Gzip(decoder) => Some(decoder.get_mut()),
            Self::Zlib(decoder) => Some(decoder.get_mut()),
            Self::RawDeflate(decoder) => Some(decoder.get_mut()),
            Self::Brotli(decoder) => Some(decoder.get_mut()),
            Self::Zstd(decoder) => Some(decoder.get_mut()),
            Self::Deflate(sink) => sink.as_mut(),
        }
    }
}

/// Undoes the codings of one body.
pub struct Decoder {
    /// The coding that was applied last comes first.
    stages: Vec<Stage>,
    most: usize,
}

impl Decoder {
    /// For the codings of a Content-Encoding field, in lower case; `None` if there are none. `most`: bytes of one call of
    /// `feed`, or of all of them with `in_total`.
    pub fn new(codings: &[String], most: usize) -> Result<Option<Self>, CodingError> {
        let codings: Vec<&str> = codings.iter().map(String::as_str).filter(|coding| *coding != "identity").collect();
        if codings.len() > MOST_CODINGS {
            return Err(CodingError::Unknown(codings.join(", ")));
        }
        let stages = codings.iter().rev().map(|coding| Stage::new(coding, most)).collect::<Result<Vec<_>, _>>()?;
        Ok((!stages.is_empty()).then_some(Self { stages, most }))
    }

    /// The content that `bytes` bring, all that is known so far.
    pub fn feed(&mut self, bytes: &[u8]) -> Result<Vec<u8>, CodingError> {
        let mut current = Vec::new();
        for (index, stage) in self.stages.iter_mut().enumerate() {
            let input = if index == 0 { bytes } else { &current };
            let result = stage.write(input);
            current = taken(stage, result, self.most)?;
        }
        Ok(current)
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> Result<Vec<u8>, CodingError> {
        let mut current = Vec::new();
        for stage in &mut self.stages {
            let result = if current.is_empty() { Ok(()) } else { stage.write(&current) };
            let result = result.and_then(|()| stage.finish());
            current = taken(stage, result, self.most)?;
        }
        Ok(current)
    }

    /// From now on, as much as at the beginning may come again.
    pub fn allow_more(&mut self) {
        for stage in &mut self.stages {
            if let Some(sink) = stage.sink() {
                sink.room = self.most;
            }
        }
    }
}

/// Whether it is a coding that can be undone.
pub fn is_known(coding: &str) -> bool {
    Stage::new(coding, 0).is_ok()
}

fn taken(stage: &mut Stage, result: io::Result<()>, most: usize) -> Result<Vec<u8>, CodingError> {
    let sink = stage.sink();
    let overflowed = sink.as_ref().is_some_and(|sink| sink.overflowed);
    match result {
        Ok(()) => Ok(sink.map(|sink| std::mem::take(&mut sink.bytes)).unwrap_or_default()),
        Err(_) if overflowed => Err(CodingError::TooLarge(most)),
        Err(error) => Err(CodingError::Broken(error)),
    }
}

#[cfg(test)]
#[path = "coding_tests.rs"]
mod tests;
