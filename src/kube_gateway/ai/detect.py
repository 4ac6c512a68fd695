"""Detectors of personal data and secrets, by name.

A detector is one regular expression, with check digits where the data has them. Two things count as much as what it
finds. It must leave ordinary text alone: numbers, versions, UUIDs, prices and ids are what models talk about all day.
And it must begin with a word boundary or a fixed prefix, so that a long text without spaces is not searched anew at each
of its characters. What has no form of its own (names, passwords, national telephone numbers outside North America) is
not here: a guess would do more harm than good.

Keys of cloud providers are told by their documented prefixes. Classes are ASCII ones, as those of the data are.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import msgspec

from kube_gateway.ai.pattern import Action, Check, Pattern

_BASE64_URL = "[A-Za-z0-9_-]"
_BASE64 = "[A-Za-z0-9+/]"


class Detector(msgspec.Struct, frozen=True, kw_only=True):
    """What finds one kind of data. `about` is a sentence for people."""

    name: str
    about: str
    regex: str
    check: Check | None = None

    def pattern(self, *, id: str | None = None, action: Action = "mask", replacement: str | None = None) -> Pattern:  # noqa: A002 - the field of Pattern
        """Return the pattern; by default with the detector's name as its id, replaced by that name in brackets."""
        return Pattern(
            id=self.name if id is None else id,
            regex=self.regex,
            check=self.check,
            action=action,
            replacement=f"[{self.name}]" if replacement is None else replacement,
        )


def email() -> str:
    """E-mail addresses.

    RFC 5321, 4.5.3.1: at most 64 characters before the @; RFC 1035, 2.3.4: labels of at most 63. Quoted local parts are
    left out. A label that begins with a digit stands only next to the letters at the end (163.com), and is not `2x`:
    `react@18.2.0-rc.one` is a version and `icon@2x.png` a file.
    """
    local = r"\b[A-Za-z0-9_][A-Za-z0-9!#$%&'*+/=?^_`{|}~.À-ɏͰ-ԯ-]{0,63}"
    label = "[A-Za-z](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
    by_digit = "[0-9](?:[0-9A-WYZa-wyz-][A-Za-z0-9-]{0,60})?"
    return rf"{local}@(?:{label}\.){{0,6}}(?:{label}|{by_digit})(?:\.{label}){{0,3}}\.[A-Za-z]{{2,24}}\b"


def card() -> str:
    """Payment card numbers of 13 to 19 digits, in one piece or in the groups that are printed on cards; Luhn.

    ISO/IEC 7812-1, and the ranges that the networks publish: Visa 4, Mastercard 51-55 and 2221-2720, American Express 34
    and 37, Diners 300-305, 36, 38 and 39, JCB 3528-3589, Discover, UnionPay and Maestro 50, 56-58 and 6. Times in
    milliseconds or microseconds and most generated ids begin with a 1, as no card does.
    """
    mastercard = "(?:5[1-5][0-9]{2}|222[1-9]|22[3-9][0-9]|2[3-6][0-9]{2}|27[01][0-9]|2720)"
    diners = "3(?:0[0-5]|[689][0-9])"
    first_four = f"(?:4[0-9]{{3}}|{mastercard}|35(?:2[89]|[3-8][0-9])|(?:5[0678]|6[0-9])[0-9]{{2}})"
    in_one = (
        f"4[0-9]{{12}}|4[0-9]{{15}}|4[0-9]{{18}}|{mastercard}[0-9]{{12}}|3[47][0-9]{{13}}|{diners}[0-9]{{11,16}}"
        "|35(?:2[89]|[3-8][0-9])[0-9]{12,15}|(?:5[0678]|6[0-9])[0-9]{14,17}"
    )
    grouped = (
        f"{first_four}(?:(?: [0-9]{{4}}){{3}}(?: [0-9]{{3}})?|(?:-[0-9]{{4}}){{3}}(?:-[0-9]{{3}})?)"
        "|3[47][0-9]{2}(?: [0-9]{6} [0-9]{5}|-[0-9]{6}-[0-9]{5})"
        f"|{diners}[0-9](?: [0-9]{{6}} [0-9]{{4}}|-[0-9]{{6}}-[0-9]{{4}})"
    )
    return rf"\b(?:{in_one}|{grouped})\b"


