//! The TLS 1.3 record layer (RFC 8446, section 5), for bytes in bulk.
//!
//! rustls makes the handshake and keeps the key schedule; records are opened from the ciphertext straight into the
//! reader's buffer and sealed in one buffer for one system call, without an allocation for each. The tests run it against
//! rustls' own record layer.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use aws_lc_rs::aead::{AES_128_GCM, AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use rustls::client::ClientConnectionData;
use rustls::kernel::KernelConnection;
use rustls::server::ServerConnectionData;
use rustls::{AlertDescription, ConnectionTrafficSecrets, ExtractedSecrets};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::buffers::{Buffer, SIZE};

const HEADER: usize = 5;
const TAG: usize = 16;
/// The most plaintext of a record; after it come the type and the tag.
pub const PLAINTEXT: usize = 16 * 1024;
const SEALED: usize = HEADER + PLAINTEXT + 1 + TAG;
/// RFC 8446, 5.2: how much longer than its plaintext a record may be.
const MOST_CIPHERTEXT: usize = PLAINTEXT + 256;

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
const CLOSE_NOTIFY: u8 = 0;
const NEW_SESSION_TICKET: u8 = 4;
const KEY_UPDATE: u8 = 24;

/// RFC 8446, 5.5: AES-GCM keys are good for 2^24.5 records.
const REKEY_AFTER: u64 = 1 << 23;

/// Hands out the next keys of either direction.
pub enum KeySchedule {
    Client(KernelConnection<ClientConnectionData>),
    Server(KernelConnection<ServerConnectionData>),
}

struct Direction {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    sequence: u64,
}

/// TLS over a connection whose handshake is done.
pub struct Records {
    stream: TcpStream,
    schedule: KeySchedule,
    receive: Direction,
    send: Direction,
    rekey_after: u64,
    ciphertext: Buffer,
    sealed: Buffer,
    ended: bool,
}

impl Direction {
    fn new((sequence, secrets): (u64, ConnectionTrafficSecrets)) -> io::Result<Self> {
        let (algorithm, key, iv) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(io::Error::other("unknown cipher")),
        };
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| io::Error::other("unusable key"))?;
        let iv = iv.as_ref().try_into().map_err(|_| io::Error::other("unusable nonce"))?;
        Ok(Self { key: LessSafeKey::new(key), iv, sequence })
    }

    /// RFC 8446, 5.3. Each is used once: the number grows with every record and keys change long before it could wrap.
    fn next_nonce(&mut self) -> Nonce {
        let mut nonce = self.iv;
        for (byte, number) in nonce[NONCE_LEN - 8..].iter_mut().zip(self.sequence.to_be_bytes()) {
            *byte ^= number;
        }
        self.sequence += 1;
        Nonce::assume_unique_for_key(nonce)
    }

    /// Writes one record with `plaintext` to the front of `out` and returns its length.
    fn seal(&mut self, kind: u8, plaintext: &[u8], out: &mut [u8]) -> io::Result<usize> {
        let length = plaintext.len() + 1 + TAG;
        let (header, rest) = out.split_at_mut(HEADER);
        header.copy_from_slice(&record_header(length));
        let (inner, tag) = rest.split_at_mut(plaintext.len() + 1);
        inner[..plaintext.len()].copy_from_slice(plaintext);
        inner[plaintext.len()] = kind;
        let nonce = self.next_nonce();
        let made = self
            .key
            .seal_in_place_separate_tag(nonce, Aad::from(&*header), inner)
            .map_err(|_| io::Error::other("cannot encrypt"))?;
        tag[..TAG].copy_from_slice(made.as_ref());
        Ok(HEADER + length)
    }
}

