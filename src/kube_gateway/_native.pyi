"""The native core: eBPF hooks, tunnel and relay, socket diagnostics. See `native/` for the Rust side."""

from collections.abc import Callable, Mapping
from typing import Literal, Self, final

__all__ = [
    "Core",
    "Document",
    "Endpoints",
    "FilterPlan",
    "Finder",
    "Hit",
    "Hooks",
    "LlmRequest",
    "Masker",
    "NativeError",
    "Patterns",
    "StreamFilter",
    "connections",
    "create_key_and_request",
    "decide_access",
    "describe_identity",
    "destroy_connections",
    "drop_privileges",
    "has_hooks",
    "hooks_layout",
    "mount_cgroups",
    "open_cgroup_by_id",
    "quote",
    "read_certificate",
    "remove_hooks",
    "sign",
    "unmount_cgroups",
]

class NativeError(Exception):
    """The kernel or a library refused something; `args` are a sentence and the kernel's error number or None."""

@final
class Hooks:
    """The eBPF programs of one pod, loaded. They stay attached when this object or its process ends."""

    def __new__(cls, *, maps: dict[str, int] | None = None) -> Self:
        """Load and verify all programs. `maps` are descriptors of `maps()` of an earlier gateway with the same
        `hooks_layout()`, to go on with; they stay the caller's. Raises NativeError with the verifier's words. Needs
        CAP_BPF and CAP_NET_ADMIN."""
    def configure(
        self,
        *,
        gateway_cgroups: list[int],
        capture: bool,
        strict: bool,
        addresses: list[str],
        rules: list[tuple[str, int, bool]],
        excluded_ports: list[int],
        stale_after: float,
        makers: list[int] = ...,
        gate: Literal["open", "all"] | list[int] = ...,
        exempt: list[tuple[str, int, bool]] = ...,
        probe_ports: list[int] = ...,
        served_ports: list[int] = ...,
        udp: Literal["allow", "dns-only", "block"] = "allow",
        control_port: int = 0,
        errands: bool = False,
    ) -> None:
        """Set what is captured. `gateway_cgroups` are inode numbers of cgroup directories (at most 4); a rule is
        (address, prefix length, captured), the longest prefix decides; `stale_after` is seconds without a sign of life
        of the worker after which it counts as hung. The pod's own addresses and loopback are never captured. `makers` are
        cgroups of earlier gateways that made listeners which are still in use.

        `gate`: which ports of the pod are reached through the tunnel alone (not given: none). `exempt` are sources that
        reach them in clear all the same: (address, prefix length, only `probe_ports`). `served_ports` are the gateway's
        own, besides 18443. `udp`: what of the pod's UDP leaves it. `control_port` is where the watcher listens, 0: not by
        TCP. `errands`: the gateway of a strict pod may connect to others of its own accord."""
    def mark_listener(self, socket: int) -> None:
        """Tell the hooks that this listener on port 18000 is the gateway's own."""
    def attach(self, cgroup: str) -> None:
        """Attach to the cgroup, in the place of what an earlier gateway left there."""
    def guard(self) -> None:
        """Put the gate on the network of this process until `unguard`, or until this object has gone. Until then only the
        hooks on the cgroup keep to `gate`, and a client hears nothing where the gate would reset it."""
    def unguard(self) -> None:
        """Take the gate away."""
    def sent(self) -> bytes:
        """What has left the pod, as JSON: `since` (seconds since the epoch; 0 before the hooks were attached), `totals` and
        `packets` by kind (`tunnel`, `tls`, `plain`, `udp`, `other`), and `peers`, a list of objects with `address` (`::`
        for all that found no room), `kind`, `bytes` and `packets`. Bytes are payload; loopback is left out."""
    def refused(self) -> list[tuple[str, int, int]]:
        """Who was refused by the gate since this was last asked: source, port of the pod, how often."""
    def ancestors(self, own: str) -> list[int]:
        """Ids (inode numbers) of the cgroups above this process, from the root to its own, whose directory is `own`.
        Works in a cgroup namespace, where the others have no path."""
    def shared_maps(self) -> dict[str, int]:
        """Descriptors of the maps that a worker needs; valid as long as this object."""
    def maps(self) -> dict[str, int]:
        """Descriptors of the maps that a later gateway goes on with; valid as long as this object."""
    def counters(self) -> dict[str, int]:
        """Counters of the hooks since the maps were made: `hook_*`, `gate_*`, `egress_*`, `udp_*`."""

