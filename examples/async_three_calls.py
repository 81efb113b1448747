"""The three calls in asyncio form: python examples/async_three_calls.py [path]."""

import asyncio
import sys

import modelwire


async def main(path: str) -> None:
    async with modelwire.AsyncClient(project="mnist-experiments") as client, client.run(job_type="train") as run:
        version = await run.log_model(path, name="MNIST")
        print(f"logged {version.qualified_name}")
        used = await run.use_model("MNIST:latest")
        print(f"used {used}")
        link = await run.link_model(used, registered_model_name="Digits", name="MNIST", aliases=["production"])
        print(f"linked {link.source_qualified_name} as {link.qualified_name}")


asyncio.run(main(sys.argv[1] if len(sys.argv) > 1 else "./model.safetensors"))
