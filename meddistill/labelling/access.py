"""Who may speak to the server: this machine's own page, which holds the token, and nothing else.

A page of another origin can send requests to 127.0.0.1 (CSRF), and can make its own name resolve to
it (DNS rebinding): every request must name our host and carry our cookie, and one that changes
something our origin, too.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Mapping, Sequence

MOST_BODY_BYTES = 2_000_000
"""Of one request: a mask that was corrected by many long strokes has some hundred thousand."""
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
        "connect-src 'self'; manifest-src 'none'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""On every answer; nothing that the page did not bring along is loaded or run."""


@dataclasses.dataclass(frozen=True)
class Refusal:
    """Why a request is not answered: an HTTP status and one line."""

    status: int
    reason: str


@dataclasses.dataclass(frozen=True)
class Access:
    """`hosts`: names by which the server may be called, with its port. `token`: in the address that
    is printed. `cookie`: what the page holds after it was opened by that address. `start`: tells
    this start of the server from others; a page says of which it is."""

    hosts: Sequence[str]
    port: int
    token: str = dataclasses.field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    cookie: str = dataclasses.field(default_factory=lambda: secrets.token_urlsafe(24), repr=False)
    start: str = dataclasses.field(default_factory=lambda: secrets.token_hex(8))

    @property
    def cookie_name(self) -> str:
        """Browsers share cookies between ports: two servers must not overwrite each other's."""
        return f"meddistill-{self.port}"

    @property
    def address(self) -> str:
        """What opens the page."""
        return f"http://{self.hosts[0]}:{self.port}/?token={self.token}"

    def set_cookie(self) -> str:
        """The header's value that gives the page its cookie."""
        return f"{self.cookie_name}={self.cookie}; Path=/; HttpOnly; SameSite=Strict"

    def is_token(self, given: str) -> bool:
        return secrets.compare_digest(given.encode(), self.token.encode())

    def refuse(self, method: str, path: str, headers: Mapping[str, str]) -> Refusal | None:
        """Why the request is refused; None where it may go on. Header names are in lower case."""
        if headers.get("host", "").lower() not in self._names():
            return Refusal(421, "this server answers to another name: open the printed address")
        if method not in ("GET", "HEAD", "POST"):
            return Refusal(405, f"method {method} is not answered")
        # A link on another page may open ours, nothing else of it may be asked for from there.
        site = headers.get("sec-fetch-site", "same-origin")
        if site not in ("same-origin", "none") and path != "/":
            return Refusal(403, "asked from another site")
        if not self._has_cookie(headers.get("cookie", "")):
            return Refusal(403, "not known here: open the address that `meddistill label` printed")
        # The browser gives its cookie to all its tabs: one may still show another RUN.
        if headers.get("x-meddistill-start", self.start) != self.start:
            return Refusal(409, "`meddistill label` was started anew: reload this page")
        return self._refuse_change(headers) if method == "POST" else None

    def _refuse_change(self, headers: Mapping[str, str]) -> Refusal | None:
        origins = {f"http://{name}" for name in self._names()}
        if headers.get("origin", "").lower() not in origins:
            return Refusal(403, "sent from another origin")
        if headers.get("content-type", "").split(";")[0].strip().lower() != "application/json":
            return Refusal(415, "expected application/json")
        length = headers.get("content-length", "")
        if not length.isdigit():
            return Refusal(411, "expected a content-length")
        if int(length) > MOST_BODY_BYTES:
            return Refusal(413, f"expected at most {MOST_BODY_BYTES} bytes")
        return None

    def _names(self) -> set[str]:
        named = {f"{host}:{self.port}".lower() for host in self.hosts}
        # Of HTTP's own port a browser says nothing.
        return named | ({host.lower() for host in self.hosts} if self.port == 80 else set())

    def _has_cookie(self, header: str) -> bool:
        # Other servers of this machine share the header, and SimpleCookie drops all of it for one
        # name that it does not like.
        pairs = (part.strip().partition("=") for part in header.split(";"))
        return any(
            name == self.cookie_name
            and secrets.compare_digest(value.encode(), self.cookie.encode())
            for name, _, value in pairs
        )
