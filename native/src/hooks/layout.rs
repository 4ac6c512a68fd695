//! The structures of `bpf/maps.bpf.h`, byte for byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub const FLAG_CAPTURE: u32 = 1 << 0;
pub const FLAG_STRICT: u32 = 1 << 1;
pub const FLAG_IPV6: u32 = 1 << 2;
pub const FLAG_GATE: u32 = 1 << 3;
pub const FLAG_GATED: u32 = 1 << 4;
pub const FLAG_UDP_DNS: u32 = 1 << 5;
pub const FLAG_NO_UDP: u32 = 1 << 6;
pub const FLAG_ERRANDS: u32 = 1 << 7;
pub const GATEWAY_CGROUPS: usize = 4;

pub const CIDR_DIRECT: u8 = 0;
pub const CIDR_CAPTURE: u8 = 1;
pub const CIDR_OWN: u8 = 2;

pub const EXEMPT_ALL: u8 = 1;
pub const EXEMPT_PROBES: u8 = 2;

/// In the order of `enum counter`.
pub const COUNTERS: [&str; 11] = [
    "hook_redirected",
    "hook_excluded",
    "hook_direct_no_gateway",
    "hook_refused_no_gateway",
    "hook_device_bound",
    "gate_refused",
    "gate_dropped",
    "gate_exempt",
    "egress_refused",
    "udp_packets",
    "udp_refused",
];

/// In the order of `enum kind`.
pub const KINDS: [&str; 5] = ["tunnel", "tls", "plain", "udp", "other"];

/// Words of 64 bits in `kgw_gated`.
pub const GATED_WORDS: usize = 1024;

const AF_INET: u16 = 2;
const AF_INET6: u16 = 10;

/// Plain bytes: every bit pattern is valid and there is no padding.
///
/// # Safety
/// Only for `repr(C)` structures of integers without padding.
pub unsafe trait Plain: Copy + Default {}

#[repr(C)]
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub address: [u8; 16],
    pub port: [u8; 2],
    pub family: u16,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
pub struct Config {
    pub gateway_cgroups: [u64; GATEWAY_CGROUPS],
    pub stale_after: u64,
    pub flags: u32,
    pub pod_ipv4: [u8; 4],
    pub pod_ipv6: [u8; 16],
    pub control_port: u32,
    pub unused: u32,
}

#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct PeerKey {
    pub address: [u8; 16],
    pub kind: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct Sent {
    pub bytes: u64,
    pub packets: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash, Debug)]
pub struct SourceKey {
    pub address: [u8; 16],
    pub port: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CidrKey {
    pub prefix_length: u32,
    pub address: [u8; 16],
}

// SAFETY: repr(C), integers and byte arrays only; the sizes (20, 72, 20) leave no room for padding.
unsafe impl Plain for Endpoint {}
// SAFETY: as above.
unsafe impl Plain for Config {}
// SAFETY: as above.
unsafe impl Plain for CidrKey {}
// SAFETY: repr(C), a byte array of 16 and one or two integers of 8 bytes: no room for padding.
unsafe impl Plain for PeerKey {}
// SAFETY: as above.
unsafe impl Plain for Sent {}
// SAFETY: as above.
unsafe impl Plain for SourceKey {}
// SAFETY: an integer.
unsafe impl Plain for u64 {}
// SAFETY: an integer.
unsafe impl Plain for u32 {}
// SAFETY: an integer.
unsafe impl Plain for u16 {}
// SAFETY: an integer.
unsafe impl Plain for u8 {}

const _: () = assert!(size_of::<Endpoint>() == 20 && size_of::<Config>() == 72 && size_of::<CidrKey>() == 20);
const _: () = assert!(size_of::<PeerKey>() == 24 && size_of::<Sent>() == 16 && size_of::<SourceKey>() == 24);

/// The 16 bytes of an address; IPv4 is v4-mapped.
pub fn mapped(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(v4) => v4.to_ipv6_mapped().octets(),
        IpAddr::V6(v6) => v6.octets(),
    }
}

impl From<SocketAddr> for Endpoint {
    fn from(address: SocketAddr) -> Self {
        let ip = address.ip().to_canonical();
        Self {
            address: mapped(ip),
            port: address.port().to_be_bytes(),
            family: if ip.is_ipv4() { AF_INET } else { AF_INET6 },
        }
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(endpoint: Endpoint) -> Self {
        let address = Ipv6Addr::from(endpoint.address);
        let ip = match (endpoint.family, address.to_ipv4_mapped()) {
            (AF_INET, Some(v4)) => IpAddr::V4(v4),
            _ => IpAddr::V6(address),
        };
        Self::new(ip, u16::from_be_bytes(endpoint.port))
    }
}

/// An address out of its 16 bytes.
pub fn address_of(bytes: [u8; 16]) -> IpAddr {
    IpAddr::V6(Ipv6Addr::from(bytes)).to_canonical()
}

/// The key of a CIDR in the longest-prefix map.
pub fn cidr_key(address: IpAddr, prefix_length: u8) -> CidrKey {
    let offset = if address.is_ipv4() { 96 } else { 0 };
    CidrKey { prefix_length: u32::from(prefix_length) + offset, address: mapped(address) }
}

/// Never captured, whatever the settings say: this machine, and addresses that do not leave the link.
pub fn never_captured() -> [CidrKey; 6] {
    [
        cidr_key(Ipv4Addr::UNSPECIFIED.into(), 32),
        cidr_key(Ipv4Addr::new(127, 0, 0, 0).into(), 8),
        cidr_key(Ipv4Addr::new(169, 254, 0, 0).into(), 16),
        cidr_key(Ipv6Addr::UNSPECIFIED.into(), 128),
        cidr_key(Ipv6Addr::LOCALHOST.into(), 128),
        cidr_key(Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0).into(), 10),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoint_keeps_both_families() {
        for text in ["10.89.0.2:9000", "[fd89::2]:443"] {
            let address: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddr::from(Endpoint::from(address)), address);
        }
    }

    #[test]
    fn a_mapped_address_is_kept_as_ipv4() {
        let address: SocketAddr = "[::ffff:10.0.0.1]:80".parse().unwrap();
        assert_eq!(SocketAddr::from(Endpoint::from(address)), "10.0.0.1:80".parse().unwrap());
    }
}
