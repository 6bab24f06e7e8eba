"""Sequences live through a change of their specialist."""

from __future__ import annotations

import numpy as np
import pytest
from on_ray import STARTING
from onnx_models import accumulating
from running import until

from fabric.core.cards import Control, Model, Replicas, Sequences, StateTensor, Timeouts
from fabric.core.errors import FabricError, SequenceLost
from fabric.testing import specialist

pytestmark = [pytest.mark.ray, pytest.mark.timeout(240)]
X = {"x": np.ones((1, 1), np.float32)}


async def test_a_replaced_replica_finishes_its_sequences(on_ray, ray_client, watched):
    """New ones begin at its successor; what does not end in time is told that it is lost."""

    def total(path):
        return specialist(
            "total",
            model=Model(uri=str(accumulating(on_ray.folder / path))),
            timeouts=Timeouts(drain=15.0),
            replicas=Replicas(),
            sequences=Sequences(
                max_sequences=8,
                states=(StateTensor(input="sum", output="new_sum"),),
                controls=(Control(input="start", kind="start"),),
            ),
        )

    async def ask(sequence, **said):
        parameters = {"sequence_id": sequence, **said}
        return await ray_client.infer("total", X, parameters=parameters, timeout=10)

    await ray_client.apply([total("one.onnx")])
    await watched.until_ready("total:1", STARTING)
    first = await ask("ends", sequence_start=True)
    await ask("stays", sequence_start=True)
    await ray_client.apply([total("two.onnx")])
    await watched.until(lambda: watched.replicas("total:1").keys() - {first.replica}, STARTING)

    async def begins_elsewhere() -> bool:
        return (await ask("new", sequence_start=True)).replica != first.replica

    await until(begins_elsewhere)
    last = await ask("ends", sequence_end=True)
    assert (last["y"].item(), last.replica) == (2, first.replica)
    assert (await ask("stays")).replica == first.replica
    lost: list[FabricError] = []

    async def is_lost() -> bool:
        try:
            await ask("stays")
        except FabricError as error:
            lost.append(error)
        return bool(lost)

    await until(is_lost, 60)
    assert isinstance(lost[0], SequenceLost)
    await ray_client.delete("specialist", "total")