def hooks_layout() -> str:
    """Names the layout and meaning of the maps: versions that agree on it can share them."""

def open_cgroup_by_id(visible: str, id: int) -> int:  # noqa: A002 - the kernel's word
    """Open a cgroup by its id and return the descriptor, which is the caller's. `visible` is any directory of the same
    file system. Needs CAP_DAC_READ_SEARCH."""

def mount_cgroups(directory: str) -> None:
    """Mount the cgroup2 tree, as this process's cgroup namespace has it, on `directory`. Needs CAP_SYS_ADMIN."""

def unmount_cgroups(directory: str) -> None:
    """Undo `mount_cgroups`; what is open of the tree stays open."""

def read_certificate(chain: str) -> tuple[str, int]:
    """The SPIFFE id of the first certificate of a PEM chain, and when it expires, in seconds since the epoch."""

def describe_identity(chain: str, trust_bundle: str) -> bytes:
    """What a PEM chain would prove, and the roots of a bundle, as JSON of `IdentityReport`. Raises NativeError."""

def has_hooks(cgroup: str) -> int:
    """How many programs of kube-gateway are attached to this cgroup."""

def remove_hooks(cgroup: str) -> int:
    """Detach all programs of kube-gateway from this cgroup and return how many there were."""

@final
class LlmRequest:
    """A call of an LLM API, as the client made it."""

    @property
    def endpoint(self) -> int:
        """Index in the engine's `endpoints`."""
    @property
    def method(self) -> str:
        """As it was sent."""
    @property
    def target(self) -> str:
        """Path and query, or a whole URL, as it was sent."""
    @property
    def headers(self) -> list[tuple[str, str]]:
        """Names and values in order; bytes beyond ASCII are ISO 8859-1."""
    @property
    def body(self) -> bytes:
        """Without its content coding, if that could be undone; in `too_large`, what was read of it."""
    @property
    def encoded(self) -> bool:
        """Whether there was a content coding."""
    @property
    def destination(self) -> str:
        """Where the application connected to, "address:port"."""
    @property
    def connection(self) -> int:
        """Number of the connection in this worker."""
    @property
    def http_version(self) -> str:
        """`1.0`, `1.1` or `2`."""

@final
class Core:
    """The data path, on threads of its own. Descriptors given to it are its own from then on."""

    def __new__(cls, *, addresses: list[str], maps: dict[str, int], threads: int) -> Self:
        """Start the threads. `addresses` are the pod's own, `maps` those of `Hooks.shared_maps`."""
    def set_identity(self, *, chain: str, key: str, trust_bundle: str, trust_domain: str) -> None:
        """Use this certificate from the next session on; streams under an older one run on. All PEM."""
    def set_revoked(self, uids: list[str]) -> None:
        """Have nothing more to do with pods of these uids, and with these only: what stands with them is reset."""
    def configure(self, *, mode: str, debug: bool) -> None:
        """`mode` is `none` (no tunnels at all), `off` (tunnels without TLS), `permissive` or `strict`."""
    def listen(self, kind: str, socket: int) -> None:
        """Accept on a listening socket; `kind` is `redirect`, `tls` or `plain`."""
    def listen_for(self, destination: str, socket: int) -> None:
        """Accept on a listening socket, and take each connection for one to `destination` ("address:port")."""
    def set_policy(self, engine: object | None) -> None:
        """Look into the application's connections for calls of LLM APIs, and have `engine` decide on them, from the next
        request on; None: look into no new connections. See `kube_gateway.ai` for what an engine is. Raises ValueError for
        endpoints that do not compile."""
    def stop_listening(self, kind: str) -> None:
        """Close the listeners of this kind."""
    def next_query(self, timeout: float) -> tuple[str, int | None] | None:
        """Wait up to `timeout` seconds for what the watcher shall be asked: an address alone, whether that peer is
        enrolled; an address and a port, whether they are a Service's."""
    def answer(self, address: str, enrolled: bool) -> None:
        """The watcher's answer to a query about a peer."""
    def answer_service(
        self, address: str, port: int, *, service: str | None, backends: list[tuple[str, int]], affinity_seconds: int
    ) -> None:
        """The watcher's answer to a query about a Service, or a change of it; `service` is None where there is none."""
    def set_watcher(self, *, is_there: bool) -> None:
        """Whether the watcher can answer: nobody waits for one that is away."""
    def remember_enrolled(self, addresses: list[str]) -> None:
        """Peers that an earlier worker knew as enrolled: silence of theirs is no reason to go in clear."""
    def set_authorization(self, *, name: str, rules: bytes) -> None:
        """Put rules of who may reach which port in force (`encode_authorization`; empty: no rules), and end the streams of
        peers that they do not allow. Raises NativeError for what is not understood; then nothing changes."""
    def drain(self) -> None:
        """Take no new tunnels and let streams finish."""
    def active(self) -> int:
        """Application connections and accepted sessions that have not ended."""
    def snapshot(self) -> bytes:
        """A `GatewaySnapshot` as JSON."""

