"""The border at which errors of the domain become statuses on the wire, and the only one."""

from __future__ import annotations

import errno
import logging
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, NoReturn

import grpc
import grpc.aio

from modelwire.errors import InternalFaultError, ModelwireError, OverloadedError, StorageFullError
from modelwire.wire import STATUS_DETAILS_KEY, encode_error
from modelwire_server.database import is_full

log = logging.getLogger(__name__)

RETRY_AFTER_SECONDS = 0.5

Context = grpc.aio.ServicerContext[Any, Any]


class ErrorInterceptor(grpc.aio.ServerInterceptor):
    """Gives every ModelwireError its status, and every other exception an incident number in the log."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Wraps the behaviour of the handler that `continuation` finds."""
        handler = await continuation(handler_call_details)
        method = handler_call_details.method
        if handler is None or method.startswith("/grpc."):
            return handler
        wrap = _wrap_stream if handler.response_streaming else _wrap_unary
        make: Any = {
            (False, False): grpc.unary_unary_rpc_method_handler,
            (False, True): grpc.unary_stream_rpc_method_handler,
            (True, False): grpc.stream_unary_rpc_method_handler,
            (True, True): grpc.stream_stream_rpc_method_handler,
        }[handler.request_streaming, handler.response_streaming]
        behaviour: Any = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
        return make(wrap(behaviour, method), handler.request_deserializer, handler.response_serializer)


def _wrap_unary(behaviour: Any, method: str) -> Any:
    async def call(request: Any, context: Context) -> Any:
        async with _border(context, method):
            return await behaviour(request, context)

    return call


def _wrap_stream(behaviour: Any, method: str) -> Any:
    async def call(request: Any, context: Context) -> AsyncIterator[Any]:
        async with _border(context, method):
            async for response in behaviour(request, context):
                yield response

    return call


@asynccontextmanager
async def _border(context: Context, method: str) -> AsyncIterator[None]:
    try:
        yield
    except grpc.aio.AbortError:
        raise
    except ModelwireError as error:
        await _abort(context, error)
    except Exception as error:  # the last border: whatever it is becomes a status
        if is_full(error) or (isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}):
            log.error("%s: the store has no room: %s", method, error)  # noqa: TRY400 - the disk, not the code
            await _abort(context, StorageFullError("the store has no room for more bytes"))
        incident = secrets.token_hex(6)
        log.exception("%s failed, incident %s", method, incident)
        await _abort(
            context, InternalFaultError(f"the service failed; its log says why: incident {incident}", incident=incident)
        )


async def _abort(context: Context, error: ModelwireError) -> NoReturn:
    retry_after = RETRY_AFTER_SECONDS if isinstance(error, OverloadedError) else None
    trailer = ((STATUS_DETAILS_KEY, encode_error(error, retry_after)),)
    await context.abort(grpc.StatusCode[error.code], str(error)[:1024], trailing_metadata=trailer)
