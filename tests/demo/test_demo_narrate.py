import re

from stage_values import BOTH, CLEAR, FLUSHED, ONE

from kube_gateway.demo import narrate

PLAIN = narrate.Style(colour=False)

GOLDEN = """\
Two ordinary programs in two pods
   POD     ADDRESS    PROCESS
   pod-01  10.89.0.2  4711
   pod-02  10.89.0.3  4712

   Each says `Hello from ...` to the other once a second on a connection to port 9000 that stays
   open, and fetches http://PEER:9080/hello four times a second, each time on a new connection. The
   wire of pod-01 is captured while the two are enrolled, one after the other.

1. Two pods as they are
   Everybody on the way can read along.

   PORT  BYTES  ON THE WIRE  READABLE
   9000  72     clear text   yes
   9080  3222   clear text   yes

   20 requests answered, none failed; no connections reported as left in clear

   from 10.89.0.2 to 10.89.0.3, port 9000:
     48 65 6c 6c 6f 20 66 72 6f 6d 20 70 6f 64 2d 30  Hello from pod-0
     31 0a                                            1.

2. pod-01 is enrolled
   $ kube-gateway local --instance demo annotate pod-01 encrypt=true
   Its gateway runs, its peer has none: all goes on in clear, as before. Pods can be enrolled one by
   one.

   PORT  BYTES  ON THE WIRE  READABLE
   9000  72     clear text   yes
   9080  3222   clear text   yes

   40 requests answered, none failed; no connections reported as left in clear

3. pod-02 is enrolled too
   $ kube-gateway local --instance demo annotate pod-02 encrypt=true
   Every new connection is now mutual TLS between the pods, and no program noticed. The connection
   to port 9000 is older than the gateways: it was not touched, and it is reported as what is left
   in clear.

   PORT   BYTES  ON THE WIRE  READABLE
   9000   72     clear text   yes
   18443  6216   TLS records  no

   76 requests answered, none failed; 2 connections reported as left in clear

4. What is older than the gateways is ended
   $ kube-gateway local --instance demo annotate pod-01 netflush=true
   $ kube-gateway local --instance demo annotate pod-02 netflush=true
   netflush=true ends such connections; the programs connect again, as after any lost connection.
   Nothing readable is left.

   PORT   BYTES  ON THE WIRE  READABLE
   18443  6392   TLS records  no

   96 requests answered, none failed; no connections reported as left in clear

   from 10.89.0.2 to 10.89.0.3, port 18443:
     17 03 03 00 71 28 29 2a 2b 2c 2d 2e 2f 30 31 32  ....q()*+,-./012
     33 34 35 36 37 38 39 3a 3b 3c 3d 3e 3f 40 41 42  3456789:;<=>?@AB
     43 44 45 46 47 48 49 4a 4b 4c 4d 4e 4f 50 51 52  CDEFGHIJKLMNOPQR

Who is who, by the certificates they showed each other
   POD     AS ITS PEER SAW IT                           VALID   TLS 1.3 WITH
   pod-01  spiffe://cluster.local/ns/default/sa/pod-01  60 min  AES_128_GCM_SHA256 X25519MLKEM768
   pod-02  spiffe://cluster.local/ns/default/sa/pod-02  60 min  AES_128_GCM_SHA256 X25519MLKEM768

All of it held: 96 requests answered, none failed, the same processes from begin to end,
each server saw its real client's address. It took 13 s.
One capture of each stage, for Wireshark or tcpdump: /tmp/demo"""


def _story(style: narrate.Style) -> str:
    pods = [("pod-01", "10.89.0.2", 4711), ("pod-02", "10.89.0.3", 4712)]
    parts = [narrate.opening(pods, style=style)]
    for number, stage in enumerate((CLEAR, ONE, BOTH, FLUSHED), start=1):
        parts.append(narrate.stage(number, stage, instance="demo", style=style))
    return "\n".join([*parts, narrate.closing(FLUSHED, captures="/tmp/demo", seconds=12.9, style=style)])


def test_the_whole_story() -> None:
    assert _story(PLAIN) == GOLDEN


def test_it_fits_in_100_columns() -> None:
    assert max(map(len, _story(PLAIN).splitlines())) <= 100


def test_colour_adds_nothing_but_colour() -> None:
    coloured = _story(narrate.Style(colour=True))
    assert coloured != GOLDEN
    assert re.sub(r"\x1b\[\d+m", "", coloured) == GOLDEN
