//! The pod's TCP connections as the kernel lists them, and ending them (sock_diag(7), `SOCK_DIAG_BY_FAMILY` and
//! `SOCK_DESTROY`), in the network namespace of the caller.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use serde::Serialize;

const NETLINK_SOCK_DIAG: i32 = 4;
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;

const STATE_CLOSE_WAIT: u8 = 8;
const ESTABLISHED: u32 = 1 << 1;
const CLOSE_WAIT: u32 = 1 << STATE_CLOSE_WAIT;
const EXTENSION_INFO: u8 = 1 << 1;
const ATTRIBUTE_INFO: u16 = 2;
const ATTRIBUTE_CGROUP: u16 = 21;

const HEADER: usize = 16;
const REQUEST: usize = 56;
const SOCKET_ID: std::ops::Range<usize> = 4..52;
const MESSAGE: usize = 72;

/// One connection. `idle` is seconds since data moved last in either direction; `age` is a lower bound, in seconds: the
/// kernel keeps no time of birth, but both of its clocks of data start with the connection, and it adds up how long
/// there was something to send. `half_closed`: the other side has said that it sends nothing more. `cgroup` is the id of
/// the cgroup that the socket was made in, 0 where the kernel does not tell; `inode` names the socket among the
/// descriptors of processes. `sent` and `received` are bytes of payload.
#[derive(Debug, Serialize)]
pub struct Connection {
    pub cookie: u64,
    pub local_address: IpAddr,
    pub local_port: u16,
    pub remote_address: IpAddr,
    pub remote_port: u16,
    pub idle: f64,
    pub age: f64,
    pub half_closed: bool,
    pub sent: u64,
    pub received: u64,
    pub uid: u32,
    pub inode: u32,
    pub cgroup: u64,
    #[serde(skip)]
    family: u8,
    #[serde(skip)]
    socket_id: [u8; 48],
}

/// All established connections, those half-closed by the other side included.
pub fn connections() -> io::Result<Vec<Connection>> {
    let socket = netlink()?;
    let mut found = Vec::new();
    for family in [libc::AF_INET, libc::AF_INET6] {
        let family = u8::try_from(family).map_err(io::Error::other)?;
        let request = request(SOCK_DIAG_BY_FAMILY, NLM_F_DUMP, family, &[0; 48]);
        send(&socket, &request)?;
        receive(&socket, |payload| {
            found.extend(parse(payload));
        })?;
    }
    Ok(found)
}

