"""A process that measures one way to run a model: `python -m fabric.runtime.measuring`.

It is told by `FABRIC_*` variables what to open, and answers with a line of JSON; then it reads
lines that ask for runs of so many rows, and answers each with the seconds that they took.
"""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime
from google.protobuf.json_format import Parse

from fabric.api.catalog.v1 import card_pb2
from fabric.core.cards import Batching, Specialist
from fabric.core.errors import Conflict, FabricError, InvalidRequest
from fabric.processes import from_environ
from fabric.runtime.made_up import OpenSizes, made_up, open_sizes, read
from fabric.runtime.runs import split, stacked
from fabric.runtime.session import Session, providers
from fabric.runtime.settings import MeasuringSettings, Opened
from fabric.runtime.signatures import check_batching
from fabric.wire.cards import from_message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from fabric.core.tensors import Tensors

_MOST_RUNS = 2000
"""In one turn: quick models give the next setting its turn sooner."""


class Bench:
    """The model of *settings*, open, and the requests to run it on.

    Raises:
        FabricError: it cannot be opened as declared, or does not run on those requests.
    """

    def __init__(self, settings: MeasuringSettings) -> None:
        specialist = from_message(Parse(settings.specialist, card_pb2.Specialist()), Specialist)
        hosting = specialist.hosting
        options, sequences = hosting.onnxruntime, hosting.sequences
        self._settings = settings
        self._session = Session(Path(settings.file), options, specialist.card.signature, sequences)
        check_batching(self._session.signature, hosting.batching)
        here = providers(options.providers, onnxruntime.get_available_providers())
        if self._session.provider != here[0]:
            raise Conflict(
                f"{here[0]} does not start here, {self._session.provider} serves: install what it "
                "needs, or take it out of onnxruntime.providers"
            )
        is_stacked = hosting.batching.max_size > 1
        note = ""
        if not is_stacked and sequences is None:
            is_stacked, note = self._could_be_stacked()
        self._requests, assumed = self._requests_for(is_stacked=is_stacked)
        self._try(self._requests[:1])
        self.opened = Opened(here=tuple(here), is_stacked=is_stacked, note=note or assumed)

    def measure(self, rows: int, seconds: float) -> list[float]:
        """The seconds of each run of *rows* rows, for so many *seconds* and one run at least."""
        count = len(self._requests)
        batch = [self._requests[i % count] for i in range(rows)]
        self._run(batch)  # so that what is new, or fell asleep, is not measured
        times: list[float] = []
        begun = time.perf_counter()
        end = begun + seconds
        while begun < end and len(times) < _MOST_RUNS:
            self._run(batch)
            ended = time.perf_counter()
            times.append(ended - begun)
            begun = ended
        return times

    def _run(self, batch: Sequence[Tensors]) -> list[Tensors]:
        """As the batcher does it for requests of one row each."""
        return split(self._session.run(stacked(batch)), [1] * len(batch))

    def _try(self, batch: Sequence[Tensors]) -> None:
        try:
            self._run(batch)
        except Exception as error:
            # ONNX Runtime's errors share no base class.
            if inputs := self._settings.inputs:
                raise InvalidRequest(f"the model does not run on {inputs}: {error}") from error
            raise InvalidRequest(
                f"the model does not run on made-up inputs: {error}\nGive real ones with --inputs "
                "FILE.npz, or the sizes that it leaves open with --size NAME=N"
            ) from error

    def _requests_for(self, *, is_stacked: bool) -> tuple[list[Tensors], str]:
        """The requests, and a note on what was assumed for them."""
        signature, inputs = self._session.signature, self._settings.inputs
        if inputs:
            return read(Path(inputs), signature, is_stacked=is_stacked), ""
        sizes = self._open_sizes(is_stacked=is_stacked)
        sizes.check()
        names = ", ".join(sizes.assumed)
        note = f"sizes that the model leaves open are taken as 1: {names}" if names else ""
        return made_up(signature, sizes), note

    def _open_sizes(self, *, is_stacked: bool) -> OpenSizes:
        dimensions = self._session.dimensions()
        given = self._settings.sizes
        return open_sizes(self._session.signature, dimensions, given, is_stacked=is_stacked)

    def _could_be_stacked(self) -> tuple[bool, str]:
        """Whether batches would give what requests give that run alone; if not, why."""
        signature = self._session.signature
        try:
            check_batching(signature, Batching(max_size=2))
        except Conflict:
            return False, ""
        sizes = self._open_sizes(is_stacked=False)
        if any(sizes.names.get((spec.name, 0)) in sizes.given for spec in signature.inputs):
            return False, ""  # who gives it a size takes it for no batch
        requests, _ = self._requests_for(is_stacked=True)
        few = [requests[i % len(requests)] for i in range(3)]
        try:
            together = self._session.run(stacked(few))
            alone = stacked([self._session.run(stacked([request])) for request in few])
        except Exception as error:  # noqa: BLE001 - in ONNX Runtime's words
            return False, f"requests are not stacked, the model fails on them: {error}"
        if all(_is_close(array, alone[name]) for name, array in together.items()):
            return True, ""
        return False, "requests are not stacked: the answers would not be what they are alone"


def _is_close(one: NDArray[Any], other: NDArray[Any]) -> bool:
    if one.shape != other.shape or one.dtype.kind != "f":
        return np.array_equal(one, other)
    return np.allclose(one, other, rtol=1e-2, atol=1e-3, equal_nan=True)


def main() -> None:
    # What libraries print must not get between the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w", buffering=1)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    def answer(said: object) -> None:
        answers.write(json.dumps(said) + "\n")

    try:
        bench = Bench(from_environ(MeasuringSettings))
    except FabricError as error:
        answer({"code": error.code, "reason": error.reason, "message": error.message})
        return
    answer(asdict(bench.opened))
    for line in sys.stdin:
        asked = json.loads(line)
        try:
            answer({"times": bench.measure(asked["rows"], asked["seconds"])})
        except Exception as error:  # noqa: BLE001 - the failure of these runs
            answer({"message": f"{type(error).__name__}: {error}"})


if __name__ == "__main__":
    main()
