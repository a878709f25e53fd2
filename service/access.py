"""Who may do what. Nothing of a request is read before its key is known to be good for the route it asks for.

    needs("index:write")      on a route: the scope a key must have; the OpenAPI document shows it
    needs("train", "eval")    any of these opens; the route then calls allow() with the one that what is named needs
    Doors(routers)            every route with its scope, made at start; a route that declares none stops the start
    Access                    the layer that checks, before the body is read
    tenant(request)           whose request it is, from then on

While no key was ever made and only this machine can reach the address, whoever reaches it may do everything. From the
first key on everyone needs one, also when all of them have been revoked.
"""

import hmac
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import APIRouter, Request, Security, params
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer, SecurityScopes
from starlette.datastructures import Headers
from starlette.routing import Match
from starlette.types import ASGIApp, Receive, Scope, Send

from ragtune.errors import Forbidden, Unauthorized
from ragtune.keys import LOCAL, Caller, Keys, ScopeName
from service.errors import refuse

HEALTH = frozenset({"/healthz", "/readyz", "/health"})
PUBLIC = HEALTH | {"/openapi.json", "/docs", "/docs/oauth2-redirect", "/redoc"}  # they say nothing about data
_CALLER = "ragtune.caller"
_SHOWN = HTTPBearer(
    scheme_name="key",
    auto_error=False,
    description="`Authorization: Bearer rt-...`, made by `ragtune key create`. While no key was ever made, everyone on "
    "the service's own machine may do everything. A key with the scope `admin` may, too.",
)


@dataclass(frozen=True)
class Gate:
    """Says who a request comes from. `loopback`: only this machine can reach the service; `token`: what the commands
    of this home show instead of a key."""

    keys: Keys
    loopback: bool
    token: str | None = None

    def caller(self, authorization: str | None) -> Caller:
        """Who sends this header, by the database as it is now. Raises Unauthorized."""
        if self.loopback and not self.keys.ever():
            return LOCAL
        if authorization is None:
            raise Unauthorized(
                "this needs an API key, sent as 'Authorization: Bearer rt-...'; 'ragtune key create' makes one, and "
                "ragtune's own commands take it from RAGTUNE_API_KEY"
            )
        scheme, _, key = authorization.partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized("send the API key as 'Authorization: Bearer rt-...'")
        if self.token is not None and hmac.compare_digest(key.strip().encode(), self.token.encode()):
            return LOCAL
        if caller := self.keys.check(key.strip()):
            return caller
        raise Unauthorized("this API key is unknown, wrong or revoked; 'ragtune key list' shows those that count")


class Doors:
    """The routes, each with the scopes any of which opens it; none for one that is open to all."""

    def __init__(self, routers: Iterable[APIRouter]) -> None:
        """Raises RuntimeError for a route that declares no scope, or two, and is not meant to be open."""
        self._doors = [_door(route) for router in routers for route in router.routes]

    def needed(self, scope: Scope) -> tuple[str, ...]:
        """What any of opens this request's route; nothing for an open route, or where there is no route."""
        for route, needed in self._doors:
            if route.matches(scope)[0] is Match.FULL:
                return needed
        return ()


class Access:
    """Between the border and the routes."""

    def __init__(self, app: ASGIApp, doors: Doors, gate: Gate) -> None:
        self._app = app
        self._doors = doors
        self._gate = gate

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse, or pass on with the caller in the scope."""
        if scope["type"] == "http" and scope["path"] not in PUBLIC:
            try:
                self._admit(scope)
            except (Unauthorized, Forbidden) as refusal:
                await refuse(refusal)(scope, receive, send)
                return
        await self._app(scope, receive, send)

    def _admit(self, scope: Scope) -> None:
        caller = self._gate.caller(Headers(scope=scope).get("authorization"))
        scope[_CALLER] = caller
        scope["ragtune.note"].fields["caller"] = caller.name
        if needed := self._doors.needed(scope):
            _check(caller, needed)


def needs(*scopes: ScopeName) -> params.Depends:
    """What a route's key must have one of, as one of the route's `dependencies`."""
    depends: params.Depends = Security(_admitted, scopes=scopes)
    return depends


def allow(request: Request, scope: ScopeName) -> None:
    """For a route that several scopes open, once it knows which it needs. Raises Forbidden without that one."""
    _check(request.scope[_CALLER], (scope,))


def known_caller(scope: Scope) -> Caller | None:
    """Who sent it; None if nobody knows yet, or the key was refused."""
    caller: Caller | None = scope.get(_CALLER)
    return caller


def tenant(request: Request) -> str:
    """Whose requests may share a prefix cache with this one."""
    caller: Caller = request.scope[_CALLER]
    return caller.tenant


def author(request: Request) -> str:
    """Who is recorded as having made a change: the key's name, or `local` where nobody had to say."""
    caller: Caller = request.scope[_CALLER]
    return caller.name


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a socket bound to this address (an IP address, as the socket tells it)."""
    return ipaddress.ip_address(address.partition("%")[0]).is_loopback


async def _admitted(request: Request, needed: SecurityScopes, _shown: Annotated[Any, Security(_SHOWN)]) -> None:
    """Once more, now that the route is certain: a route that `Access` took for another one, or let by, fails here."""
    _check(request.scope[_CALLER], tuple(needed.scopes))


def _check(caller: Caller, needed: tuple[str, ...]) -> None:
    if not any(caller.may(scope) for scope in needed):
        wanted = " or ".join(map(repr, needed))
        raise Forbidden(
            f"this needs a key with the scope {wanted}, and the key of {caller.name!r} has only "
            f"{', '.join(sorted(caller.scopes))}"
        )


def _door(route: object) -> tuple[APIRoute, tuple[str, ...]]:
    if not isinstance(route, APIRoute):
        raise RuntimeError(f"{route!r} declares no scope; only routes of FastAPI can")
    declared = [
        tuple(depends.scopes or ())
        for depends in route.dependencies
        if isinstance(depends, params.Security) and depends.dependency is _admitted
    ]
    if len(declared) == 1 and declared[0]:
        return route, declared[0]
    if not declared and route.path in PUBLIC:
        return route, ()
    raise RuntimeError(
        f"{sorted(route.methods or ())} {route.path} must declare one scope, as in dependencies=[needs('query')]"
    )
