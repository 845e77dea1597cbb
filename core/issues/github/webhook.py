"""A webhook as a hint: something may have changed, look now. It is never believed: what changed is what a look finds.

Off unless ``ROLLCAGE_WEBHOOK_PORT`` and ``ROLLCAGE_WEBHOOK_SECRET`` are set. It listens on loopback: who wants GitHub
to reach it forwards a port to it. Deliveries get lost, doubled and reordered, and none of that matters to a hint.
https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries
"""

from __future__ import annotations

import hashlib
import hmac
import threading
from collections.abc import Callable, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ...errors import UsageError

PORT, SECRET = "ROLLCAGE_WEBHOOK_PORT", "ROLLCAGE_WEBHOOK_SECRET"
LARGEST = 25_000_000
"""Bytes; GitHub delivers nothing larger."""
PATIENCE_S = 10.0
"""GitHub itself waits no longer for an answer."""
TOPICS = frozenset({"issues", "issue_comment", "label", "issue_dependencies", "sub_issues", "repository"})


class WebhookReceiver:
    """Listens on loopback until it is closed."""

    def __init__(self, port: int, secret: str, hint: Callable[[], None]) -> None:
        """Listen at ``port`` (0: any that is free). Raises UsageError where that is taken."""
        try:
            self._server = _Server(("127.0.0.1", port), secret, hint)
        except (OSError, OverflowError) as error:
            raise UsageError(f"no webhooks can be heard at port {port} ({error}); set {PORT} to a free one") from None
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.2,), name="rollcage-webhook", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(PATIENCE_S)


def open_webhook(environ: Mapping[str, str], hint: Callable[[], None]) -> WebhookReceiver | None:
    """Listen as the variables say; ``None``: they are not set. Raises UsageError for half of them, or no port."""
    port, secret = environ.get(PORT, ""), environ.get(SECRET, "")
    if not port and not secret:
        return None
    if not port.isascii() or not port.isdigit() or not 0 < int(port) < 65_536:
        raise UsageError(f"${PORT} is no port; allowed: 1 to 65535, or neither it nor ${SECRET}")
    if not secret:
        raise UsageError(f"${SECRET} is not set; without it nobody could tell whose a delivery is")
    return WebhookReceiver(int(port), secret, hint)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False

    def __init__(self, address: tuple[str, int], secret: str, hint: Callable[[], None]) -> None:
        super().__init__(address, _Handler)
        self.secret, self.hint = secret.encode(), hint

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing about who went away: there is no log, and a console would be scribbled on."""


class _Handler(BaseHTTPRequestHandler):
    timeout = PATIENCE_S
    server: _Server

    def do_POST(self) -> None:
        """Check the signature over the whole body, then hint."""
        length = self.headers.get("content-length", "")
        if not length.isascii() or not length.isdigit() or int(length) > LARGEST:
            self.send_error(413 if length.isdigit() else 411)
            return
        mac = hmac.new(self.server.secret, digestmod=hashlib.sha256)
        left = int(length)
        while left:
            part = self.rfile.read(min(left, 65_536))
            if not part:
                return
            mac.update(part)
            left -= len(part)
        signature = self.headers.get("x-hub-signature-256", "")
        if not hmac.compare_digest(signature.encode("latin-1", "replace"), f"sha256={mac.hexdigest()}".encode()):
            self.send_error(403)
            return
        if self.headers.get("x-github-event") in TOPICS:
            self.server.hint()
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *words: object) -> None:  # noqa: A002 - http.server's name
        """Say nothing, as above."""
