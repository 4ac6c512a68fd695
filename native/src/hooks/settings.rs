//! What the hooks are told, and how it is put into their maps.

use std::collections::HashSet;
use std::hash::Hash;
use std::net::IpAddr;
use std::os::fd::BorrowedFd;

use super::layout::{self, CidrKey, Config, Plain};
use super::sys;
use crate::error::{Context, Error, Result};

/// Which ports of the pod are reached through the tunnel alone.
pub enum Gate {
    Open,
    Ports(Vec<u16>),
    All,
}

/// What of the pod's UDP may leave it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Udp {
    Allow,
    DnsOnly,
    Block,
}

/// A source that reaches a gated pod in clear; `probes`: the probed ports alone.
#[derive(Clone, Copy)]
pub struct Exempt {
    pub address: IpAddr,
    pub prefix_length: u8,
    pub probes: bool,
}

/// What the hooks shall do. Rules: (address, prefix length, captured).
pub struct HookSettings {
    /// Of those that run.
    pub gateway_cgroups: Vec<u64>,
    /// Of those that made listeners which are still in use.
    pub makers: Vec<u64>,
    pub capture: bool,
    pub strict: bool,
    pub addresses: Vec<IpAddr>,
    pub rules: Vec<(IpAddr, u8, bool)>,
    pub excluded_ports: Vec<u16>,
    pub stale_after_nanoseconds: u64,
    pub gate: Gate,
    pub exempt: Vec<Exempt>,
    pub probe_ports: Vec<u16>,
    /// Of the gateway itself, besides that of the tunnel.
    pub served_ports: Vec<u16>,
    pub udp: Udp,
    /// 0: none.
    pub control_port: u16,
    /// The gateway may connect to others of its own accord.
    pub errands: bool,
}

impl HookSettings {
    /// Everything but the flags first: what they turn on finds its maps filled.
    pub fn apply<'a>(&self, map: impl Fn(&str) -> Result<BorrowedFd<'a>>) -> Result<()> {
        let config = self.config()?;
        replace_all(map("kgw_cidrs")?, &self.cidrs()).context("cannot set the captured addresses")?;
        let ports = |name, ports: &[u16]| {
            let entries: Vec<(u16, u8)> = ports.iter().map(|&port| (port, 1)).collect();
            replace_all(map(name)?, &entries).context(format!("cannot set the ports of {name}"))
        };
        ports("kgw_ports", &self.excluded_ports)?;
        ports("kgw_probed", &self.probe_ports)?;
        ports("kgw_served", &self.served_ports)?;
        let cgroups: Vec<(u64, u8)> =
            self.gateway_cgroups.iter().chain(&self.makers).map(|&cgroup| (cgroup, 1)).collect();
        replace_all(map("kgw_gateways")?, &cgroups).context("cannot set the cgroups of the gateways")?;
        replace_all(map("kgw_exempt")?, &self.exempt_sources()).context("cannot set the exempt sources")?;
        if let Gate::Ports(ports) = &self.gate {
            set_gated(map("kgw_gated")?, ports).context("cannot set the gated ports")?;
        }
        sys::update(map("kgw_config")?, &0_u32, &config).context("cannot set the configuration of the hooks")
    }

    fn cidrs(&self) -> Vec<(CidrKey, u8)> {
        let said = self.rules.iter().map(|&(ip, length, captured)| {
            (layout::cidr_key(ip, length), if captured { layout::CIDR_CAPTURE } else { layout::CIDR_DIRECT })
        });
        let own = self.addresses.iter().map(|&ip| (host_key(ip), layout::CIDR_OWN));
        let never = layout::never_captured().map(|key| (key, layout::CIDR_DIRECT));
        said.chain(own).chain(never).collect()
    }

    /// A source that probes, in a CIDR that may do more, may do more too: the longest prefix would decide otherwise.
    fn exempt_sources(&self) -> Vec<(CidrKey, u8)> {
        let all: Vec<CidrKey> = self.exempt.iter().filter(|each| !each.probes).map(|each| each.key()).collect();
        let value = |key: &CidrKey| {
            if all.iter().any(|wider| covers(wider, key)) { layout::EXEMPT_ALL } else { layout::EXEMPT_PROBES }
        };
        self.exempt.iter().map(Exempt::key).map(|key| (key, value(&key))).collect()
    }

    fn config(&self) -> Result<Config> {
        if self.gateway_cgroups.len() > layout::GATEWAY_CGROUPS {
            return Err(Error::message("too many gateway cgroups"));
        }
        let mut config = Config {
            stale_after: self.stale_after_nanoseconds,
            control_port: self.control_port.into(),
            ..Config::default()
        };
        config.gateway_cgroups[..self.gateway_cgroups.len()].copy_from_slice(&self.gateway_cgroups);
        for address in &self.addresses {
            match address {
                IpAddr::V4(v4) if config.pod_ipv4 == [0; 4] => config.pod_ipv4 = v4.octets(),
                IpAddr::V6(v6) if config.pod_ipv6 == [0; 16] => config.pod_ipv6 = v6.octets(),
                _ => {}
            }
        }
        config.flags = [
            (self.capture, layout::FLAG_CAPTURE),
            (self.strict, layout::FLAG_STRICT),
            (config.pod_ipv6 != [0; 16], layout::FLAG_IPV6),
            (matches!(self.gate, Gate::All), layout::FLAG_GATE),
            (matches!(self.gate, Gate::Ports(_)), layout::FLAG_GATED),
            (self.udp == Udp::DnsOnly, layout::FLAG_UDP_DNS),
            (self.udp == Udp::Block, layout::FLAG_NO_UDP),
            (self.errands, layout::FLAG_ERRANDS),
        ]
        .into_iter()
        .filter_map(|(on, flag)| on.then_some(flag))
        .sum();
        Ok(config)
    }
}