def create_key_and_request() -> tuple[str, str]:
    """A new ECDSA P-256 key (PKCS #8 PEM) and a signing request for it (PEM, RFC 2986) that names nobody."""

def sign(key: str, data: bytes) -> bytes:
    """Sign by ECDSA with SHA-256 (DER form, RFC 3279) under a P-256 private key in PEM form."""

def decide_access(
    *, rules: bytes, peer: str | None, port: int
) -> tuple[tuple[bool, str, int], tuple[bool, str, int] | None]:
    """What the core decides by these rules, as `model.authorization.decide_access` does: (allowed, policy, rule) in force,
    and what a dry run would deny. Raises NativeError for rules that are not understood."""

def drop_privileges() -> None:
    """Give up all capabilities (before Linux 5.19 all but CAP_BPF) and the way back to them, and become nobody where the
    container may change users; else stay root without rights. To be called while the process has one thread."""

def connections() -> bytes:
    """Established TCP connections of this network namespace as a JSON array of objects with `cookie`, `local_address`,
    `local_port`, `remote_address`, `remote_port`, `idle` and `age` (seconds, the latter at least), `half_closed`, `sent`
    and `received` (bytes), `uid`, `inode` (of the socket) and `cgroup` (inode number, 0 unknown)."""

def destroy_connections(cookies: list[int]) -> int:
    """End the connections with these kernel cookies and return how many there still were. Needs CAP_NET_ADMIN."""

@final
class Endpoints:
    """Tells which endpoint of an engine a request is for, as the data path does."""

    def __new__(cls, engine: object) -> Self:
        """Raises ValueError for an endpoint that does not compile, as `Core.set_policy` does."""
    def find(self, method: str, target: str) -> int | None:
        """Return the index of the first endpoint that a request is for, in any way that servers may read its path.

        Raises ValueError for a path that is one call in one way and another in the next, which is refused.
        """

def quote(text: str) -> bytes:
    """`text` as a JSON string, with its quotes. Non-ASCII characters stay as they are."""

@final
class Hit:
    """A value that a `Finder` has found. `start` and `end` are bytes of the body, with the quotes of a string."""

    name: str
    index: int
    start: int
    end: int
    kind: str

    @property
    def text(self) -> str:
        """A string without its escapes (half of a surrogate pair as U+FFFD), any other value as it is written."""

@final
class Finder:
    """Finds values in JSON documents by their paths, see `kube_gateway.ai.shape`."""

    def __new__(cls, wanted: bytes, *, ignore_case: bool = False) -> Self:
        """`wanted` is a JSON list of objects with `name`, `path` and, if wanted, `when` and `deep` of a `Lane`; `scalar`:
        not only strings but also numbers, true, false and null; `any`: also arrays and objects. `ignore_case`: names of
        members in any case, as Go's readers take them; a value in another case is one of a condition's `any_of`, and
        where the condition is negated none of them. Raises ValueError."""
    def scan(self, body: bytes) -> Document:
        """Read a body strictly by RFC 8259, to a depth of 512. Raises ValueError `not JSON: <what> at byte N`."""

@final
class Document:
    """A JSON document whose values of interest are known and can be changed. All other bytes stay as they are."""

    @property
    def hits(self) -> list[Hit]:
        """In the order of the document; duplicate members are hits of their own."""
    def replace_text(self, hit: int, text: str) -> None:
        """Have a string say `text`. What old and new text begin and end with stays as it is written."""
    def replace_raw(self, hit: int, raw: bytes) -> None:
        """Put JSON into the place of a value."""
    def remove(self, hit: int) -> None:
        """Take a member (its name too) or an element out. Raises ValueError for the document itself."""
    def insert(self, path: str, key: str, raw: bytes) -> None:
        """Add a last member to the object at `path` (empty: the document). Raises ValueError if there is none."""
    def apply(self) -> bytes:
        """The body with all changes; the very object that was scanned if there are none. Of several changes of one value
        the last holds, of nested values the outer one."""

