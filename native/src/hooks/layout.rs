//! The structures of `bpf/maps.bpf.h`, byte for byte.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

pub const FLAG_CAPTURE: u32 = 1 << 0;
pub const FLAG_STRICT: u32 = 1 << 1;
pub const FLAG_IPV6: u32 = 1 << 2;
pub const GATEWAY_CGROUPS: usize = 4;

/// In the order of `enum counter`.
pub const COUNTERS: [&str; 5] =
    ["hook_redirected", "hook_excluded", "hook_direct_no_gateway", "hook_refused_no_gateway", "hook_device_bound"];

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
}

#[repr(C)]
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct CidrKey {
    pub prefix_length: u32,
    pub address: [u8; 16],
}

// SAFETY: repr(C), integers and byte arrays only; the sizes (20, 64, 20) leave no room for padding.
unsafe impl Plain for Endpoint {}
// SAFETY: as above.
unsafe impl Plain for Config {}
// SAFETY: as above.
unsafe impl Plain for CidrKey {}
// SAFETY: an integer.
unsafe impl Plain for u64 {}
// SAFETY: an integer.
unsafe impl Plain for u32 {}
// SAFETY: an integer.
unsafe impl Plain for u16 {}
// SAFETY: an integer.
unsafe impl Plain for u8 {}

const _: () = assert!(size_of::<Endpoint>() == 20 && size_of::<Config>() == 64 && size_of::<CidrKey>() == 20);

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
