//! What the hooks have counted: what left the pod, how and to whom, and who was refused.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use super::layout::{KINDS, PeerKey, Sent, SourceKey, address_of};
use super::{Hooks, sys};
use crate::error::{Context, Error, Result};

pub struct Peer {
    /// Unspecified: all peers for which there was no room.
    pub address: IpAddr,
    pub kind: &'static str,
    pub sent: Sent,
}

/// All since `since`, seconds since the epoch: when the hooks were first attached, 0 before that.
pub struct Report {
    pub since: f64,
    pub totals: Vec<(&'static str, Sent)>,
    pub peers: Vec<Peer>,
}

const COUNTING: &str = "cannot begin to count what is sent";

fn have_begun(hooks: &Hooks) -> Result<bool> {
    Ok(sys::lookup::<u32, u64>(hooks.map("kgw_began")?, &0).context(COUNTING)?.unwrap_or(0) != 0)
}

/// Makes room for what will find none, unless these are the maps of an earlier gateway.
pub fn make_room(hooks: &Hooks) -> Result<()> {
    if have_begun(hooks)? {
        return Ok(());
    }
    let peers = hooks.map("kgw_peers")?;
    for (kind, _) in (0_u64..).zip(KINDS) {
        sys::update(peers, &PeerKey { kind, ..PeerKey::default() }, &Sent::default()).context(COUNTING)?;
    }
    Ok(())
}

/// Notes that counting begins now, unless it has before.
pub fn begin(hooks: &Hooks) -> Result<()> {
    if have_begun(hooks)? {
        return Ok(());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let nanoseconds = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    sys::update(hooks.map("kgw_began")?, &0_u32, &nanoseconds).context(COUNTING)
}

pub fn read(hooks: &Hooks) -> Result<Report> {
    let reading = "cannot read what was sent";
    let cpus = aya::util::nr_cpus().map_err(|(what, error)| Error::Io { what: what.to_owned(), source: error })?;
    let totals = hooks.map("kgw_sent")?;
    let kinds = u32::try_from(KINDS.len()).unwrap_or(0);
    let total = |index| sys::lookup_per_cpu(totals, index, cpus).context(reading);
    let totals = (0_u32..)
        .zip(KINDS)
        .map(|(index, kind)| Ok((kind, Sent { bytes: total(index)?, packets: total(kinds + index)? })))
        .collect::<Result<_>>()?;
    let nanoseconds = sys::lookup::<u32, u64>(hooks.map("kgw_began")?, &0).context(reading)?.unwrap_or(0);
    let entries: Vec<(PeerKey, Sent)> = sys::entries(hooks.map("kgw_peers")?).context(reading)?;
    let peers = entries.into_iter().filter(|(_, sent)| sent.packets > 0).filter_map(|(key, sent)| {
        let kind = KINDS.get(usize::try_from(key.kind).ok()?)?;
        Some(Peer { address: address_of(key.address), kind, sent })
    });
    Ok(Report { since: std::time::Duration::from_nanos(nanoseconds).as_secs_f64(), totals, peers: peers.collect() })
}

/// Who was refused at which port of the pod, how often, since this was last asked.
pub fn take_refused(hooks: &Hooks) -> Result<Vec<(IpAddr, u16, u64)>> {
    let reading = "cannot read who was refused";
    let map = hooks.map("kgw_refused")?;
    let entries: Vec<(SourceKey, u64)> = sys::entries(map).context(reading)?;
    let mut found = Vec::with_capacity(entries.len());
    for (key, times) in entries {
        match sys::delete(map, &key) {
            // Forgotten by the map in the meantime.
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {}
            result => result.context(reading)?,
        }
        found.push((address_of(key.address), u16::try_from(key.port).unwrap_or(0), times));
    }
    Ok(found)
}