def iban() -> str:
    """International bank account numbers, in one piece or in groups of four; modulo 97.

    ISO 13616-1, and the countries of SWIFT's IBAN registry (release 99). 15 to 34 characters, upper case.
    """
    countries = (
        "AD AE AL AT AZ BA BE BG BH BI BR BY CH CR CY CZ DE DJ DK DO EE EG ES FI FK FO FR GB GE GI GL GR GT HN HR HU IE "
        "IL IQ IS IT JO KW KZ LB LC LI LT LU LV LY MC MD ME MK MN MR MT MU NI NL NO OM PK PL PS PT QA RO RS RU SA SC SD "
        "SE SI SK SM SO ST SV TL TN TR UA VA VG XK YE"
    )
    return rf"\b(?:{countries.replace(' ', '|')})[0-9]{{2}}(?: ?[A-Z0-9]{{4}}){{2,7}}(?: ?[A-Z0-9]{{1,3}})?\b"


def ssn() -> str:
    """Social security numbers of the United States, with hyphens or spaces.

    Social Security Administration, POMS RM 10201.035: no area 000, 666 or 900-999, no group 00, no serial 0000. Nine digits
    in a row may be anything, and are left alone.
    """
    area = "(?:00[1-9]|0[1-9][0-9]|[1-578][0-9]{2}|6[0-57-9][0-9]|66[0-57-9])"
    group = "(?:0[1-9]|[1-9][0-9])"
    serial = "(?:[1-9][0-9]{3}|0[1-9][0-9]{2}|00[1-9][0-9]|000[1-9])"
    return rf"\b{area}(?:-{group}-| {group} ){serial}\b"


def phone() -> str:
    """Telephone numbers: international ones with a +, and those of North America with separators.

    ITU-T E.164: at most 15 digits behind the +. North American Numbering Plan: three, three and four; with spaces only
    where the first two groups begin with 2 to 9, as three numbers in a row are more often just that.
    """
    international = r"\+[1-9](?:[ -]?[0-9]|[ -]?\([0-9]{1,4}\)){5,13}[ -]?[0-9]"
    first = r"\([2-9][0-9]{2}\)[ -]?[0-9]{3}[ .-]|[2-9][0-9]{2}(?:-[0-9]{3}-|\.[0-9]{3}\.| [2-9][0-9]{2} )"
    national = rf"(?:\+?1[ .-]?)?(?:{first})[0-9]{{4}}"
    return rf"\b{{start-half}}(?:{international}|{national})\b"


def aws_key() -> str:
    """Amazon Web Services: access key ids, and secret keys beside their usual names.

    IAM user guide, "IAM identifiers", unique ID prefixes: AKIA, ASIA, ABIA and ACCA. A secret key is 40 characters without
    a form of its own.
    """
    secret = rf"(?i:(?:aws_?)?secret_?access_?key)[\"']?[ \t]{{0,4}}(?:=>|[:=])[ \t]{{0,4}}[\"']?{_BASE64}{{40}}"
    return rf"\b(?:(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{{16}}\b|{secret}\b{{end-half}})"


def gcp_key() -> str:
    """Google Cloud: API keys, OAuth access tokens and client secrets.

    Google Cloud documentation, "API keys overview" (AIza and 35 characters), "Token types" (ya29.), and client secrets that
    begin with GOCSPX-. Keys of service accounts are private keys in PEM.
    """
    return rf"\b(?:AIza{_BASE64_URL}{{35}}|ya29\.{_BASE64_URL}{{20,512}}|GOCSPX-{_BASE64_URL}{{28}})"


def azure_key() -> str:
    """Microsoft Azure: keys in connection strings, client secrets of Entra ID, signatures of shared access.

    Azure Storage, "Configure connection strings" (64 bytes in base64); Service Bus, the same with 32 bytes; Purview,
    "Azure AD client secret" (three characters, a digit, Q~, 31 to 34 more); "Create a service SAS" (sig).
    """
    account = rf"AccountKey={_BASE64}{{86}}==|SharedAccessKey={_BASE64}{{43}}="
    client = r"[A-Za-z0-9][A-Za-z0-9_~.]{2}[0-9]Q~[A-Za-z0-9_~.-]{31,34}"
    return rf"\b(?:{account}|{client}|sig=[A-Za-z0-9%]{{43,63}}%3[Dd])"


def github_token() -> str:
    """GitHub: personal, OAuth, user, server and refresh tokens, and fine-grained ones.

    "Behind GitHub's new authentication token formats" (2021): ghp_, gho_, ghu_, ghs_, ghr_ and 36 to 251 characters.
    """
    return r"\b(?:gh[pousr]_[A-Za-z0-9]{36,251}|github_pat_[A-Za-z0-9]{22}_[A-Za-z0-9]{59})\b"


def gitlab_token() -> str:
    """GitLab: personal, deploy, runner, trigger, feed, agent, mail, SCIM, OAuth and job tokens.

    GitLab documentation, "Token overview", prefixes; routable tokens end with two more parts.
    """
    kinds = "glpat|gldt|glrt|glrtr|glptt|glft|glagent|glimt|glsoat|gloas|glcbt|glffct"
    return rf"\b(?:{kinds})-{_BASE64_URL}{{20,300}}(?:\.[0-9a-z]{{2}}\.[0-9a-z]{{7,9}})?"