impl Exempt {
    fn key(&self) -> CidrKey {
        layout::cidr_key(self.address, self.prefix_length)
    }
}

fn host_key(address: IpAddr) -> CidrKey {
    layout::cidr_key(address, if address.is_ipv4() { 32 } else { 128 })
}

fn covers(wider: &CidrKey, narrower: &CidrKey) -> bool {
    let shift = 128_u32.saturating_sub(wider.prefix_length);
    let prefix = |key: &CidrKey| u128::from_be_bytes(key.address).checked_shr(shift).unwrap_or(0);
    wider.prefix_length <= narrower.prefix_length && prefix(wider) == prefix(narrower)
}

fn set_gated(map: BorrowedFd<'_>, ports: &[u16]) -> std::io::Result<()> {
    let mut words = vec![0_u64; layout::GATED_WORDS];
    for port in ports {
        words[usize::from(port / 64)] |= 1 << (port % 64);
    }
    (0_u32..).zip(words).try_for_each(|(index, word)| sys::update(map, &index, &word))
}

/// Makes the map hold exactly `entries`: new ones first, so that nothing is briefly captured that is excluded.
fn replace_all<K: Plain + Eq + Hash, V: Plain>(map: BorrowedFd<'_>, entries: &[(K, V)]) -> std::io::Result<()> {
    for (key, value) in entries {
        sys::update(map, key, value)?;
    }
    let wanted: HashSet<K> = entries.iter().map(|(key, _)| *key).collect();
    for key in sys::keys::<K>(map)? {
        if !wanted.contains(&key) {
            sys::delete(map, &key)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(text: &str) -> CidrKey {
        let (address, length) = text.split_once('/').unwrap();
        layout::cidr_key(address.parse().unwrap(), length.parse().unwrap())
    }

    #[test]
    fn a_cidr_covers_what_is_in_it() {
        for (wider, narrower, expected) in [
            ("10.0.0.0/8", "10.1.2.3/32", true),
            ("10.0.0.0/8", "11.0.0.1/32", false),
            ("10.1.2.3/32", "10.1.2.3/32", true),
            ("10.1.2.3/32", "10.0.0.0/8", false),
            ("0.0.0.0/0", "10.1.2.3/32", true),
            ("0.0.0.0/0", "fd00::1/128", false),
            ("::/0", "fd00::1/128", true),
            ("fd00::/8", "fd12::/16", true),
        ] {
            assert_eq!(covers(&key(wider), &key(narrower)), expected, "{wider} {narrower}");
        }
    }
}
