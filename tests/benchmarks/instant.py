"""A replica that answers at once with the same bytes: `python -m … CONTROL`."""

from __future__ import annotations

import sys

import uvloop

from fabric import AsyncClient
from fabric.api.inference.v2 import open_inference_pb2 as pb
from fabric.processes import until_told_to_stop
from fabric.testing import specialist
from tests.running import Saying, replica

NAME = "instant"


def answer() -> bytes:
    """Ten elements, as `small` gives."""
    message = pb.ModelInferResponse(model_name=NAME, model_version="1")
    message.outputs.add(name="y", datatype="FP32", shape=(1, 10))
    message.raw_output_contents.append(bytes(40))
    return message.SerializeToString()


async def main(control: str) -> None:
    of = specialist(NAME)
    async with AsyncClient(control) as client:
        await client.apply([of])
    async with replica(control, of, Saying(answer())):
        await until_told_to_stop()


if __name__ == "__main__":
    uvloop.run(main(sys.argv[1]))
