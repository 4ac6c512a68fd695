use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Owned {
    Open(Open),
    Status(u8),
    Data(Vec<u8>),
    Fin,
    Reset,
    GoAway,
}

pub(crate) fn encode(frame: &Owned) -> Vec<u8> {
    match frame {
        Owned::Open(value) => open(value),
        Owned::Status(code) => status(Status::from_code(*code).unwrap()).to_vec(),
        Owned::Data(bytes) => [&data_header(bytes.len())[..], bytes].concat(),
        Owned::Fin => fin().to_vec(),
        Owned::Reset => reset().to_vec(),
        Owned::GoAway => go_away().to_vec(),
    }
}

/// Decodes `pieces` one after the other; neighbouring DATA is joined, as a piece may end anywhere.
fn decode<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Result<Vec<Owned>, WireError> {
    let mut decoder = Decoder::default();
    let mut out = Vec::new();
    for mut piece in pieces {
        while let Some(event) = decoder.next(&mut piece)? {
            match (event, out.last_mut()) {
                (Event::Data(more), Some(Owned::Data(bytes))) => bytes.extend(more),
                (Event::Data(bytes), _) => out.push(Owned::Data(bytes.to_vec())),
                (Event::Open(value), _) => out.push(Owned::Open(value)),
                (Event::Status(value), _) => out.push(Owned::Status(value as u8)),
                (Event::Fin, _) => out.push(Owned::Fin),
                (Event::Reset, _) => out.push(Owned::Reset),
                (Event::GoAway, _) => out.push(Owned::GoAway),
            }
        }
        assert!(piece.is_empty(), "bytes were left over without an event");
    }
    assert!(decoder.at_boundary());
    Ok(out)
}

fn joined(frames: &[Owned]) -> Vec<Owned> {
    let mut out: Vec<Owned> = Vec::new();
    for frame in frames {
        match (frame, out.last_mut()) {
            (Owned::Data(more), Some(Owned::Data(bytes))) => bytes.extend(more),
            _ => out.push(frame.clone()),
        }
    }
    out
}

prop_compose! {
    fn any_open()(v4 in any::<bool>(), connection: u64, a: [u8; 16], b: [u8; 16], p: u16, q: u16) -> Open {
        let ip = |octets: [u8; 16]| -> IpAddr {
            if v4 { Ipv4Addr::new(octets[0], octets[1], octets[2], octets[3]).into() } else { Ipv6Addr::from(octets).into() }
        };
        Open { connection, destination: SocketAddr::new(ip(a), p), source: SocketAddr::new(ip(b), q) }
    }
}

pub(crate) fn any_frame() -> impl Strategy<Value = Owned> {
    prop_oneof![
        any_open().prop_map(Owned::Open),
        (0_u8..=5).prop_map(Owned::Status),
        prop::collection::vec(any::<u8>(), 1..2000).prop_map(Owned::Data),
        Just(Owned::Fin),
        Just(Owned::Reset),
        Just(Owned::GoAway),
    ]
}

proptest! {
    #[test]
    fn frames_survive_any_cutting(frames in prop::collection::vec(any_frame(), 0..12), size in 1_usize..700) {
        let bytes: Vec<u8> = frames.iter().flat_map(encode).collect();
        prop_assert_eq!(decode(bytes.chunks(size)).unwrap(), joined(&frames));
    }

    #[test]
    fn garbage_is_an_error_or_frames_but_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let mut decoder = Decoder::default();
        let mut input = &bytes[..];
        while let Ok(Some(_)) = decoder.next(&mut input) {}
    }
}

fn failure(bytes: &[u8]) -> WireError {
    Decoder::default().next(&mut &bytes[..]).expect_err("the frame must be refused")
}

fn sample() -> Open {
    Open { connection: 7, destination: "10.89.0.3:9000".parse().unwrap(), source: "10.89.0.2:40000".parse().unwrap() }
}

#[test]
fn open_is_laid_out_as_documented() {
    let expected = [
        1, 0, 0, 24, // OPEN, 24 bytes
        1, 0, // version, flags
        0, 0, 0, 0, 0, 0, 0, 7, // connection
        4, 10, 89, 0, 3, 0x23, 0x28, // destination
        4, 10, 89, 0, 2, 0x9c, 0x40, // source
    ];
    assert_eq!(open(&sample()), expected);
}

#[test]
fn an_open_that_is_short_long_or_of_another_version_is_refused() {
    let good = open(&sample());
    let mut short = good.clone();
    short[3] = 23;
    assert_eq!(failure(&short), WireError::Length { kind: 1, length: 23 });
    let mut long = good.clone();
    long[3] = 25;
    assert_eq!(failure(&long), WireError::Length { kind: 1, length: 25 });
    let mut version = good.clone();
    version[4] = 2;
    assert_eq!(failure(&version), WireError::Version(2));
    let mut flags = good.clone();
    flags[5] = 1;
    assert_eq!(failure(&flags), WireError::Reserved);
    let mut family = good;
    family[14] = 5;
    assert_eq!(failure(&family), WireError::Family(5));
}

#[test]
fn an_open_of_the_ipv6_length_with_ipv4_addresses_is_refused() {
    let mut bytes = open(&sample());
    bytes[3] = 48;
    bytes.resize(4 + 48, 0);
    assert_eq!(failure(&bytes), WireError::Length { kind: 1, length: 48 });
}

#[test]
fn frames_with_a_wrong_length_or_type_are_refused() {
    assert_eq!(failure(&[2, 0, 0, 2]), WireError::Length { kind: 2, length: 2 });
    assert_eq!(failure(&[3, 0, 0, 0]), WireError::Length { kind: 3, length: 0 });
    assert_eq!(failure(&[4, 0, 0, 1]), WireError::Length { kind: 4, length: 1 });
    assert_eq!(failure(&[9, 0, 0, 0]), WireError::Type(9));
    assert_eq!(failure(&[0x16, 3, 1, 0]), WireError::Type(0x16));
    assert_eq!(failure(&[2, 0, 0, 1, 99]), WireError::Code(99));
}
