"""Which outputs an answer has, and classification."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from fabric.conformance.checks import Rules, expect, expect_equal
from fabric.conformance.requests import expect_output, output, outputs_of, request
from fabric.conformance.samples import ADD_SUB, CLASSES, FP32, SEVERAL
from fabric.conformance.server import INFER, Refused

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from fabric.api.inference.v2 import open_inference_pb2 as pb
    from fabric.conformance.server import Server

rules = Rules("outputs", "OIP v2 gRPC: ModelInferRequest.outputs", ADD_SUB)
classes = Rules(
    "outputs.classification",
    "Triton: classification extension",
    CLASSES,
    extension="classification",
)
_AB = {"a": np.array([[1, 2, 3, 4]], np.int32), "b": np.array([[5, 6, 7, 8]], np.int32)}
_SCORES = np.array([[0.1, 0.7, 0.2, 0.4]], np.float32)


# ------------------------------------------------------------------ which
@rules()
async def all_by_default(server: Server) -> None:
    """A request that names no outputs gets all of them."""
    answer = await server.infer(request(ADD_SUB, _AB))
    expect_equal(sorted(outputs_of(answer)), ["difference", "sum"], "outputs")


@rules()
async def only_those_asked_for(server: Server) -> None:
    """A request that names outputs gets these and no other."""
    answer = await server.infer(request(ADD_SUB, _AB, outputs=["difference"]))
    expect_equal([each.name for each in answer.outputs], ["difference"], "outputs")
    expect_output(answer, "difference", _AB["a"] - _AB["b"])


@rules(SEVERAL)
async def some_of_several(server: Server) -> None:
    """Each output that was asked for has its own elements."""
    f, n, s = np.ones(3, np.float32), np.arange(5), np.array([b"s"], np.object_)
    asked = request(SEVERAL, {"f": f, "n": n, "s": s}, outputs=["s_out", "f_out"])
    answer = await server.infer(asked)
    expect_equal(sorted(each.name for each in answer.outputs), ["f_out", "s_out"], "outputs")
    expect_output(answer, "f_out", f)
    expect_output(answer, "s_out", s)


@rules()
async def unknown(server: Server) -> None:
    """A request that names an output that the model does not have is refused."""
    await server.refused(INFER, request(ADD_SUB, _AB, outputs=["product"]))


@rules()
async def unknown_among_others(server: Server) -> None:
    """One unknown output among known ones is refused, not left out."""
    await server.refused(INFER, request(ADD_SUB, _AB, outputs=["sum", "product"]))


@rules()
async def twice(server: Server) -> None:
    """A request that names an output twice gets it once, or is refused."""
    try:
        answer = await server.infer(request(ADD_SUB, _AB, outputs=["sum", "sum"]))
    except Refused:
        return
    expect_equal([each.name for each in answer.outputs], ["sum"], "outputs")


@rules()
async def have_names_datatypes_and_shapes(server: Server) -> None:
    """Each output says its name, its datatype and its whole shape."""
    answer = await server.infer(request(ADD_SUB, _AB))
    for each in answer.outputs:
        expect_equal((each.datatype, list(each.shape)), ("INT32", [1, 4]), each.name)


@rules()
async def answer_names_the_model(server: Server) -> None:
    """The answer names the model that was asked."""
    answer = await server.infer(request(ADD_SUB, _AB))
    expect_equal(answer.model_name, ADD_SUB, "model_name")


# ------------------------------------------------------------------ classification
async def _classes(server: Server, x: NDArray[Any], count: int) -> pb.ModelInferResponse:
    asked = request(CLASSES, {"x": x}, outputs=[output("y", classification=count)])
    return await server.infer(asked)


def _read(answer: pb.ModelInferResponse) -> list[list[str]]:
    """The parts of each class of the first row."""
    expect_equal(answer.outputs[0].datatype, "BYTES", "datatype")
    rows = outputs_of(answer)["y"]
    return [bytes(item).decode().split(":") for item in rows[0]]


@classes()
async def gives_the_highest(server: Server) -> None:
    """`classification` = n gives the n highest elements, highest first, as value:index:label."""
    answer = await _classes(server, _SCORES, 2)
    found = _read(answer)
    expect_equal([part[1:] for part in found], [["1", "one"], ["3"]], "index and label")
    expect_equal([round(float(part[0]), 4) for part in found], [0.7, 0.4], "values")


@classes()
async def has_the_shape_of_rows(server: Server) -> None:
    """The output then has the shape [batch, n]."""
    answer = await _classes(server, np.repeat(_SCORES, 3, 0), 2)
    expect_equal(list(answer.outputs[0].shape), [3, 2], "shape")


@classes()
async def of_each_row(server: Server) -> None:
    """Each row of a batch is classified by itself."""
    x = np.array([[4, 3, 2, 1], [1, 2, 3, 4]], np.float32)
    answer = await _classes(server, x, 1)
    expect_equal(answer.outputs[0].datatype, "BYTES", "datatype")
    rows = outputs_of(answer)["y"]
    expect_equal([bytes(row[0]).split(b":")[1] for row in rows], [b"0", b"3"], "indices")


@classes()
async def of_more_than_there_are(server: Server) -> None:
    """More classes than there are elements gives all of them."""
    expect_equal(len(_read(await _classes(server, _SCORES, 9))), 4, "number of classes")


@classes()
async def a_class_without_a_label_has_none(server: Server) -> None:
    """A class past the end of the labels is value:index."""
    answer = await _classes(server, np.array([[0, 0, 0, 1]], np.float32), 1)
    expect_equal(len(_read(answer)[0]), 2, "parts")


@classes(FP32)
async def an_output_without_labels(server: Server) -> None:
    """An output that has no labels is classified all the same."""
    asked = request(FP32, {"x": _SCORES}, outputs=[output("y", classification=1)])
    expect_equal(_read(await server.infer(asked))[0][1:], ["1"], "index")


@classes(SEVERAL)
async def leaves_other_outputs(server: Server) -> None:
    """Only the output that asks for it is classified."""
    f, n, s = np.array([1, 3, 2], np.float32), np.arange(3), np.array([b"s"], np.object_)
    wanted = [output("f_out", classification=1), output("n_out")]
    answer = await server.infer(request(SEVERAL, {"f": f, "n": n, "s": s}, outputs=wanted))
    types = {each.name: each.datatype for each in answer.outputs}
    expect_equal(types, {"f_out": "BYTES", "n_out": "INT64"}, "datatypes")
    expect_output(answer, "n_out", n)


@classes()
async def of_a_wrong_kind(server: Server) -> None:
    """`classification` is a whole number: a text is refused."""
    asked = request(CLASSES, {"x": _SCORES}, outputs=[output("y", classification="2")])
    await server.refused(INFER, asked)


@classes()
async def of_none(server: Server) -> None:
    """`classification` = 0 gives the elements, or is refused."""
    asked = request(CLASSES, {"x": _SCORES}, outputs=[output("y", classification=0)])
    try:
        answer = await server.infer(asked)
    except Refused:
        return
    expect(answer.outputs[0].datatype == "FP32", "the elements or an error", answer)


PARTS = (rules, classes)
