//! The frames of a tunnel session, byte for byte as `docs/wire-format.md` has them. No I/O.
//!
//! A session is a byte stream in each direction; frames are found by their length alone, never by where a TLS record
//! or a read happens to end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub const VERSION: u8 = 1;
pub const ALPN: &[u8] = b"kube-gateway/1";
pub const HEADER: usize = 4;

/// What we send at most in one DATA frame: with its header exactly fifteen full TLS records, which is as many as one
/// buffer holds when they are sealed.
pub const DATA_CHUNK: usize = 15 * 16384 - HEADER;

const OPEN: u8 = 1;
const STATUS: u8 = 2;
const DATA: u8 = 3;
const FIN: u8 = 4;
const RESET: u8 = 5;
const GOAWAY: u8 = 6;

const OPEN_FIXED: usize = 10;
const OPEN_IPV4: usize = OPEN_FIXED + 2 * (1 + 4 + 2);
const OPEN_IPV6: usize = OPEN_FIXED + 2 * (1 + 16 + 2);
const LONGEST_CONTROL: usize = OPEN_IPV6;

/// What became of an OPEN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Status {
    Ok = 0,
    Refused = 1,
    Unreachable = 2,
    TimedOut = 3,
    Denied = 4,
    Failed = 5,
}

impl Status {
    fn from_code(code: u8) -> Result<Self, WireError> {
        [Self::Ok, Self::Refused, Self::Unreachable, Self::TimedOut, Self::Denied, Self::Failed]
            .into_iter()
            .find(|status| *status as u8 == code)
            .ok_or(WireError::Code(code))
    }

    pub fn text(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Refused => "refused by the application",
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timed out",
            Self::Denied => "denied by policy",
            Self::Failed => "failed in the peer's gateway",
        }
    }
}

/// Asks for one stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open {
    pub connection: u64,
    pub destination: SocketAddr,
    pub source: SocketAddr,
}

/// One step of a parsed session. `Data` is a piece of a DATA frame, as much as the input held.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    Open(Open),
    Status(Status),
    Data(&'a [u8]),
    Fin,
    Reset,
    GoAway,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("frame of unknown type {0}")]
    Type(u8),
    #[error("frame of type {kind} with {length} bytes")]
    Length { kind: u8, length: usize },
    #[error("OPEN of version {0}, this gateway speaks {VERSION}")]
    Version(u8),
    #[error("unknown address family {0}")]
    Family(u8),
    #[error("addresses of two families in one OPEN")]
    MixedFamilies,
    #[error("unknown code {0}")]
    Code(u8),
    #[error("reserved bits are set")]
    Reserved,
    #[error("{0} where it has no place")]
    Unexpected(&'static str),
}

/// The header of a DATA frame with `length` bytes.
pub fn data_header(length: usize) -> [u8; HEADER] {
    header(DATA, length)
}

pub fn fin() -> [u8; HEADER] {
    header(FIN, 0)
}

pub fn reset() -> [u8; HEADER] {
    header(RESET, 0)
}

pub fn go_away() -> [u8; HEADER] {
    header(GOAWAY, 0)
}

pub fn status(status: Status) -> [u8; HEADER + 1] {
    let [a, b, c, d] = header(STATUS, 1);
    [a, b, c, d, status as u8]
}

pub fn open(open: &Open) -> Vec<u8> {
    let length = if open.destination.is_ipv4() { OPEN_IPV4 } else { OPEN_IPV6 };
    let mut out = Vec::with_capacity(HEADER + length);
    out.extend(header(OPEN, length));
    out.extend([VERSION, 0]);
    out.extend(open.connection.to_be_bytes());
    for address in [open.destination, open.source] {
        match address.ip() {
            IpAddr::V4(ip) => {
                out.push(4);
                out.extend(ip.octets());
            }
            IpAddr::V6(ip) => {
                out.push(6);
                out.extend(ip.octets());
            }
        }
        out.extend(address.port().to_be_bytes());
    }
    out
}

fn header(kind: u8, length: usize) -> [u8; HEADER] {
    // Lengths are ours and below 2^24.
    let [.., a, b, c] = length.to_be_bytes();
    [kind, a, b, c]
}

/// Finds frames in a byte stream that arrives in pieces of any size. Holds no payload but a control frame's.
pub struct Decoder {
    header: [u8; HEADER],
    header_held: usize,
    control: [u8; LONGEST_CONTROL],
    control_held: usize,
    data_left: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { header: [0; HEADER], header_held: 0, control: [0; LONGEST_CONTROL], control_held: 0, data_left: 0 }
    }
}