@final
class Patterns:
    """Patterns in text, compiled once and shared by everything that searches with them."""

    def __new__(cls, patterns: bytes) -> Self:
        """Compile a JSON list of `kube_gateway.ai.pattern.Pattern`. Raises ValueError that names the pattern."""
    @property
    def warnings(self) -> list[str]:
        """What is allowed but slow, or means something else than its author is likely to think; a sentence each."""
    @property
    def memory(self) -> int:
        """What the compiled form takes, in bytes, about."""
    def masker(self, *, escaped: bool = False, hash_key: bytes | None = None) -> Masker:
        """A search through one text that arrives in pieces. `escaped`: the text is the source of a JSON document; patterns
        see what its escapes stand for, and what they replace leaves it one: quotes and what is between values stay, a
        number becomes a string. `hash_key` is for replacements with `{hash}`."""
    def mask(
        self, text: str, *, escaped: bool = False, hash_key: bytes | None = None
    ) -> tuple[str, dict[str, int], str | None]:
        """Search a whole text: the masked text, matches by id, the id of the pattern that ended it."""

@final
class Masker:
    """Masks one text piece by piece, exactly as if it were whole. Made by `Patterns.masker`."""

    def feed(self, text: str) -> str:
        """What is certain after this piece; after a denial nothing."""
    def finish(self) -> str:
        """The rest: nothing follows."""
    @property
    def matches(self) -> dict[str, int]:
        """Matches by id of pattern, the denied one included."""
    @property
    def denied(self) -> str | None:
        """The id of the pattern that ended the text."""
    @property
    def held(self) -> int:
        """How many characters are held back: from the first place on where a pattern may still come to match, or from
        the beginning of a number in a JSON document."""

@final
class FilterPlan:
    """How the answers to one kind of request are filtered. Compiled once, used for all of them, by any thread."""

    def __new__(
        cls,
        shape: bytes,
        *,
        patterns: Mapping[str, Patterns] | None = None,
        shadow: Mapping[str, Patterns] | None = None,
        tools: bytes | None = None,
    ) -> Self:
        """`shape` is the JSON of a `kube_gateway.ai.shape.ResponseShape`; `patterns` and `shadow` (counted, nothing is
        changed) are by the name of the lane.

        `tools` is a JSON list of rules `{"id", "name", "arguments": [{"path", "regex", "allow"}], "allow", "shadow"}`. The
        first that applies to a call decides: the regular expression `name` is the whole name, and there are no `arguments`
        or one of the regular expressions is found in a value at its path; then the `allow` of that argument, if it has one,
        takes the place of the rule's. Where none applies the call is allowed. Of arguments that are no JSON, rules that
        would deny apply and others do not. Raises ValueError."""
    def start(
        self,
        *,
        framing: str,
        model: str | None = None,
        strip_usage: bool = False,
        most_output: int | None = None,
        hash_key: bytes = b"",
        collect: int = 0,
        strict: bool = False,
        transform: Callable[[str, str, str, bool], str | None] | None = None,
    ) -> StreamFilter:
        """Filter one answer, framed as `sse`, `ndjson`, `array` or `whole`.

        `model`: put in the place of all names of the model. `strip_usage`: usage was asked for by the gateway and is
        taken out again. `most_output`: tokens of output (by usage, else a quarter of the code points, without those of
        the lane `tool`) from which on a stream is cut. `hash_key`: for replacements with `{hash}`. `collect`: bytes of
        text to keep of each lane, as sent. `strict`: an event that is no JSON, or is longer than 8 MiB (64 MiB for
        `whole`), ends the answer, as `unreadable`; else it passes. `transform` is called with lane, key (parts joined
        by dots), text and whether that is the last of it; what it returns is sent; None or an exception (which goes to
        `sys.unraisablehook`) ends the answer, as `transform`."""

@final
class StreamFilter:
    """The filter of one answer. Memory is bounded by one event and what patterns hold back."""

    def feed(self, data: bytes) -> bytes:
        """Take what has arrived, return what may go on."""
    def finish(self) -> bytes:
        """The answer has ended: return the rest."""
    @property
    def ended(self) -> bool:
        """Whether a rule or the limit has ended the answer. What else arrives is dropped."""
    def outcome(self) -> bytes:
        """A `kube_gateway.ai.dialect.Outcome` as JSON; may be asked for at any time."""
