"""Raw gRPC streaming between two processes: what the transport can do when nobody reads, checks or keeps the bytes.

    python benchmarks/null_stream.py serve --allocator kept|plain
    python benchmarks/null_stream.py call ADDRESS --size MIB --streams N --allocator kept|plain

Messages of 1 MiB of raw bytes through generic handlers of grpc.aio, with no other option than the product's own.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio

from event_loop import run
from modelwire.memory import keep_large_buffers
from stage import MIB, Child, ask

_SERVICE = "null.Stream"
_OPTIONS = [("grpc.max_receive_message_length", 4 << 20), ("grpc.max_send_message_length", 4 << 20)]


def null_rates(size: int, allocator: str, streams: int) -> tuple[float, float]:
    """Returns bytes per second up into a null sink and down from a null source, over `streams` calls together."""
    with Child("null_stream.py", "serve", "--allocator", allocator) as server:
        address = server.answer()
        up, down = ask("null_stream.py", "call", address, "--size", size, "--streams", streams, "--allocator", allocator)
    return up, down


async def _sink(requests: AsyncIterator[bytes], _context: object) -> bytes:
    async for _ in requests:
        pass
    return b""


async def _source(request: bytes, _context: object) -> AsyncIterator[bytes]:
    message = bytes(MIB)
    for _ in range(int(request)):
        yield message


async def serve() -> None:
    """Serves until it is killed; prints its address."""
    server = grpc.aio.server(options=_OPTIONS)
    methods: dict[str, Any] = {
        "Up": grpc.stream_unary_rpc_method_handler(_sink),
        "Down": grpc.unary_stream_rpc_method_handler(_source),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(json.dumps(f"127.0.0.1:{port}"), flush=True)
    await server.wait_for_termination()


async def call(address: str, count: int, streams: int) -> tuple[float, float]:
    """Sends and fetches `count` messages; returns bytes per second of both."""
    async with grpc.aio.insecure_channel(address, options=_OPTIONS) as channel:
        send: Any = channel.stream_unary(f"/{_SERVICE}/Up")
        fetch: Any = channel.unary_stream(f"/{_SERVICE}/Down")
        message = bytes(MIB)

        async def up(messages: int) -> None:
            async def requests() -> AsyncIterator[bytes]:
                for _ in range(messages):
                    yield message

            await send(requests())

        async def down(messages: int) -> None:
            async for _ in fetch(b"%d" % messages):
                pass

        rates = []
        for way in (up, down):
            await way(16)
            begin = time.perf_counter()
            await asyncio.gather(*(way(count // streams) for _ in range(streams)))
            rates.append(count // streams * streams * MIB / (time.perf_counter() - begin))
    return rates[0], rates[1]


def main() -> None:
    """Runs one of the two sides."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("side", choices=["serve", "call"])
    parser.add_argument("address", nargs="?")
    parser.add_argument("--size", type=int, default=1024, metavar="MIB")
    parser.add_argument("--streams", type=int, default=2)
    parser.add_argument("--allocator", choices=["kept", "plain"], default="kept")
    given = parser.parse_args()
    if given.allocator == "kept" and not keep_large_buffers():
        print("the C library has no such setting: plain buffers", file=sys.stderr)
    if given.side == "serve":
        run(serve())
    else:
        print(json.dumps(run(call(given.address, given.size, given.streams))), flush=True)


if __name__ == "__main__":
    main()
