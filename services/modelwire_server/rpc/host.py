"""Hosts services on one port: health, reflection, errors, drain."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_health.v1.health import aio as health_aio
from grpc_reflection.v1alpha import reflection

from modelwire.errors import MessageMalformedError, NameInvalidError, SettingsError
from modelwire.names import check_address
from modelwire_server.rpc.errors import ErrorInterceptor

log = logging.getLogger(__name__)

DRAIN_SECONDS = 20.0
"""How long calls in flight may go on after SIGTERM."""

_OPTIONS = [
    ("grpc.so_reuseport", 0),  # two servers on one port would share its calls silently
    ("grpc.compression_enabled_algorithms_bitset", 1),  # identity only: weights do not compress, and bombs do
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.max_send_message_length", 4 << 20),
    ("grpc.max_receive_message_length", 4 << 20),
]


@dataclass(frozen=True)
class HostedService:
    """Is one gRPC service to be hosted: its full name and its methods."""

    name: str
    methods: dict[str, grpc.RpcMethodHandler]  # type: ignore[type-arg]


def hosted_service(descriptor: ServiceDescriptor, servicer: object, **raw: Any) -> HostedService:
    """Makes a service out of a servicer that has one method per RPC, by the RPC's name.

    Args:
        raw: For an RPC's name, what to use in place of the generated (de)serialisers, by the names that grpc gives them.
    """
    methods = {}
    for method in descriptor.methods:
        make: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[method.client_streaming, method.server_streaming]
        behaviour = getattr(servicer, method.name)
        codec: dict[str, Any] = {"response_serializer": GetMessageClass(method.output_type).SerializeToString}
        given = raw.get(method.name, {})
        if "request_deserializer" not in given:
            behaviour = _parsing(behaviour, GetMessageClass(method.input_type), streaming=method.client_streaming)
        methods[method.name] = make(behaviour, **codec | given)
    return HostedService(descriptor.full_name, methods)


def _parsing(behaviour: Any, message: type[Message], *, streaming: bool) -> Any:
    """Parses requests here and not inside gRPC, whose answer to a malformed one would carry no reason."""

    def parse(data: bytes) -> Message:
        try:
            return message.FromString(data)
        except DecodeError:
            raise MessageMalformedError(f"the request is not a {message.DESCRIPTOR.full_name}") from None

    async def parse_all(requests: AsyncIterator[bytes]) -> AsyncIterator[Message]:
        async for data in requests:
            yield parse(data)

    def call(request: Any, context: Any) -> Any:
        return behaviour(parse_all(request) if streaming else parse(request), context)

    return call


class Host:
    """Serves on one address until it is drained."""

    def __init__(self, address: str, services: Sequence[HostedService]) -> None:
        self._server = grpc.aio.server(interceptors=[ErrorInterceptor()], options=_OPTIONS)
        self._health = health_aio.HealthServicer()
        names = [service.name for service in services]
        for service in services:
            handler = grpc.method_handlers_generic_handler(service.name, service.methods)
            self._server.add_generic_rpc_handlers((handler,))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        shown = [*names, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME]
        reflection.enable_server_reflection(shown, self._server)
        self._names = ["", *names]
        self._wanted = address
        self.address = address

    async def start(self) -> None:
        """Begins to accept calls; `address` has the real port afterwards.

        Raises:
            SettingsError: The address cannot be bound.
        """
        # No host means all of them, as it does elsewhere.
        wanted = f"0.0.0.0{self._wanted}" if self._wanted.startswith(":") else self._wanted  # noqa: S104
        try:
            check_address(self._wanted)
        except NameInvalidError as error:
            raise SettingsError(str(error)) from None
        try:
            port = self._server.add_insecure_port(wanted)
        except RuntimeError:
            port = 0
        if port == 0:
            raise SettingsError(f"cannot listen on {self._wanted}: the port is in use or the address is not this machine's")
        self.address = f"{self._wanted.rpartition(':')[0]}:{port}"
        await self._server.start()
        for name in self._names:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)

    async def drain(self, seconds: float = DRAIN_SECONDS) -> None:
        """Refuses new calls, lets those in flight end for `seconds`, then stops."""
        await self._health.enter_graceful_shutdown()
        await self._server.stop(seconds)
