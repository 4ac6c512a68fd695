//! Sockets with the options a relay needs.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpSocket, TcpStream};

use crate::hooks::maps::SocketMaps;

/// A peer that is gone without a word is noticed after a minute while we wait for it. While we send to it that is left to the
/// kernel, which gives up after 15 tries: not TCP_USER_TIMEOUT, which also ends connections to those that answer and do not
/// read for a while (tcp(7)).
const KEEPALIVE_IDLE: Duration = Duration::from_secs(30);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_PROBES: u32 = 3;
/// At most so long between two tries: 15 of them take a minute then, not a quarter of an hour. Linux 6.15 and later.
const TRY_AGAIN_AFTER_MS: libc::c_int = 4000;
const TCP_RTO_MAX_MS: libc::c_int = 44;

/// Tries of another source port when all are in TIME_WAIT or in use.
const PORT_TRIES: u16 = 64;

/// Options for a connection that leaves the pod.
pub fn prepare_network(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let socket = SockRef::from(stream);
    socket.set_tcp_keepalive(
        &TcpKeepalive::new().with_time(KEEPALIVE_IDLE).with_interval(KEEPALIVE_INTERVAL).with_retries(KEEPALIVE_PROBES),
    )?;
    // Kernels that do not have it go on for longer.
    let _ = set_number(stream, libc::IPPROTO_TCP, TCP_RTO_MAX_MS, TRY_AGAIN_AFTER_MS);
    Ok(())
}

/// Makes dropping the stream a reset: the application sees an error, not an orderly end.
pub fn reset_on_drop(stream: &TcpStream) {
    reset_when_closed(stream);
}

/// Makes closing a socket a reset, whoever closes it: when this process is killed the kernel does, and with an end in order
/// what was cut would look whole. What a listener accepts inherits it.
pub fn reset_when_closed(socket: &impl AsFd) {
    // Fails only on a socket that is already dead.
    let _ = SockRef::from(socket).set_linger(Some(Duration::ZERO));
}

/// Makes dropping the stream an orderly end: both sides have ended, and what is still to be sent is sent.
pub fn end_on_drop(stream: &TcpStream) {
    // Fails only on a socket that is already dead.
    let _ = SockRef::from(stream).set_linger(None);
}

/// Whether an error is about this side's resources.
pub fn is_short(error: &io::Error) -> bool {
    let short = [libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::ENOBUFS, libc::EADDRNOTAVAIL];
    error.raw_os_error().is_some_and(|number| short.contains(&number))
}

/// Dials from one of the pod's own addresses; `port` is the source port to try first, 0 for any.
pub async fn dial(to: SocketAddr, from: IpAddr, port: u16, timeout: Duration) -> io::Result<TcpStream> {
    let attempt = async {
        if port != 0 {
            // The application's own port, so that the other side sees the connection that the application sees.
            let socket = new_socket(to)?;
            if socket.bind(&SocketAddr::new(from, port).into()).is_ok() {
                match connect(socket, to).await {
                    Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
                    other => return other,
                }
            }
        }
        let socket = new_socket(to)?;
        bind_any_port(&socket, from)?;
        connect(socket, to).await
    };
    tokio::time::timeout(timeout, attempt).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// Dials the application of this pod on behalf of `client`, whom the application will see.
pub async fn dial_application(
    to: SocketAddr,
    client: SocketAddr,
    maps: &SocketMaps,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let attempt = async {
        let socket = new_socket(to)?;
        reset_when_closed(&socket);
        bind_any_port(&socket, to.ip())?;
        maps.set_real_client(socket.as_fd(), client)?;
        let stream = match connect(socket, to).await {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {
                dial_from_chosen_port(to, client, maps).await?
            }
            other => other?,
        };
        stream.set_nodelay(true)?;
        Ok(stream)
    };
    tokio::time::timeout(timeout, attempt).await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// All clients of the application share one source address here, so its ports can all be in TIME_WAIT. A port that was
/// bound by number may leave TIME_WAIT early, as its timestamps keep old segments out (tcp_twsk_unique in the kernel).
async fn dial_from_chosen_port(to: SocketAddr, client: SocketAddr, maps: &SocketMaps) -> io::Result<TcpStream> {
    let (low, high) = port_range();
    let span = u32::from(high - low) + 1;
    let start = SEED.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    for step in 0..u32::from(PORT_TRIES) {
        let offset = start.wrapping_mul(PORT_TRIES.into()).wrapping_add(step) % span;
        let port = low + u16::try_from(offset).unwrap_or(0);
        let socket = new_socket(to)?;
        if socket.bind(&SocketAddr::new(to.ip(), port).into()).is_err() {
            continue;
        }
        reset_when_closed(&socket);
        maps.set_real_client(socket.as_fd(), client)?;
        match connect(socket, to).await {
            Err(error) if error.kind() == io::ErrorKind::AddrNotAvailable => {}
            other => return other,
        }
    }
    Err(io::ErrorKind::AddrNotAvailable.into())
}

static SEED: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);

fn port_range() -> (u16, u16) {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let mut numbers = text.split_whitespace().filter_map(|word| word.parse().ok());
    match (numbers.next(), numbers.next()) {
        (Some(low), Some(high)) if low <= high => (low, high),
        _ => (32768, 60999),
    }
}

fn new_socket(to: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    // On all of them: a port in TIME_WAIT can be bound again only if its earlier socket allowed it too.
    socket.set_reuse_address(true)?;
    Ok(socket)
}

/// Binds the address now and leaves the port to connect(), which then may share it between destinations.
fn bind_any_port(socket: &Socket, from: IpAddr) -> io::Result<()> {
    set_number(socket, libc::IPPROTO_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)?;
    socket.bind(&SocketAddr::new(from, 0).into())
}

/// Sets an option whose value is an integer.
fn set_number(socket: &impl AsRawFd, level: libc::c_int, option: libc::c_int, value: libc::c_int) -> io::Result<()> {
    // SAFETY: the pointer and length are those of a live integer.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            (&raw const value).cast(),
            libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

async fn connect(socket: Socket, to: SocketAddr) -> io::Result<TcpStream> {
    TcpSocket::from_std_stream(socket.into()).connect(to).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_peer_that_reads_slowly_is_not_given_up() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        prepare_network(&stream).unwrap();
        // With a limit the kernel would also end connections to those that answer and have no room (tcp(7)).
        assert_eq!(SockRef::from(&stream).tcp_user_timeout().unwrap(), None);
        assert!(SockRef::from(&stream).keepalive().unwrap());
    }
}