/// Ends the connections with these cookies: the local program gets ECONNABORTED, the other end a reset. Returns how many
/// there still were. Needs CAP_NET_ADMIN.
pub fn destroy(cookies: &[u64]) -> io::Result<usize> {
    let socket = netlink()?;
    let mut ended = 0;
    for connection in connections()?.iter().filter(|connection| cookies.contains(&connection.cookie)) {
        send(&socket, &request(SOCK_DESTROY, NLM_F_ACK, connection.family, &connection.socket_id))?;
        match receive(&socket, |_| ()) {
            Ok(()) => ended += 1,
            // Ended by itself in the meantime.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(ended)
}

fn netlink() -> io::Result<OwnedFd> {
    // SAFETY: a plain system call; the result is checked before it is used.
    let fd = unsafe { libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, NETLINK_SOCK_DIAG) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

fn request(kind: u16, flags: u16, family: u8, socket_id: &[u8; 48]) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER + REQUEST);
    out.extend(u32::try_from(HEADER + REQUEST).unwrap_or(0).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend((NLM_F_REQUEST | flags).to_ne_bytes());
    out.extend([0; 8]);
    let tcp = u8::try_from(libc::IPPROTO_TCP).unwrap_or(6);
    out.extend([family, tcp, EXTENSION_INFO, 0]);
    out.extend((ESTABLISHED | CLOSE_WAIT).to_ne_bytes());
    out.extend(socket_id);
    out
}

fn send(socket: &OwnedFd, message: &[u8]) -> io::Result<()> {
    // SAFETY: the buffer is live and of the length given.
    let sent = unsafe { libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Reads until the end of a dump or an acknowledgement; an error of the kernel is ours.
fn receive(socket: &OwnedFd, mut each: impl FnMut(&[u8])) -> io::Result<()> {
    let mut buffer = vec![0_u8; 256 * 1024];
    loop {
        // SAFETY: the buffer is live and of the length given.
        let length = unsafe { libc::recv(socket.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
        if length < 0 {
            return Err(io::Error::last_os_error());
        }
        let mut rest = &buffer[..length.cast_unsigned()];
        while let Some((kind, payload, next)) = message(rest) {
            rest = next;
            match kind {
                NLMSG_DONE => return Ok(()),
                NLMSG_ERROR => {
                    return match u32_at(payload, 0).cast_signed() {
                        0 => Ok(()),
                        code => Err(io::Error::from_raw_os_error(-code)),
                    };
                }
                _ => each(payload),
            }
        }
    }
}

/// Type, payload, and what follows the first netlink message of `input`.
fn message(input: &[u8]) -> Option<(u16, &[u8], &[u8])> {
    if input.len() < HEADER {
        return None;
    }
    let length = u32_at(input, 0) as usize;
    let payload = input.get(HEADER..length)?;
    Some((u16_at(input, 4), payload, input.get(length.next_multiple_of(4)..).unwrap_or(&[])))
}

fn parse(payload: &[u8]) -> Option<Connection> {
    let message = payload.get(..MESSAGE)?;
    let socket_id: [u8; 48] = message.get(SOCKET_ID)?.try_into().ok()?;
    let family = message[0];
    let (mut times, mut cgroup) = (Times::default(), 0);
    let mut rest = &payload[MESSAGE..];
    while rest.len() >= 4 {
        let (length, kind) = (u16_at(rest, 0) as usize, u16_at(rest, 2));
        let Some(value) = rest.get(4..length) else { break };
        match kind {
            ATTRIBUTE_INFO => times = Times::read(value),
            ATTRIBUTE_CGROUP if value.len() >= 8 => cgroup = u64_at(value, 0),
            _ => {}
        }
        rest = rest.get(length.next_multiple_of(4)..).unwrap_or(&[]);
    }
    let half_closed = message[1] == STATE_CLOSE_WAIT;
    Some(Connection {
        cookie: u64::from(u32_at(&socket_id, 40)) | (u64::from(u32_at(&socket_id, 44)) << 32),
        local_address: address(family, &socket_id[4..20])?,
        local_port: u16::from_be_bytes([socket_id[0], socket_id[1]]),
        remote_address: address(family, &socket_id[20..36])?,
        remote_port: u16::from_be_bytes([socket_id[2], socket_id[3]]),
        idle: times.idle.as_secs_f64(),
        age: times.age.as_secs_f64(),
        half_closed,
        sent: times.sent,
        // The end of what the other side sends has a number of its own.
        received: times.received.saturating_sub(u64::from(half_closed)),
        uid: u32_at(message, 64),
        inode: u32_at(message, 68),
        cgroup,
        family,
        socket_id,
    })
}

/// What is read of `struct tcp_info` (linux/tcp.h), which grows at its end: what a kernel does not tell is zero.
#[derive(Default)]
struct Times {
    idle: Duration,
    age: Duration,
    sent: u64,
    received: u64,
}

impl Times {
    fn read(info: &[u8]) -> Self {
        let since_sent = Duration::from_millis(u32_at(info, 44).into());
        let since_received = Duration::from_millis(u32_at(info, 52).into());
        let busy = Duration::from_micros(u64_at(info, 168));
        Self {
            idle: since_sent.min(since_received),
            age: since_sent.max(since_received).max(busy),
            // What was acknowledged counts the SYN in; what was sent counts what was sent again.
            sent: u64_at(info, 200).saturating_sub(u64_at(info, 208)),
            received: u64_at(info, 128),
        }
    }
}

fn address(family: u8, octets: &[u8]) -> Option<IpAddr> {
    if i32::from(family) == libc::AF_INET {
        let octets: [u8; 4] = octets.get(..4)?.try_into().ok()?;
        return Some(Ipv4Addr::from(octets).into());
    }
    let octets: [u8; 16] = octets.try_into().ok()?;
    Some(IpAddr::from(Ipv6Addr::from(octets)).to_canonical())
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    bytes.get(at..at + 2).and_then(|piece| piece.try_into().ok()).map_or(0, u16::from_ne_bytes)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|piece| piece.try_into().ok()).map_or(0, u32::from_ne_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|piece| piece.try_into().ok()).map_or(0, u64::from_ne_bytes)
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::linux::fs::MetadataExt;

    use super::*;

    #[test]
    fn a_connection_of_this_process_is_listed() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (port, peer) = (client.local_addr().unwrap().port(), client.peer_addr().unwrap().port());
        let found = connections().unwrap();
        let ours = found.iter().find(|c| c.local_port == port && c.remote_port == peer).expect("not listed");
        assert_eq!(ours.remote_address, "127.0.0.1".parse::<IpAddr>().unwrap());
        assert_ne!(ours.cookie, 0);
    }

    #[test]
    fn a_connection_tells_its_owner_and_what_it_carried() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        client.write_all(b"twelve bytes").unwrap();
        server.read_exact(&mut [0; 12]).unwrap();
        drop(server);
        let (port, peer) = (client.local_addr().unwrap().port(), client.peer_addr().unwrap().port());
        let found = connections().unwrap();
        let ours = found.iter().find(|c| c.local_port == port && c.remote_port == peer).expect("not listed");
        let file = std::fs::metadata(format!("/proc/self/fd/{}", client.as_raw_fd())).unwrap();
        assert_eq!((u64::from(ours.inode), ours.uid), (file.st_ino(), file.st_uid()));
        assert_eq!((ours.sent, ours.received, ours.half_closed), (12, 0, true));
    }

    #[test]
    fn a_connection_is_at_least_as_old_as_its_longest_silence() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (port, peer) = (client.local_addr().unwrap().port(), client.peer_addr().unwrap().port());
        std::thread::sleep(Duration::from_millis(300));
        client.write_all(b"now").unwrap();
        let found = connections().unwrap();
        let ours = found.iter().find(|c| c.local_port == port && c.remote_port == peer).expect("not listed");
        assert!(ours.idle < 0.2, "idle for {} s", ours.idle);
        assert!((0.28..30.0).contains(&ours.age), "{} s old", ours.age);
    }

    #[test]
    fn a_short_description_of_a_connection_leaves_zeros() {
        let times = Times::read(&[1; 50]);
        assert_eq!((times.idle, times.sent, times.received), (Duration::ZERO, 0, 0));
    }

    #[test]
    fn truncated_messages_are_ignored() {
        assert!(parse(&[2; 71]).is_none());
        assert!(message(&[200, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]).is_none());
    }
}
