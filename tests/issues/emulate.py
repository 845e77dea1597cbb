"""The npm package ``emulate`` as a GitHub server for tests: a stateful one that none of us wrote, on loopback only."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

NODE_MODULES = Path(__file__).parents[1] / "node" / "node_modules"
PROGRAM = NODE_MODULES / "emulate" / "dist" / "index.js"
LOOPBACK = Path(__file__).parents[1] / "node" / "loopback.cjs"
START_S = 30.0

OWNER = "acme"
"""Owns every repository; its token is for what the tests themselves do."""
PEOPLE = (OWNER, "bot", "ann", "ben", "mallory")
"""Who has an account. ``bot`` is rollcage's; ``mallory`` writes without it."""
TOKEN_COPIES = 100
"""Of each person: emulate gives a token 5,000 requests an hour and cannot be told otherwise."""
APP_ID, INSTALLATION_ID = 4321, 77


def missing() -> str:
    """Return why the server cannot be started here, or an empty string."""
    if shutil.which("node") is None:
        return "node is not installed"
    return "" if PROGRAM.exists() else "emulate is not installed: make setup"


def token_of(person: str) -> str:
    """Return the token of one of `PEOPLE`, as a client of the proxy sends it."""
    return f"token-{person}"


def _seed(app_key: str) -> dict[str, object]:
    tokens = {f"{token_of(who)}-{copy}": who for who in PEOPLE for copy in range(TOKEN_COPIES)}
    scopes = ["repo", "user", "admin:repo_hook"]
    permissions = {"issues": "write", "metadata": "read", "contents": "write"}
    installation = {"installation_id": INSTALLATION_ID, "account": OWNER, "repository_selection": "all"}
    app = {
        "app_id": APP_ID,
        "slug": "rollcage",
        "name": "rollcage",
        "private_key": app_key,
        "permissions": permissions,
        "installations": [{**installation, "permissions": permissions}],
    }
    return {
        "tokens": {token: {"login": who, "scopes": scopes} for token, who in tokens.items()},
        "github": {"users": [{"login": who, "name": who.title()} for who in PEOPLE], "apps": [app]},
    }


def app_private_key() -> str:
    """Return a new RSA key in PEM, as a GitHub App has one."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem, pkcs1 = serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL
    return key.private_bytes(pem, pkcs1, serialization.NoEncryption()).decode()


@dataclass(frozen=True, slots=True)
class Emulate:
    """A running server."""

    port: int
    pid: int
    app_key: str
    """The private key of its one GitHub App, `APP_ID`."""

    @classmethod
    @contextmanager
    def started(cls, folder: Path, base_url: str) -> Iterator[Emulate]:
        """Run a server that calls itself ``base_url`` in its answers; what it needs lies in ``folder``.

        It ends when the context does, and also when this process is killed.
        """
        app_key = app_private_key()
        (folder / "seed.json").write_text(json.dumps(_seed(app_key)))
        words = ["node", "--require", str(LOOPBACK), str(PROGRAM), "start", "--service", "github"]
        words += ["--base-url", base_url, "--seed", str(folder / "seed.json")]
        environment = {name: value for name in ("PATH", "HOME") if (value := os.environ.get(name)) is not None}
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                words,
                cwd=folder,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert process.stdin
        assert process.stdout
        try:
            port = next((int(line.split()[1]) for line in process.stdout if line.startswith("listening ")), None)
            assert port is not None, (folder / "log").read_text()
            yield cls(port, process.pid, app_key)
        finally:
            process.stdin.close()
            try:
                process.wait(START_S)
            finally:
                process.kill()
                process.wait()
                process.stdout.close()

    def connection(self) -> http.client.HTTPConnection:
        """Return a new connection to it."""
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=START_S)
