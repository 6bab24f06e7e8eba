"""The models that the checks ask: what goes in, what comes out, and what they do with it.

Names and signatures only; `fabric.conformance.writing` makes the files of them.
"""

from __future__ import annotations

from dataclasses import dataclass

from fabric.core.tensors import DTYPES, TensorSpec

MAX_BATCH = 8
"""Rows of one request at most, for the models that batch."""
LABELS = ("zero", "one", "two")
"""Names of the classes of `CLASSES`, which has one class more."""


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One model. Shapes include the batch dimension, as metadata do."""

    name: str
    does: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    batches: bool = False
    """Whether the first dimension is that of a batch of at most `MAX_BATCH` rows."""
    versions: tuple[str, ...] = ("1",)
    python: str = ""
    """The class of `fabric.conformance.specialists` that is the model, where ONNX has no word for
    what it does."""
    decoupled: bool = False
    sequences: bool = False


def _specs(*given: tuple[str, str, tuple[int, ...]]) -> tuple[TensorSpec, ...]:
    return tuple(TensorSpec(name=name, datatype=dt, shape=shape) for name, dt, shape in given)


def identity(datatype: str) -> str:
    """The name of the model that gives a batch of *datatype* as it came."""
    return f"oip_identity_{datatype.lower()}"


ADD_SUB = "oip_add_sub"
SEVERAL = "oip_several"
SCALAR = "oip_scalar"
LITERAL = "oip_literal"
OPTIONAL = "oip_optional"
CLASSES = "oip_classes"
SLOW = "oip_slow"
FAILING = "oip_failing"
VERSIONS = "oip_versions"
LOADING = "oip_loading"
SEQUENCE = "oip_sequence"
CONTROLS = "oip_controls"
REPEAT = "oip_repeat"
BLOBS = "oip_blobs"

FP32 = identity("FP32")
BYTES = identity("BYTES")

_OPTIONAL_BIAS = TensorSpec(name="bias", datatype="FP32", shape=(-1, 4), optional=True)

SAMPLES: tuple[Sample, ...] = (
    *(
        Sample(
            name=identity(datatype),
            does="y = x",
            inputs=_specs(("x", datatype, (-1, -1))),
            outputs=_specs(("y", datatype, (-1, -1))),
            batches=True,
        )
        for datatype in DTYPES
    ),
    Sample(
        name=ADD_SUB,
        does="sum = a + b, difference = a - b",
        inputs=_specs(("a", "INT32", (-1, 4)), ("b", "INT32", (-1, 4))),
        outputs=_specs(("sum", "INT32", (-1, 4)), ("difference", "INT32", (-1, 4))),
        batches=True,
    ),
    Sample(
        name=SEVERAL,
        does="each of three outputs is an input as it came",
        inputs=_specs(("f", "FP32", (-1,)), ("n", "INT64", (-1,)), ("s", "BYTES", (-1,))),
        outputs=_specs(
            ("f_out", "FP32", (-1,)), ("n_out", "INT64", (-1,)), ("s_out", "BYTES", (-1,))
        ),
    ),
    Sample(
        name=SCALAR,
        does="y = x, without a dimension",
        inputs=_specs(("x", "FP32", ())),
        outputs=_specs(("y", "FP32", ())),
    ),
    Sample(
        name=LITERAL,
        does="y = x, without a batch",
        inputs=_specs(("x", "FP32", (-1, 4))),
        outputs=_specs(("y", "FP32", (-1, 4))),
    ),
    Sample(
        name=OPTIONAL,
        does="y = x + bias, and bias may be left out",
        inputs=(*_specs(("x", "FP32", (-1, 4))), _OPTIONAL_BIAS),
        outputs=_specs(("y", "FP32", (-1, 4))),
        batches=True,
    ),
    Sample(
        name=CLASSES,
        does="y = x; classes have names",
        inputs=_specs(("x", "FP32", (-1, 4))),
        outputs=_specs(("y", "FP32", (-1, 4))),
        batches=True,
    ),
    Sample(
        name=SLOW,
        does="multiplies matrices as often as `work` says",
        inputs=_specs(("work", "INT64", (1,))),
        outputs=_specs(("done", "INT64", (1,))),
    ),
    Sample(
        name=FAILING,
        does="y = element x of a table of four; the run fails for any other x",
        inputs=_specs(("x", "INT64", (-1,))),
        outputs=_specs(("y", "FP32", (-1,))),
    ),
    Sample(
        name=VERSIONS,
        does="y = x + the number of the version",
        inputs=_specs(("x", "FP32", (-1,))),
        outputs=_specs(("y", "FP32", (-1,))),
        versions=("2", "10"),
    ),
    Sample(
        name=LOADING,
        does="y = x; loaded and unloaded by the checks",
        inputs=_specs(("x", "FP32", (-1,))),
        outputs=_specs(("y", "FP32", (-1,))),
    ),
    Sample(
        name=SEQUENCE,
        does="y = the sum of all x of the sequence so far",
        inputs=_specs(("x", "FP32", (-1, 1))),
        outputs=_specs(("y", "FP32", (-1, 1))),
        batches=True,
        sequences=True,
    ),
    Sample(
        name=CONTROLS,
        does="y = x; started, ended and id are what the server says of the sequence",
        inputs=_specs(("x", "FP32", (-1, 1))),
        outputs=_specs(
            ("y", "FP32", (-1, 1)),
            ("started", "INT32", (-1, 1)),
            ("ended", "INT32", (-1, 1)),
            ("id", "UINT64", (-1, 1)),
        ),
        batches=True,
        sequences=True,
    ),
    Sample(
        name=REPEAT,
        does="as many responses as `count` says, numbered, with `pause` milliseconds before each",
        inputs=_specs(("count", "INT32", (1,)), ("pause", "INT32", (1,))),
        outputs=_specs(("index", "INT32", (1,))),
        python="Repeat",
        decoupled=True,
    ),
    Sample(
        name=BLOBS,
        does="y = x, for bytes that are no text, which those of ONNX must be",
        inputs=_specs(("x", "BYTES", (-1,))),
        outputs=_specs(("y", "BYTES", (-1,))),
        python="Echo",
    ),
)
BY_NAME = {sample.name: sample for sample in SAMPLES}
