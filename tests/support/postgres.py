"""A PostgreSQL server of the tests' own: Debian's programs, a data folder in a temporary place, a port on loopback."""

import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

USER, PASSWORD = "mbt", "pa:ss word/1"
QUOTED = "pa%3Ass%20word%2F1"


def _programs():
    """The folder of the newest PostgreSQL that is installed."""
    # Debian keeps them off the PATH, each version in a folder of its own.
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda path: -int(path.parent.name))
    folders += [Path(program).parent for program in filter(None, [shutil.which("pg_ctl")])]
    return next((folder for folder in folders if (folder / "initdb").exists()), None)


class Postgres:
    """One server, whose databases outlive `stop` and `start`.

    Args:
        folder: where its data goes; whoever runs the server must be able to reach it.
        fsync: wait for the disk at every commit, as a server does that is not for tests.
    """

    def __init__(self, folder, fsync=False):
        self.fsync = "on" if fsync else "off"
        self.programs = _programs()
        if self.programs is None:
            pytest.skip("no PostgreSQL: install one (Debian: apt-get install postgresql)")
        self.folder = Path(folder)
        self.data = self.folder / "data"
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]

    def _run(self, program, *arguments, **environment):
        command = [str(self.programs / program), *map(str, arguments)]
        # The server refuses to run as root.
        user = {"user": "postgres", "group": "postgres", "extra_groups": []} if os.getuid() == 0 else {}
        with (self.folder / "commands.log").open("a") as log:
            # Nothing of the tests' environment: what they mark as theirs is killed when a test ends.
            env = {"PATH": os.environ["PATH"], "LC_ALL": "C", **environment}
            subprocess.run(command, check=True, timeout=60, stdout=log, stderr=log, cwd="/", env=env, **user)

    def create(self):
        """Make the data folder."""
        if os.getuid() == 0:
            shutil.chown(self.folder, "postgres", "postgres")
        secret = self.folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        self._run("initdb", "-D", self.data, "-U", USER, "--pwfile", secret, "-A", "scram-sha-256", "--no-sync", "-N")
        return self

    def start(self):
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={self.folder}"
        options += f" -c fsync={self.fsync}"
        self._run("pg_ctl", "-D", self.data, "-l", self.folder / "server.log", "-w", "-o", options, "start")
        return self

    def stop(self, how="fast"):
        self._run("pg_ctl", "-D", self.data, "-m", how, "-w", "stop")

    def restart(self):
        self.stop()
        self.start()

    def database(self, name):
        """A new database; gives its URL, with the password."""
        self._run("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", USER, name, PGPASSWORD=PASSWORD)
        return self.url(name)

    def url(self, name, user=USER, password=QUOTED):
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{name}"

    @property
    def log(self):
        return (self.folder / "server.log").read_text()


@contextlib.contextmanager
def serving_postgres(fsync=False):
    """A started server, ended with its data."""
    # Not below the tests' temporary folders, which nobody but their owner may enter.
    folder = Path(tempfile.mkdtemp(prefix="mbt-pg-"))
    folder.chmod(0o755)
    server = None
    try:
        server = Postgres(folder, fsync).create().start()
        yield server
    finally:
        if server is not None:
            with contextlib.suppress(subprocess.SubprocessError):
                server.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
