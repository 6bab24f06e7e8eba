"""A model's configuration, as clients of Triton ask for it."""

from __future__ import annotations

import grpc
import pytest
from tritonclient.utils import InferenceServerException

TENSORS = {
    "input": [{"name": "x", "data_type": "TYPE_FP32", "dims": ["2"]}],
    "output": [{"name": "y", "data_type": "TYPE_FP32", "dims": ["2"]}],
}


def test_a_models_configuration_is_what_it_was_declared_with(server):
    """In Triton's words, with dims that leave out the batch dimension."""
    config = server.get_model_config("batched", as_json=True)["config"]
    assert config == {
        "name": "batched",
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "version_policy": {"all": {}},
        "max_batch_size": 8,
        **TENSORS,
        "dynamic_batching": {
            "default_queue_policy": {"allow_timeout_override": True, "max_queue_size": 1024}
        },
        "instance_group": [{"name": "batched_0", "kind": "KIND_CPU", "count": 1}],
        "default_model_filename": "double.onnx",
        "parameters": {
            "intra_op_thread_count": {"string_value": "1"},
            "inter_op_thread_count": {"string_value": "1"},
        },
    }


def test_shapes_are_whole_where_nothing_is_batched(server):
    """As in the metadata."""
    config = server.get_model_config("double", "1").config
    assert (config.max_batch_size, list(config.input[0].dims)) == (0, [-1, 2])


def test_a_routes_configuration_has_the_tensors_of_its_first_candidate(server):
    """Under the route's name, and metadata say the same."""
    config = server.get_model_config("doubling").config
    assert (config.name, config.platform) == ("doubling", "route")
    assert list(config.input[0].dims) == [-1, 2]
    assert server.get_model_metadata("doubling").platform == "route"


@pytest.mark.parametrize(
    ("model", "version", "code", "message"),
    [
        ("none", "", grpc.StatusCode.NOT_FOUND, "Request for unknown model: 'none' is not found"),
        ("double", "7", grpc.StatusCode.NOT_FOUND, "'double' version 7 is not found"),
        ("absent", "", grpc.StatusCode.UNAVAILABLE, "'absent' is not ready"),
    ],
)
def test_who_has_no_configuration_says_why(server, model, version, code, message):
    """Unknown models are not those whose signature is not known yet."""
    for query in (server.get_model_config, server.get_model_metadata):
        with pytest.raises(InferenceServerException, match=message) as caught:
            query(model, version)
        assert caught.value.status() == f"StatusCode.{code.name}"
