"""
Lets requests in to the web app, or refuses them.

A server at a loopback address is no secret: any page that this machine's browser shows can send
requests to it, and a page whose DNS name is made to lead to 127.0.0.1 could read the answers, too.
"""

import ipaddress
from typing import AbstractSet, Iterable, List, Optional
from urllib.parse import urlsplit

from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
UNKNOWN_HOST = (
    "This server has another name: open http://127.0.0.1 or http://localhost with its port. "
    "Behind a proxy, start it with --allow-host NAME."
)
OTHER_ORIGIN = "A page of another server may not use this one."


def allowed_names(host: str, allowed: Iterable[str]) -> Optional[AbstractSet[str]]:
    """
    Args:
        host: name or address that the server listens at.
        allowed: names that people gave it.

    Returns:
        set: the host names that requests may use, in lower case. None: any, as it listens at an
            address for others, whose names for it are not known.
    """
    host = host.strip("[]").lower()
    allowed = {name.lower() for name in allowed}
    return LOOPBACK | allowed | {host} if allowed or _is_loopback(host) else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class Gate:
    """
    ASGI middleware.

    Args:
        app: what comes behind.
        names: of :func:`allowed_names`.
        public: those of them that are a proxy's; its port is not known.
    """

    def __init__(self, app: ASGIApp, names: Optional[AbstractSet[str]], public: Iterable[str] = ()):
        self.app, self.names = app, names
        self.public = {name.lower() for name in public}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        refused = self._refusal(scope) if scope["type"] in ("http", "websocket") else None
        if refused is None:
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await PlainTextResponse(refused, 403)(scope, receive, send)

    def _refusal(self, scope: Scope) -> Optional[str]:
        """Say what is wrong with the names in a request."""
        if self.names is None:
            return None
        hosts, origins = _values(scope, b"host"), _values(scope, b"origin")
        if len(hosts) != 1 or _name(f"//{hosts[0]}") not in self.names:
            return UNKNOWN_HOST
        for origin in origins:  # none where no page asks: another program, a person's click
            here = origin.partition("://")[2].lower() == hosts[0].lower()
            if not here and _name(origin) not in self.public:
                return OTHER_ORIGIN
        return None


def _values(scope: Scope, name: bytes) -> List[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _name(address: str) -> str:
    """The host of an address, in lower case; empty if there is none."""
    try:
        return urlsplit(address).hostname or ""
    except ValueError:
        return ""
