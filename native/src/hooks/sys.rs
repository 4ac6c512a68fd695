//! bpf(2), as far as the loader library does not reach: maps by descriptor, and programs that stay on a cgroup.
//!
//! Programs are attached with `BPF_PROG_ATTACH`, not with a link: a link dies with its last descriptor, so a strict pod
//! whose gateway was killed would be open. An attached program stays with its cgroup, finds nobody home, and refuses
//! (strict) or goes direct (permissive). It goes with the cgroup, or when it is detached or replaced.

use std::ffi::c_long;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use super::layout::Plain;

const MAP_LOOKUP_ELEM: u32 = 1;
const MAP_UPDATE_ELEM: u32 = 2;
const MAP_DELETE_ELEM: u32 = 3;
const MAP_GET_NEXT_KEY: u32 = 4;
const PROG_ATTACH: u32 = 8;
const PROG_DETACH: u32 = 9;
const PROG_GET_FD_BY_ID: u32 = 13;
const MAP_GET_FD_BY_ID: u32 = 14;
const OBJ_GET_INFO_BY_FD: u32 = 15;
const PROG_QUERY: u32 = 16;
const MAP_LOOKUP_BATCH: u32 = 24;
const LINK_CREATE: u32 = 28;

const F_ALLOW_MULTI: u32 = 1 << 1;
const F_REPLACE: u32 = 1 << 2;

/// More than a kernel lets a program use.
const MOST_MAPS: u32 = 64;

