"""OpenSSH: the server speaks first, both sides encrypt by themselves, and every lost byte ends the session."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

from programs.base import Program, installed

PORT = 2222
SIZE = 20 << 20
# What it insists on, wherever it is started.
PRIVILEGE_SEPARATION = Path("/run/sshd")
CONFIGURATION = """
Port {port}
HostKey {directory}/host
AuthorizedKeysFile {directory}/user.pub
PidFile none
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
StrictModes no
UsePAM no
MaxStartups 100
"""


class OpenSSH(Program):
    # Its own encryption hides everything but how it begins.
    readable = b"SSH-2.0-"

    def command(self):
        generate = installed("ssh-keygen", "openssh-client")
        for key in ("host", "user"):
            line = [generate, "-q", "-t", "ed25519", "-N", "", "-f", str(self.directory / key)]
            subprocess.run(line, check=True, stdin=subprocess.DEVNULL)
        PRIVILEGE_SEPARATION.mkdir(mode=0o755, exist_ok=True)
        configuration = self.directory / "sshd_config"
        configuration.write_text(CONFIGURATION.format(directory=self.directory, port=PORT))
        return [installed("sshd", "openssh-server"), "-D", "-e", "-f", str(configuration)]

    def answers(self):
        scan = installed("ssh-keyscan", "openssh-client")
        return bool(self.pods.exec("server", scan, "-p", str(PORT), "127.0.0.1", check=False).stdout)

    def use(self):
        client, _, server, port = self._ssh("echo $SSH_CONNECTION").split()
        assert (client, server, port) == (self.client, self.server, str(PORT))

        # Not all alike, so that a lost, doubled or misplaced piece is noticed.
        data = b"".join(hashlib.sha256(number.to_bytes(8, "big")).digest() for number in range(SIZE // 32))
        (self.directory / "data").write_bytes(data)
        self._ssh("cat", script='"$@" <"$0/data" >"$0/returned"')
        assert hashlib.sha256((self.directory / "returned").read_bytes()).digest() == hashlib.sha256(data).digest()

    def load(self):
        # Sessions that begin at the same time, each with its own answer.
        script = 'for n in 1 2 3 4 5 6 7 8; do "$@" "echo session $n" & done; wait'
        answers = self._ssh(script=script).splitlines()
        assert sorted(answers) == [f"session {number}" for number in range(1, 9)]
        return len(answers)

    def _ssh(self, *remote: str, script: str = '"$@"') -> str:
        """Run ssh by a shell `script` in which $0 is the directory and "$@" the command."""
        ssh = [
            installed("ssh", "openssh-client"), "-F", "none", "-p", str(PORT), "-i", str(self.directory / "user"),
            "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=accept-new",
            "-o", f"UserKnownHostsFile={self.directory / 'known_hosts'}", f"root@{self.server}",
        ]  # fmt: skip
        return self.run("sh", "-c", script, str(self.directory), *ssh, *remote)