fn record_header(length: usize) -> [u8; HEADER] {
    let [.., high, low] = length.to_be_bytes();
    [APPLICATION_DATA, 3, 3, high, low]
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Records {
    /// `ahead` is ciphertext that was read together with the end of the handshake.
    pub fn new(stream: TcpStream, secrets: ExtractedSecrets, schedule: KeySchedule, ahead: &[u8]) -> io::Result<Self> {
        let mut ciphertext = Buffer::frugal();
        if ahead.len() > SIZE {
            return Err(invalid("too much data before the end of the handshake"));
        }
        ciphertext.fill_from(ahead);
        Ok(Self {
            stream,
            schedule,
            receive: Direction::new(secrets.rx)?,
            send: Direction::new(secrets.tx)?,
            rekey_after: REKEY_AFTER,
            ciphertext,
            sealed: Buffer::frugal(),
            ended: false,
        })
    }

    /// The length of the record at the front of the ciphertext, without its header, once all of it is there.
    fn whole_record(&self) -> io::Result<Option<usize>> {
        let Some((&[kind, major, _, high, low], rest)) = self.ciphertext.bytes().split_first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if kind != APPLICATION_DATA || major != 3 || length > MOST_CIPHERTEXT || length <= TAG {
            return Err(invalid("not a TLS 1.3 record"));
        }
        Ok((rest.len() >= length).then_some(length))
    }

    /// Opens the record at the front into `out` and returns how many bytes of application data it brought.
    fn open(&mut self, length: usize, out: &mut [u8]) -> io::Result<usize> {
        let (header, rest) = self.ciphertext.bytes().split_at(HEADER);
        let (inner, tag) = rest[..length].split_at(length - TAG);
        let plaintext = &mut out[..inner.len()];
        let nonce = self.receive.next_nonce();
        self.receive
            .key
            .open_separate_gather(nonce, Aad::from(header), inner, tag, plaintext)
            .map_err(|_| invalid("a record does not decrypt"))?;
        self.ciphertext.consume(HEADER + length);
        // RFC 8446, 5.4: the type is the last byte that is not zero; zeros after it are padding.
        let end = plaintext.iter().rposition(|&byte| byte != 0).ok_or_else(|| invalid("a record without a type"))?;
        let (content, kind) = (&plaintext[..end], plaintext[end]);
        match kind {
            APPLICATION_DATA => return Ok(end),
            ALERT => match content {
                [_, CLOSE_NOTIFY] => self.ended = true,
                [_, code] => {
                    let alert = rustls::Error::AlertReceived(AlertDescription::from(*code));
                    return Err(io::Error::new(io::ErrorKind::InvalidData, alert));
                }
                _ => return Err(invalid("a malformed alert")),
            },
            HANDSHAKE => {
                let message = content.to_vec();
                self.handshake_message(&message)?;
            }
            _ => return Err(invalid("a record of unknown type")),
        }
        Ok(0)
    }

    /// RFC 8446, 4.6: what may come after the handshake.
    fn handshake_message(&mut self, message: &[u8]) -> io::Result<()> {
        match message {
            // We do not resume sessions.
            [NEW_SESSION_TICKET, ..] => Ok(()),
            [KEY_UPDATE, 0, 0, 1, requested @ (0 | 1)] => {
                self.receive = Direction::new(self.next_keys(false)?)?;
                if *requested == 1 { self.rekey() } else { Ok(()) }
            }
            _ => Err(invalid("a handshake message that has no place here")),
        }
    }

    fn next_keys(&mut self, sending: bool) -> io::Result<(u64, ConnectionTrafficSecrets)> {
        match (&mut self.schedule, sending) {
            (KeySchedule::Client(schedule), true) => schedule.update_tx_secret(),
            (KeySchedule::Client(schedule), false) => schedule.update_rx_secret(),
            (KeySchedule::Server(schedule), true) => schedule.update_tx_secret(),
            (KeySchedule::Server(schedule), false) => schedule.update_rx_secret(),
        }
        .map_err(io::Error::other)
    }

    /// Announces new keys for what we send, and uses them from the next record on.
    fn rekey(&mut self) -> io::Result<()> {
        let mut record = [0; HEADER + 5 + 1 + TAG];
        let length = self.send.seal(HANDSHAKE, &[KEY_UPDATE, 0, 0, 1, 0], &mut record)?;
        let waiting = self.sealed.bytes().len();
        self.append_sealed(waiting, &record[..length])?;
        self.send = Direction::new(self.next_keys(true)?)?;
        Ok(())
    }

    fn append_sealed(&mut self, waiting: usize, record: &[u8]) -> io::Result<()> {
        self.sealed.compact();
        let room = self
            .sealed
            .memory()
            .get_mut(waiting..waiting + record.len())
            .ok_or_else(|| invalid("more key updates than can be answered"))?;
        room.copy_from_slice(record);
        self.sealed.set(0, waiting + record.len());
        Ok(())
    }

    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        while !self.sealed.is_empty() {
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, self.sealed.bytes()))?;
            if written == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sealed.consume(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Records {
    /// Needs room for a whole record, and fills as much as whole records can.
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = out.filled().len();
        loop {
            let brought = out.filled().len() > before;
            if this.ended {
                return Poll::Ready(Ok(()));
            }
            if let Some(length) = this.whole_record()? {
                if out.remaining() < length {
                    return Poll::Ready(if brought { Ok(()) } else { Err(io::ErrorKind::InvalidInput.into()) });
                }
                let data = this.open(length, out.initialize_unfilled())?;
                out.advance(data);
                continue;
            }
            if brought {
                return Poll::Ready(Ok(()));
            }
            // A key update may have asked for an answer. If it cannot leave now it leaves with the next write.
            if !this.sealed.is_empty()
                && let Poll::Ready(Err(error)) = this.poll_send(cx)
            {
                return Poll::Ready(Err(error));
            }
            if ready!(this.ciphertext.poll_extend(&mut this.stream, cx))? == 0 {
                // The end without close_notify: frames say what is complete, so nothing can be cut off unnoticed.
                this.ended = true;
            }
        }
    }
}

impl AsyncWrite for Records {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_send(cx))?;
        if this.send.sequence >= this.rekey_after {
            this.rekey()?;
        }
        let (mut taken, mut end) = (0, this.sealed.bytes().len());
        let room = this.sealed.memory().len();
        while taken < bytes.len() && room - end >= SEALED {
            let piece = &bytes[taken..bytes.len().min(taken + PLAINTEXT)];
            end += this.send.seal(APPLICATION_DATA, piece, &mut this.sealed.memory()[end..])?;
            taken += piece.len();
        }
        this.sealed.set(0, end);
        // What does not leave now leaves with the next write or flush.
        match this.poll_send(cx) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            _ => Poll::Ready(Ok(taken)),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
#[path = "records_tests.rs"]
pub(super) mod tests;