#[repr(C)]
#[derive(Default)]
struct ElementAttribute {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

#[repr(C)]
#[derive(Default)]
struct AttachAttribute {
    target_fd: u32,
    program_fd: u32,
    attach_type: u32,
    flags: u32,
    replace_fd: u32,
}

#[repr(C)]
#[derive(Default)]
struct QueryAttribute {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    program_ids: u64,
    program_count: u32,
    padding: u32,
}

#[repr(C)]
#[derive(Default)]
struct LinkAttribute {
    program_fd: u32,
    target_fd: u32,
    attach_type: u32,
    flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct IdAttribute {
    id: u32,
    next_id: u32,
    open_flags: u32,
}

#[repr(C)]
#[derive(Default)]
struct InfoAttribute {
    fd: u32,
    length: u32,
    info: u64,
}

#[repr(C)]
#[derive(Default)]
struct BatchAttribute {
    in_batch: u64,
    out_batch: u64,
    keys: u64,
    values: u64,
    count: u32,
    map_fd: u32,
    element_flags: u64,
    flags: u64,
}

fn bpf<T>(command: u32, attribute: &mut T) -> io::Result<c_long> {
    // SAFETY: `attribute` is a live, fully initialised structure of the size given; pointers inside it refer to
    // variables of the caller that outlive the call.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, std::ptr::from_mut(attribute), size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

fn raw(fd: BorrowedFd<'_>) -> u32 {
    fd.as_raw_fd().cast_unsigned()
}

fn address_of<T>(value: &T) -> u64 {
    std::ptr::from_ref(value) as u64
}

/// Reads the value at `key`; `None` if there is none. For socket storage the key is the socket's descriptor.
pub fn lookup<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<Option<V>> {
    let value = V::default();
    let mut attribute =
        ElementAttribute { map_fd: raw(map), key: address_of(key), value: address_of(&value), ..Default::default() };
    match bpf(MAP_LOOKUP_ELEM, &mut attribute) {
        // The kernel wrote through the address: read it as memory that changed behind the compiler's back.
        // SAFETY: `value` is a live, initialised `V`.
        Ok(_) => Ok(Some(unsafe { std::ptr::read_volatile(&raw const value) })),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Sums a counter of a per-CPU array over all CPUs.
pub fn lookup_per_cpu(map: BorrowedFd<'_>, index: u32, cpus: usize) -> io::Result<u64> {
    let mut values = vec![0_u64; cpus];
    let mut attribute = ElementAttribute {
        map_fd: raw(map),
        key: address_of(&index),
        value: values.as_mut_ptr() as u64,
        ..Default::default()
    };
    bpf(MAP_LOOKUP_ELEM, &mut attribute)?;
    Ok(values.iter().sum())
}

pub fn update<K: Plain, V: Plain>(map: BorrowedFd<'_>, key: &K, value: &V) -> io::Result<()> {
    let mut attribute =
        ElementAttribute { map_fd: raw(map), key: address_of(key), value: address_of(value), ..Default::default() };
    bpf(MAP_UPDATE_ELEM, &mut attribute).map(drop)
}

pub fn delete<K: Plain>(map: BorrowedFd<'_>, key: &K) -> io::Result<()> {
    let mut attribute = ElementAttribute { map_fd: raw(map), key: address_of(key), ..Default::default() };
    bpf(MAP_DELETE_ELEM, &mut attribute).map(drop)
}

/// All keys of a map, in the kernel's order.
pub fn keys<K: Plain>(map: BorrowedFd<'_>) -> io::Result<Vec<K>> {
    let mut found: Vec<K> = Vec::new();
    loop {
        let next = MaybeUninit::<K>::zeroed();
        let mut attribute = ElementAttribute {
            map_fd: raw(map),
            key: found.last().map_or(0, address_of),
            value: address_of(&next),
            ..Default::default()
        };
        match bpf(MAP_GET_NEXT_KEY, &mut attribute) {
            // SAFETY: zeroed, then filled by the kernel; every bit pattern of a `Plain` is valid.
            Ok(_) => found.push(unsafe { std::ptr::read_volatile(next.as_ptr()) }),
            Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(found),
            Err(error) => return Err(error),
        }
    }
}

/// More than one place of a hash map ever has, and few calls for a full one.
const BATCH: usize = 1024;

/// All entries of a hash map, in as few calls as can be.
pub fn entries<K: Plain, V: Plain>(map: BorrowedFd<'_>) -> io::Result<Vec<(K, V)>> {
    let (mut keys, mut values) = (vec![K::default(); BATCH], vec![V::default(); BATCH]);
    let mut found = Vec::new();
    let (mut from, mut next) = (0_u32, 0_u32);
    loop {
        let mut attribute = BatchAttribute {
            in_batch: if found.is_empty() && next == 0 { 0 } else { address_of(&from) },
            out_batch: std::ptr::from_mut(&mut next) as u64,
            keys: keys.as_mut_ptr() as u64,
            values: values.as_mut_ptr() as u64,
            count: u32::try_from(BATCH).map_err(io::Error::other)?,
            map_fd: raw(map),
            ..Default::default()
        };
        let result = bpf(MAP_LOOKUP_BATCH, &mut attribute);
        let at_the_end = matches!(&result, Err(error) if error.raw_os_error() == Some(libc::ENOENT));
        if !at_the_end {
            result?;
        }
        let count = (attribute.count as usize).min(BATCH);
        found.extend(keys.iter().copied().zip(values.iter().copied()).take(count));
        if at_the_end {
            return Ok(found);
        }
        from = next;
    }
}

/// Where among the programs of a cgroup one is put.
#[derive(Clone, Copy)]
pub enum Place<'a> {
    /// The only one of its type; one that is there in this way already is replaced, atomically.
    Alone,
    /// Beside those of others.
    Beside,
    /// In the place of this one, which is beside those of others, atomically.
    InPlaceOf(BorrowedFd<'a>),
}

pub fn attach(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>, attach_type: u32, place: Place<'_>) -> io::Result<()> {
    let (flags, replace_fd) = match place {
        Place::Alone => (0, 0),
        Place::Beside => (F_ALLOW_MULTI, 0),
        Place::InPlaceOf(old) => (F_ALLOW_MULTI | F_REPLACE, raw(old)),
    };
    let mut attribute =
        AttachAttribute { target_fd: raw(cgroup), program_fd: raw(program), attach_type, flags, replace_fd };
    bpf(PROG_ATTACH, &mut attribute).map(drop)
}

/// Attaches `program` to a cgroup, or a network namespace, for as long as the descriptor returned is open.
pub fn link(target: BorrowedFd<'_>, program: BorrowedFd<'_>, attach_type: u32) -> io::Result<OwnedFd> {
    let mut attribute =
        LinkAttribute { program_fd: raw(program), target_fd: raw(target), attach_type, ..Default::default() };
    own(bpf(LINK_CREATE, &mut attribute)?)
}

/// Removes `program`; without one, the program that is alone there.
pub fn detach(cgroup: BorrowedFd<'_>, program: Option<BorrowedFd<'_>>, attach_type: u32) -> io::Result<()> {
    let mut attribute = AttachAttribute {
        target_fd: raw(cgroup),
        program_fd: program.map_or(0, raw),
        attach_type,
        ..Default::default()
    };
    bpf(PROG_DETACH, &mut attribute).map(drop)
}

/// The programs attached to a cgroup. `shared`: others may be added.
pub struct Attached {
    pub ids: Vec<u32>,
    pub shared: bool,
}

/// What is attached to this very cgroup.
pub fn attached(cgroup: BorrowedFd<'_>, attach_type: u32) -> io::Result<Attached> {
    let mut ids = vec![0_u32; 64];
    let mut attribute = QueryAttribute {
        target_fd: raw(cgroup),
        attach_type,
        program_ids: ids.as_mut_ptr() as u64,
        program_count: 64,
        ..Default::default()
    };
    bpf(PROG_QUERY, &mut attribute)?;
    ids.truncate(attribute.program_count as usize);
    Ok(Attached { ids, shared: attribute.attach_flags & F_ALLOW_MULTI != 0 })
}

pub fn program_by_id(id: u32) -> io::Result<OwnedFd> {
    own(bpf(PROG_GET_FD_BY_ID, &mut IdAttribute { id, ..Default::default() })?)
}

fn own(fd: c_long) -> io::Result<OwnedFd> {
    let fd = i32::try_from(fd).map_err(io::Error::other)?;
    // SAFETY: the kernel just made this descriptor for us alone.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// The names of the maps that a program uses (at most 15 bytes each). Needs CAP_SYS_ADMIN.
pub fn map_names(program: BorrowedFd<'_>) -> io::Result<Vec<String>> {
    let mut ids = vec![0_u32; MOST_MAPS as usize];
    // struct bpf_prog_info: how many maps there are is at byte 52, where their ids shall go at byte 56.
    let mut info = [0_u8; 64];
    info[52..56].copy_from_slice(&MOST_MAPS.to_ne_bytes());
    info[56..64].copy_from_slice(&(ids.as_mut_ptr() as u64).to_ne_bytes());
    fill_info(program, &mut info)?;
    let count = u32::from_ne_bytes([info[52], info[53], info[54], info[55]]);
    ids.truncate(count as usize);
    ids.into_iter().map(map_name).collect()
}

fn map_name(id: u32) -> io::Result<String> {
    let map = own(bpf(MAP_GET_FD_BY_ID, &mut IdAttribute { id, ..Default::default() })?)?;
    // struct bpf_map_info; the name is at byte 24.
    let mut info = [0_u8; 40];
    fill_info(map.as_fd(), &mut info)?;
    let name = &info[24..];
    let end = name.iter().position(|&byte| byte == 0).unwrap_or(name.len());
    Ok(String::from_utf8_lossy(&name[..end]).into_owned())
}

/// Type, size of key and of value, number of entries and flags of a map.
#[derive(Debug, PartialEq, Eq)]
pub struct Shape {
    kind: u32,
    key_size: u32,
    value_size: u32,
    entries: u32,
    flags: u32,
}

pub fn map_shape(map: BorrowedFd<'_>) -> io::Result<Shape> {
    // struct bpf_map_info: type, id, key_size, value_size, max_entries, map_flags; the id is each map's own.
    let mut info = [0_u8; 80];
    fill_info(map, &mut info)?;
    let field = |index: usize| {
        let at = index * 4;
        u32::from_ne_bytes([info[at], info[at + 1], info[at + 2], info[at + 3]])
    };
    Ok(Shape { kind: field(0), key_size: field(2), value_size: field(3), entries: field(4), flags: field(5) })
}

/// The kernel fills no more than it is given room for.
fn fill_info<const LENGTH: usize>(object: BorrowedFd<'_>, info: &mut [u8; LENGTH]) -> io::Result<()> {
    let length = u32::try_from(LENGTH).map_err(io::Error::other)?;
    let mut attribute = InfoAttribute { fd: raw(object), length, info: info.as_mut_ptr() as u64 };
    bpf(OBJ_GET_INFO_BY_FD, &mut attribute).map(drop)
}
