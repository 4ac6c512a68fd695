"""What the detectors find, and above all what they leave alone."""

import msgspec
import pytest

from kube_gateway._native import Patterns
from kube_gateway.ai.detect import DETECTORS, PERSONAL, SECRETS

ALL = Patterns(msgspec.json.encode([detector.pattern() for detector in DETECTORS.values()]))
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"


def some(length: int, of: str = LETTERS) -> str:
    return "".join(of[(17 * at + at // 7) % len(of)] for at in range(length))


FOUND = {
    "email": [
        "bob@example.com",
        "o'brien+tag@mail.example.co.uk",
        "müller@example.de",
        "x_1@163.com",
        "a@b-c.museum",
        "first.last@3m.com",
        "user@xn--mller-kva.example.org",
    ],
    "card": [
        "4111111111111111",
        "4111 1111 1111 1111",
        "4111-1111-1111-1111",
        "378282246310005",
        "3782 822463 10005",
        "5555555555554444",
        "2221000000000009",
        "6011111111111117",
        "3530111333300000",
        "30569309025904",
        "4222222222222",
        "6212345678900000003",
    ],
    "iban": [
        "GB82 WEST 1234 5698 7654 32",
        "GB82WEST12345698765432",
        "DE89370400440532013000",
        "NO9386011117947",
        "MT84MALT011000012345MTLCAST001S",
        "FR14 2004 1010 0505 0001 3M02 606",
        "BE68 5390 0754 7034",
    ],
    "ssn": ["078-05-1120", "123-45-6789", "772 01 0001"],
    "phone": [
        "+49 30 1234567",
        "+4930123456",
        "+49 (0)30 1234567",
        "+1 (555) 123-4567",
        "+1-202-555-0173",
        "(202) 555-0173",
        "202-555-0173",
        "202.555.0173",
        "202 555 0173",
        "1-800-555-0199",
        "+44 20 7946 0958",
    ],
    "aws_key": [
        "AKIAIOSFODNN7EXAMPLE",
        "ASIA" + some(16, "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"),
        "aws_secret_access_key = wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
        'SecretAccessKey": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY',
    ],
    "gcp_key": ["AIza" + some(35), "ya29." + some(60), "GOCSPX-" + some(28)],
    "azure_key": [
        "AccountKey=" + some(86) + "==",
        "SharedAccessKey=" + some(43) + "=",
        "abc8Q~" + some(34),
        "sig=" + some(45) + "%3D",
    ],
    "github_token": ["ghp_" + some(36), "ghs_" + some(36), "github_pat_" + some(22) + "_" + some(59)],
    "gitlab_token": ["glpat-" + some(20), "glrt-" + some(27) + ".01.0a1b2c3d4"],
    "slack_token": [
        "xoxb-123456789012-1234567890123-" + some(24),
        "xapp-1-A0123456789-1234567890123-" + some(64),
        "https://hooks.slack.com/services/T00000000/B00000000/" + some(24),
    ],
    "stripe_key": ["sk_live_" + some(24), "rk_test_" + some(99), "whsec_" + some(32)],
    "llm_key": [
        "sk-" + some(48),
        "sk-proj-" + some(48) + "_" + some(70),
        "sk-ant-api03-" + some(80) + "-" + some(12) + "AA",
        "sk-or-v1-" + some(64),
        "gsk_" + some(52),
        "hf_" + some(34, LETTERS[:52]),
    ],
    "private_key": [
        "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIB\n-----END PRIVATE KEY-----",
        "-----BEGIN RSA PRIVATE KEY-----\r\nProc-Type: 4,ENCRYPTED\r\nDEK-Info: AES-128-CBC,AB12\r\n\r\nMIIEv+/QIBADA=\r\n"
        "-----END RSA PRIVATE KEY-----",
        "-----BEGIN OPENSSH PRIVATE KEY-----\\nb3BlbnNzaC1rZXktdjEAAAAABG5vbmUAAAAE\\nbm9uZQ==\\n"
        "-----END OPENSSH PRIVATE KEY-----",
        "-----BEGIN PRIVATE KEY----- " + some(64) + " " + some(64) + " -----END PRIVATE KEY-----",
        "-----BEGIN PGP PRIVATE KEY BLOCK-----\nVersion: GnuPG v2\n\nlQOYBF\n=abcd\n-----END PGP PRIVATE KEY BLOCK-----",
        "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIIrYSSNQFaA2Hwf1duRSxKtLYX5CB04fSeQ6tF1aY/PuoAoGCCqGSM49\nAwEHoU",
    ],
    "jwt": [
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
        "eyJhbGciOiJub25lIn0.eyJzdWIiOiIxMjM0NTY3ODkwIn0.",
        "eyJhbGciOiJSU0EtT0FFUCJ9." + some(40) + "." + some(16) + "." + some(30) + "." + some(22),
    ],
}
LEFT_ALONE = [
    # numbers, amounts, dates, times
    "The answer is 42, not 3.14159265358979; 1,234,567.89 EUR or 1.234.567,89 EUR; $4,111.11; 100 000 000",
    "2024-11-05T17:03:22.123456Z, 20241105170322, 1730826202, 1730826202123, 1730826202123456, 12:34:56, 11/05/2024",
    "between 1999-2003 and 2010-2024, pages 123-456, ISBN 978-3-16-148410-0, ISSN 2049-3630, DOI 10.1000/182",
    "123-45-67890, 000-12-3456, 666-12-3456, 900-12-3456, 123-00-4567, 123-45-0000, 123456789, 987654321",
    "4111111111111112, 4111 1111 1111 1112, 0000000000000000, 1234567890123456, 9999 9999 9999 9999",
    "12 345 6789, 555 1234, 100 200 3000, 1 000 000 0000, 3.141.592.653",
    # versions, ids, addresses of machines
    "Python 3.11.2, v1.2.3-rc.4+build.5678, Linux 6.1.0-18-amd64, node@18.2.0, react@18.2.0-rc.one, lodash@4.17.21",
    "550e8400-e29b-41d4-a716-446655440000, 41111111-1111-1111-1111-111111111111, 6ba7b810-9dad-11d1-80b4-00c04fd430c8",
    "192.168.100.200, 10.0.0.1:8080, 2001:db8::8a2e:370:7334, 00:1A:2B:3C:4D:5E, 255.255.255.0",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855, d41d8cd98f00b204e9800998ecf8427e, 9fceb02",
    "call_4x8QXlkWmE5nHvz3gWb1y2Ps, chatcmpl-9Qz8Jt1Yk2, msg_01XFDUDYJgAACzvnptvVoYEL, req_011CSHoEeqs5C35K2UUqR7Fy",
    "arn:aws:iam::123456789012:role/AKIA, i-0abcd1234efgh5678, vol-049df61146c4d7901, AROADBQP57FF2AEXAMPLE",
    # code and prose
    "icon@2x.png, @app.route('/'), @types/node, user@localhost, git@github, a @ b, foo@bar, me@, @me, x@y.z1",
    "sk-learn, sk-circle-fade-dot, task-management-and-other-very-long-words, risk-free, desk-, sk_test, pk_live_51H8",
    "the eyJ prefix, eyJhbGciOiJIUzI1NiJ9 alone, AIza, ghp_short, glpat-, xoxb-, AccountKey=, sig=abc",
    "-----BEGIN CERTIFICATE-----\nMIIDdzCCAl+gAwIBAgIEAgAAuTANBgkqhkiG9w0BAQUFADBa\n-----END CERTIFICATE-----",
    "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE\n-----END PUBLIC KEY-----",
    "for (i = 0; i < 10; i++) { a[i] += b[i] * 2; } // 1-2-3, +1, -5, ++i, x+1234567, 2+4111111111",
    "AT and BE and DE12 are words; SE20 or NO93 1234; GB82 WEST 1234 5698 7654 33; IE64IRCE92050112345679",
    "Telefon 030 1234567, call 555-0123, dial 911, 0800 123456, ext. 1234, room 202-555",
]


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in FOUND.items() for text in texts])
def test_a_detector_masks_the_whole_of_what_it_is_for_and_no_other_sees_it(name, text):
    for before, after in [("", ""), ("see ", " there"), ("(", ")"), ('"', '",'), ("=", "\n"), ("你好", "。")]:
        assert ALL.mask(before + text + after) == (f"{before}[{name}]{after}", {name: 1}, None)


@pytest.mark.parametrize("text", LEFT_ALONE)
def test_ordinary_text_is_left_alone(text):
    assert ALL.mask(text) == (text, {}, None)


def test_each_detector_is_tested():
    assert list(FOUND) == list(DETECTORS) == [detector.name for detector in PERSONAL + SECRETS]


def test_detectors_start_fast_and_say_what_they_are():
    assert ALL.warnings == []
    assert all(detector.about.endswith(".") and " " in detector.about for detector in DETECTORS.values())


def test_a_private_key_without_an_end_takes_no_prose_with_it():
    key = FOUND["private_key"][-1]
    assert ALL.mask(f"{key}\n\nThat was the key.")[0] == "[private_key] was the key."
    assert ALL.mask(f"{key}... and so on")[0] == "[private_key]... and so on"


def test_a_private_key_inside_of_json_is_one_match():
    source = msgspec.json.encode({"file": FOUND["private_key"][0], "n": 1}).decode()
    assert ALL.mask(source, escaped=True)[0] == '{"file":"[private_key]","n":1}'


def test_a_longer_number_is_not_cut_to_a_card():
    assert ALL.mask("41111111111111110")[1] == {}
    assert ALL.mask("4111 1111 1111 1111 and 5")[0] == "[card] and 5"


def test_capitals_after_an_account_do_not_hide_it():
    assert ALL.mask("BE68 5390 0754 7034 AND MORE")[0] == "[iban] AND MORE"
    assert ALL.mask("GB82 WEST 1234 5698 7654 32 IS IT")[0] == "[iban] IS IT"


def test_a_pattern_can_be_named_denied_and_replaced():
    pattern = DETECTORS["email"].pattern(id="no-mail", action="deny", replacement="{hash}")
    assert (pattern.id, pattern.action, pattern.replacement) == ("no-mail", "deny", "{hash}")
    assert Patterns(msgspec.json.encode([pattern])).mask("to a@b.de now") == ("to ", {"no-mail": 1}, "no-mail")
