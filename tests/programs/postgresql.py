"""PostgreSQL: a session a connection, a server process a session, and access by the client's address."""

from __future__ import annotations

import pwd
import re
import shutil
import subprocess

from programs.base import MARKER, Program, installed

PROGRAMS = "/usr/lib/postgresql/15/bin"
PACKAGE = "postgresql-15"
TRUSTED = ("10.89.0.0/24", "fd89::/64")


class PostgreSQL(Program):
    def command(self):
        # It refuses to be root, and pytest's own directories are closed to everyone else.
        account = pwd.getpwnam("postgres")
        as_postgres = [
            "setpriv", f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups", "--"
        ]  # fmt: skip
        shutil.chown(self.directory, "postgres", "postgres")
        data = self.directory / "data"
        initdb = installed("initdb", PACKAGE, path=PROGRAMS)
        options = [f"--pgdata={data}", "--auth=trust", "--no-sync", "--no-instructions"]
        made = subprocess.run([*as_postgres, initdb, *options], capture_output=True, text=True, check=False, cwd="/")
        assert made.returncode == 0, made.stderr
        with (data / "pg_hba.conf").open("a") as access:
            access.writelines(f"host all all {network} trust\n" for network in TRUSTED)
        server = installed("postgres", PACKAGE, path=PROGRAMS)
        return [
            *as_postgres, server, "-D", str(data), "-k", str(self.directory),
            "-c", "listen_addresses=*", "-c", "fsync=off",
        ]  # fmt: skip

    def answers(self):
        ready = installed("pg_isready", PACKAGE)
        return self.pods.exec("server", ready, "-h", "127.0.0.1", check=False).returncode == 0

    def use(self):
        assert self._select(f"select '{MARKER}'") == MARKER
        assert self._select("select host(inet_client_addr())") == self.client

    def load(self):
        benchmark = installed("pgbench", "postgresql-contrib")
        clients = 8
        arguments = ("-h", self.server, "-U", "postgres")
        self.run(benchmark, *arguments, "-i", "-q", "postgres")
        done = self.run(benchmark, *arguments, "-c", str(clients), "-j", "2", "-T", "3", "postgres")
        assert re.search(r"number of failed transactions: 0 ", done), done
        assert int(re.search(r"transactions actually processed: (\d+)", done)[1]) > 0, done
        return clients

    def _select(self, query: str) -> str:
        psql = installed("psql", "postgresql-client")
        return self.run(psql, "-h", self.server, "-U", "postgres", "-At", "-c", query).strip()
