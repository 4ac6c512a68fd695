use proptest::prelude::*;

use super::*;

const REQUEST: &[u8] = b"POST /v1 HTTP/1.1\r\nHost:  a \r\nX-A:\t1\r\nx-a: 2\r\nY:\r\n\r\nbody";

fn request() -> Request {
    parse_request(REQUEST).unwrap().unwrap()
}

fn edit(name: &str, value: Option<&str>) -> Edit {
    (name.to_owned(), value.map(str::to_owned))
}

#[test]
fn lines_are_found_and_kept() {
    let request = request();
    assert_eq!((request.method.as_str(), request.target.as_str(), request.is_1_1), ("POST", "/v1", true));
    assert_eq!(request.head.raw(), &REQUEST[..REQUEST.len() - 4]);
    assert_eq!(request.head.fields()[0], ("Host".to_owned(), "a".to_owned()));
    assert_eq!(request.head.values("X-A").collect::<Vec<_>>(), [b"1", b"2"]);
    assert_eq!(request.head.list("x-a"), ["1", "2"]);
    assert!(request.head.has("y") && !request.head.has("z"));
}

#[test]
fn without_edits_an_edited_head_is_the_same() {
    assert_eq!(request().head.edited(None, &[]), request().head.raw());
}

#[test]
fn edits_change_the_lines_that_they_name() {
    let edits = [edit("x-a", Some("3")), edit("Y", None), edit("Z", Some("né\r\nw"))];
    let expected = b"PUT / HTTP/1.1\r\nHost:  a \r\nX-A: 3\r\nZ: n\xe9??w\r\n\r\n";
    assert_eq!(request().head.edited(Some("PUT / HTTP/1.1"), &edits), expected);
}

#[test]
fn of_several_edits_of_one_name_the_last_counts() {
    let edits = [edit("n", Some("1")), edit("N", Some("2")), edit("host", Some("b")), edit("Host", None)];
    let expected = b"POST /v1 HTTP/1.1\r\nX-A:\t1\r\nx-a: 2\r\nY:\r\nN: 2\r\n\r\n";
    assert_eq!(request().head.edited(None, &edits), expected);
}

#[test]
fn empty_lines_before_a_request_are_part_of_it() {
    let bytes = b"\r\n\r\nGET / HTTP/1.0\r\n\r\n";
    let request = parse_request(bytes).unwrap().unwrap();
    assert_eq!(request.head.raw(), bytes);
    assert!(!request.is_1_1);
    assert_eq!(request.head.edited(None, &[edit("A", Some("b"))]), b"\r\n\r\nGET / HTTP/1.0\r\nA: b\r\n\r\n");
    assert!(parse_request(&b"\r\n".repeat(20)).is_err());
}

#[test]
fn what_goes_before_a_request_can_be_taken_off() {
    let mut head = parse_request(b"\r\n\r\nGET / HTTP/1.0\r\nA: 1\r\n\r\n").unwrap().unwrap().head;
    assert!(!head.skip(5));
    assert!(head.skip(2));
    assert_eq!(head.raw(), b"\r\nGET / HTTP/1.0\r\nA: 1\r\n\r\n");
    assert_eq!(head.values("a").collect::<Vec<_>>(), [b"1"]);
}

#[test]
fn answers_are_read_as_clients_read_them() {
    let response = parse_response(b"HTTP/1.0 200\nA: b\n c\nD : e\n\n").unwrap().unwrap();
    assert_eq!((response.status, response.is_1_1), (200, false));
    assert!(response.head.has("a"));
    for bad in
        ["HTTP/2 200\r\n\r\n", "ICY 200 OK\r\n\r\n", "HTTP/1.1 2xx\r\n\r\n", "HTTP/1.1 200 OK\r\nnothing\r\n\r\n"]
    {
        assert!(parse_response(bad.as_bytes()).is_err(), "{bad:?}");
    }
}

proptest! {
    #[test]
    fn parsing_never_fails_on_a_prefix_of_what_it_takes(length in 0..REQUEST.len() - 4) {
        prop_assert!(parse_request(&REQUEST[..length]).unwrap().is_none());
    }

    #[test]
    fn parsing_survives_anything(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = parse_request(&bytes);
        let _ = parse_response(&bytes);
        let mut message = b"GET / HTTP/1.1\r\n".to_vec();
        message.extend(&bytes);
        message.extend(b"\r\n\r\n");
        if let Ok(Some(request)) = parse_request(&message) {
            prop_assert_eq!(request.head.edited(None, &[]), request.head.raw());
        }
    }
}