def slack_token() -> str:
    """Slack: tokens of bots, users, apps and refreshes, and addresses of incoming webhooks.

    Slack API documentation, "Tokens" and "Sending messages using incoming webhooks".
    """
    tokens = r"(?:xoxe\.)?xox[abceoprs]-[0-9A-Za-z-]{10,255}|xapp-[0-9]-[0-9A-Za-z-]{10,255}"
    return rf"\b(?:{tokens}|https://hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9/]{{20,120}})"


def stripe_key() -> str:
    """Stripe: secret and restricted keys, and secrets of webhooks.

    Stripe documentation, "API keys" (sk_live_, sk_test_, rk_live_, rk_test_) and "Webhooks" (whsec_). Publishable keys are
    for the public.
    """
    return rf"\b(?:[rs]k_(?:live|test)_[0-9A-Za-z]{{10,247}}\b|whsec_{_BASE64}{{32,64}})"


def llm_key() -> str:
    """Keys of LLM providers: OpenAI, Anthropic, Groq, xAI, Hugging Face, Perplexity, Replicate.

    As the providers' consoles give them out: sk- and letters and digits, or sk-, a kind (proj, svcacct, admin, ant-api03,
    or-v1) and the rest. `sk-` with ordinary words behind it is shorter or has more hyphens.
    """
    openai = rf"sk-(?:(?:proj|svcacct|admin|None|or-v1|lf)-{_BASE64_URL}{{20,200}}|[A-Za-z0-9]{{20,64}}\b)"
    anthropic = rf"sk-ant-[a-z]{{2,8}}[0-9]{{2}}-{_BASE64_URL}{{24,140}}"
    others = (
        "gsk_[A-Za-z0-9]{40,64}|xai-[A-Za-z0-9]{64,96}|hf_[A-Za-z]{30,40}|pplx-[A-Za-z0-9]{40,64}|r8_[A-Za-z0-9]{37}"
    )
    return rf"\b(?:{openai}|{anthropic}|(?:{others})\b)"


def private_key() -> str:
    r"""Private keys in PEM or OpenPGP armour, also one whose end is missing.

    RFC 7468 and RFC 1421 (headers such as Proc-Type), RFC 9580, 6.2. Line ends may be missing, spaces, or written as `\n`.
    A key without an end goes as far as what looks like its lines.
    """
    line_end = r"(?:\r?\n|\\r\\n|\\n)"
    headers = rf"(?:{line_end}(?:Proc-Type|DEK-Info|Version|Comment|Hash|Charset): [^\r\n\\]*)+"
    line = "[A-Za-z0-9+/=]+"
    lines = rf"(?:{line_end}{{0,3}}{line}|[ \t]{{1,2}}[A-Za-z0-9+/=]{{40,}})*"
    end = rf"(?:{line_end}|[ \t]){{0,3}}-----END [A-Z0-9 ]{{0,40}}PRIVATE KEY(?: BLOCK)?-----"
    begin = "-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----"
    return rf"{begin}(?:{headers}(?:{line_end}{{1,3}}{line}{lines})?|{lines})(?:{end})?"


def jwt() -> str:
    """JSON web tokens, signed, unsigned (an empty last part) or encrypted (five parts).

    RFC 7519 and RFC 7516: the header is a JSON object in base64url, and `eyJ` is how `{"` begins there.
    """
    return (
        rf"\beyJ{_BASE64_URL}{{8,}}\.(?:eyJ{_BASE64_URL}{{8,}}\.{_BASE64_URL}*"
        rf"|{_BASE64_URL}*\.{_BASE64_URL}{{8,}}\.{_BASE64_URL}{{8,}}\.{_BASE64_URL}{{8,}})"
    )


def _detector(build: Callable[[], str], *, check: Check | None = None) -> Detector:
    about = (build.__doc__ or "").splitlines()[0]
    return Detector(name=build.__name__, about=about, regex=build(), check=check)


PERSONAL: tuple[Detector, ...] = (
    _detector(email),
    _detector(card, check="luhn"),
    _detector(iban, check="iban"),
    _detector(ssn),
    _detector(phone),
)
SECRETS: tuple[Detector, ...] = (
    _detector(aws_key),
    _detector(gcp_key),
    _detector(azure_key),
    _detector(github_token),
    _detector(gitlab_token),
    _detector(slack_token),
    _detector(stripe_key),
    _detector(llm_key),
    _detector(private_key),
    _detector(jwt),
)
DETECTORS: Mapping[str, Detector] = MappingProxyType({detector.name: detector for detector in PERSONAL + SECRETS})
