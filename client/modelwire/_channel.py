"""Connections to the services. Every call passes through here: tickets, retries, and the translation of errors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc
import grpc.aio

from modelwire._retry import Backoff
from modelwire.errors import (
    CallTimeoutError,
    ModelwireError,
    OverloadedError,
    ServiceUnavailableError,
    TicketExpiredError,
)
from modelwire.wire import STATUS_DETAILS_KEY, WireError, decode_error

Answer = TypeVar("Answer")
Metadata = tuple[tuple[str, str], ...]

FIRST_CONTACT_SECONDS = 6.0
"""How long to go on trying a service that never answered; a wrong address should not cost a minute."""

RETRY_SECONDS = 90.0
"""How long to go on trying a service that answered before: long enough for a restart or a failover."""

_OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),  # channels with equal arguments would share one connection
    ("grpc.max_receive_message_length", 4 << 20),
    ("grpc.max_send_message_length", 4 << 20),
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 1000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
]


class Tickets:
    """Holds the ticket that calls to the blob service carry, and gets a new one when it has expired."""

    def __init__(self, token: str, renew: Callable[[], Awaitable[str]]) -> None:
        self._token, self._renew = token, renew
        self._renewing = asyncio.Lock()

    @property
    def metadata(self) -> Metadata:
        """The metadata of a call."""
        return (("authorization", f"Bearer {self._token}"),)

    async def renew(self, expired: Metadata) -> None:
        """Replaces the ticket, unless another call has done so."""
        async with self._renewing:
            if self.metadata == expired:
                self._token = await self._renew()


class ServiceChannel:
    """Is a connection to one service, made once and used by all calls."""

    def __init__(self, address: str, service: str, timeout: float) -> None:
        self.address, self._service, self._timeout = address, service, timeout
        self.channel = grpc.aio.insecure_channel(address, options=_OPTIONS)
        self._answered = False

    async def close(self) -> None:
        """Closes the connection; calls under way are cancelled."""
        await self.channel.close()

    async def unary(self, rpc: Callable[..., Awaitable[Answer]], request: object, tickets: Tickets | None = None) -> Answer:
        """Makes a call with one answer, as often as it takes; every such call may be repeated safely."""
        return await self.repeat(lambda metadata: rpc(request, timeout=self._timeout, metadata=metadata), tickets)

    async def repeat(self, attempt: Callable[[Metadata], Awaitable[Answer]], tickets: Tickets | None = None) -> Answer:
        """Makes attempts until one succeeds, is refused for good, or the service has been away for too long.

        Args:
            attempt: Makes one attempt with the metadata given.
            tickets: What the metadata is made of; an expired ticket is replaced.
        """
        backoff = self.backoff()
        renewed = False
        while True:
            metadata = tickets.metadata if tickets else ()
            try:
                async with self.border():
                    return await attempt(metadata)
            except TicketExpiredError:
                if tickets is None or renewed:
                    raise
                await tickets.renew(metadata)
                renewed = True
            except (ServiceUnavailableError, OverloadedError) as error:
                await self.pause(backoff, error)

    def backoff(self) -> Backoff:
        """Returns the patience that is due to this service."""
        return Backoff(RETRY_SECONDS if self._answered else FIRST_CONTACT_SECONDS)

    async def pause(self, backoff: Backoff, error: ModelwireError) -> None:
        """Waits before the next attempt, or raises `error` when it is time to give up."""
        delay = backoff.next_delay(float(error.facts.get("retry_after", 0)))
        if delay is None:
            raise error
        await asyncio.sleep(delay)

    @asynccontextmanager
    async def border(self) -> AsyncIterator[None]:
        """Turns what gRPC raises into the errors of modelwire."""
        try:
            yield
            self._answered = True
        except grpc.aio.AioRpcError as error:
            raise self._translate(error) from None

    def _translate(self, error: grpc.aio.AioRpcError) -> ModelwireError:
        details = _details(error)
        found = decode_error(error.code().name, error.details() or "", details)
        if details is not None:
            self._answered = True
        elif error.code() in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.UNKNOWN}:  # the transport's own words
            why = f"{error.details() or error.code().name}"[:300]
            message = f"cannot reach the {self._service} service at {self.address}; is it running? ({why})"
            return ServiceUnavailableError(message, address=self.address)
        elif error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
            message = f"the {self._service} service at {self.address} did not answer within {self._timeout:g} s"
            return CallTimeoutError(message, address=self.address)
        return _with_delay(found)


def _with_delay(found: WireError) -> ModelwireError:
    if found.retry_after is not None:
        found.error.facts["retry_after"] = str(found.retry_after)
    return found.error


def _details(error: grpc.aio.AioRpcError) -> bytes | None:
    trailer: Sequence[tuple[str, Any]] = tuple(error.trailing_metadata() or ())
    return next((value for key, value in trailer if key == STATUS_DETAILS_KEY), None)


def check_address(address: str, default_host: str) -> str:
    """Returns a blob service's address as a ticket gives it, its empty host filled in."""
    host, _, port = address.rpartition(":")
    return f"{host or default_host}:{port}"
