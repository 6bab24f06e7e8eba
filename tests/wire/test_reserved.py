"""Reserved parameters mean what they mean to Triton."""

# ruff: noqa: E501 - texts that clients match are kept whole
from __future__ import annotations

import math

import pytest

from fabric.api.inference.v2.open_inference_pb2 import ModelInferRequest
from fabric.core.errors import InvalidRequest
from fabric.wire.kinds import Step
from fabric.wire.reserved import NO_TERMS, step_of, terms_of


def parameters(**said):
    return ModelInferRequest(
        parameters={name: {kind: v} for name, (kind, v) in said.items()}
    ).parameters


def test_a_request_without_parameters_asks_for_nothing():
    """Nor do those that are the caller's own, or that others read."""
    own = parameters(
        a=("bool_param", True),
        b=("int64_param", -1),
        c=("string_param", "c"),
        d=("double_param", 0.5),
        headers=("uint64_param", 1),
        fabric_task=("string_param", "digit"),
        triton_enable_empty_final_response=("bool_param", True),
        binary_data_output=("bool_param", True),
    )
    assert terms_of({}) == terms_of(own) == NO_TERMS


@pytest.mark.parametrize(
    ("kind", "value", "priority"),
    [("uint64_param", 2**64 - 1, 2**64 - 1), ("int64_param", 3, 3), ("string_param", "3", 3)],
)
def test_priorities_are_whole_numbers(kind, value, priority):
    """Of any field that clients use."""
    assert terms_of(parameters(priority=(kind, value))).priority == priority


@pytest.mark.parametrize(
    ("kind", "value", "patience"),
    [("int64_param", 1_500_000, 1.5), ("uint64_param", 1, 1e-6), ("int64_param", 0, math.inf)],
)
def test_timeouts_are_microseconds(kind, value, patience):
    """And zero is none."""
    assert terms_of(parameters(timeout=(kind, value))).patience == patience


@pytest.mark.parametrize(
    ("said", "step"),
    [
        ({}, None),
        ({"sequence_id": ("int64_param", 0)}, None),
        ({"sequence_id": ("string_param", "")}, None),
        ({"sequence_start": ("bool_param", True)}, None),
        ({"sequence_id": ("int64_param", 5)}, Step(5, starts=False, ends=False)),
        ({"sequence_id": ("uint64_param", 2**63)}, Step(2**63, starts=False, ends=False)),
        (
            {"sequence_id": ("string_param", "s"), "sequence_start": ("bool_param", True)},
            Step("s", starts=True, ends=False),
        ),
        (
            {"sequence_id": ("string_param", "s"), "sequence_end": ("bool_param", True)},
            Step("s", starts=False, ends=True),
        ),
    ],
)
def test_sequences_have_an_id(said, step):
    """A number or a text; without one there is no sequence."""
    assert step_of(parameters(**said)) == step
    assert terms_of(parameters(**said)).sequence == step


@pytest.mark.parametrize(
    ("name", "kind", "value", "text"),
    [
        ("priority", "int64_param", -1, "invalid value for 'priority', expected value >= 0."),
        ("priority", "double_param", 1, "invalid value type for 'priority' parameter, expected int64_param or uint64_param."),
        ("priority", "string_param", "high", "invalid value type for 'priority' parameter, expected int64_param or uint64_param."),
        ("priority", "string_param", "9" * 5000, "invalid value type for 'priority' parameter, expected int64_param or uint64_param."),
        ("timeout", "int64_param", -1, "invalid value for 'timeout', expected value >= 0."),
        ("timeout", "string_param", "1", "invalid value type for 'timeout' parameter, expected int64_param or uint64_param."),
        ("sequence_id", "bool_param", True, "invalid value type for 'sequence_id' parameter, expected int64_param or string_param."),
        ("sequence_start", "int64_param", 1, "invalid value type for 'sequence_start' parameter, expected bool_param."),
        ("sequence_end", "int64_param", 1, "invalid value type for 'sequence_end' parameter, expected bool_param."),
        ("binary_data_output", "int64_param", 1, "invalid value type for 'binary_data_output' parameter, expected bool_param."),
        ("triton_enable_empty_final_response", "int64_param", 1, "invalid value type for 'triton_enable_empty_final_response' parameter, expected bool_param."),
        ("triton_final_response", "bool_param", True, "parameter keys starting with 'triton_' are reserved for Triton usage. Only the following keys starting with 'triton_' are allowed: triton_enable_empty_final_response. Rename 'triton_final_response'"),
        ("mine", "uint64_param", 1, "invalid value type for 'mine' parameter, expected int64_param, bool_param, string_param or double_param."),
    ],
)  # fmt: skip
def test_what_is_not_of_its_type_or_value_is_refused(name, kind, value, text):
    """In Triton's words."""
    with pytest.raises(InvalidRequest) as caught:
        terms_of(parameters(**{name: (kind, value)}))
    assert caught.value.message == text


def test_a_parameter_without_a_value_is_refused():
    """It is of no type at all."""
    request = ModelInferRequest()
    request.parameters["mine"].SetInParent()
    with pytest.raises(InvalidRequest, match="invalid value type for 'mine' parameter"):
        terms_of(request.parameters)
