"""An application that does not read for a while gets everything after that, as it would without a gateway."""

from __future__ import annotations

import sys

import pytest

from hostile.length import amount

pytestmark = pytest.mark.root
CLAIM = "A reader that pauses for longer than a minute loses nothing"
PORT = 9000
AMOUNT = 64 << 20

SERVER = f"""
import hashlib, socket
listener = socket.create_server(("", {PORT}))
print("ready", flush=True)
while True:
    connection, _ = listener.accept()
    with connection: connection.sendall(bytes(range(256)) * ({AMOUNT} // 256))
"""
# Lets everything between the two fill up, and then reads.
CLIENT = """
import hashlib, socket, time
with socket.create_connection((ADDRESS, PORT)) as connection:
    time.sleep(PAUSE)
    read = hashlib.sha256()
    while piece := connection.recv(1 << 20): read.update(piece)
print(read.hexdigest() == hashlib.sha256(bytes(range(256)) * (AMOUNT // 256)).hexdigest())
"""


@pytest.mark.parametrize("enrolled", [("left", "right"), ("left",)], ids=["tunnel", "in clear"])
def test_a_reader_that_pauses_loses_nothing(instance, figures, enrolled):
    pause = amount(full=80, short=4)
    instance.run("left", "sleep", "3600")
    instance.run("right", sys.executable, "-u", "-c", SERVER)
    instance.wait_log("right", "ready", container="app")
    for name in enrolled:
        instance.annotate(name, encrypt="true")
    text = CLIENT.replace("ADDRESS", repr(instance.address("right"))).replace("PORT", str(PORT))
    text = text.replace("PAUSE", str(pause)).replace("AMOUNT", str(AMOUNT))
    assert instance.exec("left", sys.executable, "-c", text, timeout=pause + 60).stdout == "True\n"
    figures(CLAIM, pause_seconds=pause, megabytes=AMOUNT >> 20)
