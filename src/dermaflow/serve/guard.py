"""What stands between the network and the app: nothing foreign is allowed in or out."""

import logging
import os
import re
import socket
from http import HTTPStatus
from ipaddress import ip_address
from typing import Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dermaflow.errors import DermaflowError

CONTENT_SECURITY_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "geolocation=(), microphone=(), payment=(), usb=()",
    "Cache-Control": "no-store",
}
_HOST: Final = re.compile(r"(\*|[\w-]+(\.[\w-]+)*)(:\d+)?", re.ASCII)

ANSWER_SECONDS: Final = 60.0
"""How long a request may take; BentoML's own limit, whose answer has no HEADERS, is longer."""


def known_hosts() -> frozenset[str]:
    """Return the names by which the service may be asked beside IP addresses; `*` stands for all.

    They are localhost, this machine's own and those in DERMAFLOW_HOSTS, separated by commas.

    Raises:
        DermaflowError: something stands there that would match no request.
    """
    named = [name.strip() for name in os.environ.get("DERMAFLOW_HOSTS", "").split(",")]
    for name in filter(None, named):
        if not (_HOST.fullmatch(name) or any(map(_is_ip_address, (name, _without_port(name))))):
            raise DermaflowError(
                f"{name} is no host's name",
                "DERMAFLOW_HOSTS",
                "Give names such as clinic.example, separated by commas, or * for all; one with other "
                "letters as browsers send it (xn--...).",
            )
    return frozenset({"localhost", socket.gethostname().lower(), *map(_without_port, named)} - {""})


def refuse_unknown_host(headers: Headers, known: frozenset[str]) -> None:
    """Refuse what was sent to a name that is not the service's.

    A page of another site may have its own name lead to this machine (DNS rebinding). Then nothing but the
    Host tells it from the service's own page. An IP address can't be led elsewhere.

    Args:
        headers: the request's.
        known: as `known_hosts` gives them.

    Raises:
        HTTPException: 421.
    """
    host = _without_port(headers.get("host", ""))
    if not (host in known or "*" in known or _is_ip_address(host)):
        raise HTTPException(
            421,
            f"this service is not known as {host[:100] or 'a host without a name'}: name the host in "
            "DERMAFLOW_HOSTS where the service is started, or ask by localhost or an IP address",
        )


def _without_port(host: str) -> str:
    """Return a host's name or address in small letters; an IPv6 address stands in brackets."""
    host = host.strip().lower()
    return host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]


def _is_ip_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def refuse_foreign(headers: Headers) -> None:
    """Refuse what a browser sends for a page from elsewhere; a script, which names no page, is let in.

    Sec-Fetch-Site can't be forged by a page; browsers leave it out for plain HTTP between machines, where
    the page's Origin has to be the Host that was asked. The scheme is free: a proxy may end TLS.

    Raises:
        HTTPException: 403.
    """
    site, origin = headers.get("sec-fetch-site"), headers.get("origin")
    if site:
        own = site in ("same-origin", "none")
    else:
        own = origin is None or origin.partition("://")[2].lower() == headers.get("host", "").lower()
    if not own:
        raise HTTPException(
            403, "the request comes from a page of another address, not from the service's own"
        )


def internal_error() -> JSONResponse:
    """The answer to what nobody foresaw; not a word of the request stands in it."""
    return JSONResponse({"error": "internal error; the log says where"}, 500)


def one_line(record: logging.LogRecord) -> bool:
    """A filter that keeps what strangers send, such as a path with %0a in it, to one line of ASCII."""
    if isinstance(record.args, tuple):
        record.args = tuple(_plain(part) if isinstance(part, str) else part for part in record.args)
    return True


def _plain(text: str) -> str:
    return text.encode("unicode_escape").decode()


class SecurityHeaders:
    """ASGI middleware: each response carries HEADERS. No CORS header is ever set."""

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and add the headers to what comes back."""

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self._app(scope, receive, with_headers if scope["type"] == "http" else send)


class JsonErrors:
    """ASGI middleware: what BentoML says of errors in plain text, such as a 404, becomes {"error": ...}.

    So does its redirect of an address with a slash at the end: it leads to plain HTTP under whatever host was
    asked, and a client that follows sends image and patient data there.
    """

    def __init__(self, app: ASGIApp) -> None:
        """Wrap an app."""
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and put an error of plain text, or none at all, into JSON."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = plain = False

        async def in_json(message: Message) -> None:
            nonlocal started, plain
            if message["type"] == "http.response.start":
                started = True
                headers = MutableHeaders(scope=message)
                status = message["status"]
                if status == HTTPStatus.TEMPORARY_REDIRECT:
                    plain, status = True, HTTPStatus.NOT_FOUND
                else:
                    plain = status >= HTTPStatus.BAD_REQUEST and headers.get("content-type", "").startswith(
                        "text/plain"
                    )
                if plain:
                    del headers["content-type"], headers["content-length"], headers["location"]
                    error = {"error": HTTPStatus(status).phrase}
                    await JSONResponse(error, status, headers)(scope, receive, send)
            if not plain:
                await send(message)

        try:
            await self._app(scope, receive, in_json)
        except Exception:
            if not started:
                await internal_error()(scope, receive, send)
            raise