impl Decoder {
    /// Takes bytes off the front of `input` and returns the next event, or `None` when more bytes are needed.
    pub fn next<'a>(&mut self, input: &mut &'a [u8]) -> Result<Option<Event<'a>>, WireError> {
        if self.data_left > 0 {
            return Ok(self.data(input));
        }
        while self.header_held < HEADER {
            let Some(&byte) = take(input, 1).first() else { return Ok(None) };
            self.header[self.header_held] = byte;
            self.header_held += 1;
        }
        let [kind, a, b, c] = self.header;
        let length = u32::from_be_bytes([0, a, b, c]) as usize;
        check_length(kind, length)?;
        if kind == DATA {
            self.header_held = 0;
            self.data_left = length;
            return Ok(self.data(input));
        }
        let piece = take(input, length - self.control_held);
        self.control[self.control_held..self.control_held + piece.len()].copy_from_slice(piece);
        self.control_held += piece.len();
        if self.control_held < length {
            return Ok(None);
        }
        self.header_held = 0;
        self.control_held = 0;
        parse_control(kind, &self.control[..length]).map(Some)
    }

    /// Whether the stream stands between two frames.
    pub fn at_boundary(&self) -> bool {
        self.data_left == 0 && self.header_held == 0
    }

    fn data<'a>(&mut self, input: &mut &'a [u8]) -> Option<Event<'a>> {
        let piece = take(input, self.data_left);
        self.data_left -= piece.len();
        (!piece.is_empty()).then_some(Event::Data(piece))
    }
}

fn take<'a>(input: &mut &'a [u8], at_most: usize) -> &'a [u8] {
    let (piece, rest) = input.split_at(at_most.min(input.len()));
    *input = rest;
    piece
}

fn check_length(kind: u8, length: usize) -> Result<(), WireError> {
    let right = match kind {
        OPEN => length == OPEN_IPV4 || length == OPEN_IPV6,
        STATUS => length == 1,
        DATA => length > 0,
        FIN | RESET | GOAWAY => length == 0,
        _ => return Err(WireError::Type(kind)),
    };
    if right { Ok(()) } else { Err(WireError::Length { kind, length }) }
}

fn parse_control(kind: u8, payload: &[u8]) -> Result<Event<'static>, WireError> {
    match (kind, payload) {
        (OPEN, payload) => parse_open(payload).map(Event::Open),
        (STATUS, [code]) => Status::from_code(*code).map(Event::Status),
        (FIN, _) => Ok(Event::Fin),
        (RESET, _) => Ok(Event::Reset),
        (GOAWAY, _) => Ok(Event::GoAway),
        _ => Err(WireError::Length { kind, length: payload.len() }),
    }
}

fn parse_open(payload: &[u8]) -> Result<Open, WireError> {
    let short = WireError::Length { kind: OPEN, length: payload.len() };
    let Some((&[version, flags], rest)) = payload.split_first_chunk() else { return Err(short) };
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    if flags != 0 {
        return Err(WireError::Reserved);
    }
    let Some((connection, rest)) = rest.split_first_chunk() else { return Err(short) };
    let (destination, rest) = parse_address(rest).ok_or(short)??;
    let (source, rest) = parse_address(rest).ok_or(short)??;
    if !rest.is_empty() {
        return Err(short);
    }
    if destination.is_ipv4() != source.is_ipv4() {
        return Err(WireError::MixedFamilies);
    }
    Ok(Open { connection: u64::from_be_bytes(*connection), destination, source })
}

/// `None` when the input is too short for the family it names.
fn parse_address(input: &[u8]) -> Option<Result<(SocketAddr, &[u8]), WireError>> {
    let (&family, rest) = input.split_first()?;
    let (ip, rest): (IpAddr, _) = match family {
        4 => {
            let (octets, rest) = rest.split_first_chunk::<4>()?;
            (Ipv4Addr::from(*octets).into(), rest)
        }
        6 => {
            let (octets, rest) = rest.split_first_chunk::<16>()?;
            (Ipv6Addr::from(*octets).into(), rest)
        }
        other => return Some(Err(WireError::Family(other))),
    };
    let (port, rest) = rest.split_first_chunk()?;
    Some(Ok((SocketAddr::new(ip, u16::from_be_bytes(*port)), rest)))
}

#[cfg(test)]
#[path = "wire_tests.rs"]
pub(crate) mod tests;
