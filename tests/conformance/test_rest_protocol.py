"""REST as any HTTP client meets it: paths, verbs, documents, binary data, codings and errors."""

# ruff: noqa: E501 - texts that clients match are kept whole
from __future__ import annotations

import gzip
import json
import zlib

import httpx
import numpy as np
import pytest

import fabric

X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}
JSON_LENGTH = "inference-header-content-length"


@pytest.fixture(scope="session")
def http(models):
    with httpx.Client(base_url=f"http://{models.address}", trust_env=False, timeout=20) as client:
        client.headers["accept-encoding"] = "identity"
        yield client


def ask(http, model="double", *inputs, headers=None, **document):
    document = {"inputs": list(inputs) or [X], **document}
    return http.post(f"/v2/models/{model}/infer", content=json.dumps(document), headers=headers)


def refusal(response):
    """Status and text of an error."""
    assert response.headers["content-type"] == "application/json"
    (text,) = response.json().values()
    return response.status_code, text


def data_of(response, output=0):
    assert response.status_code == 200, response.text
    return response.json()["outputs"][output]["data"]


# ------------------------------------------------------------------ queries
def test_the_server_says_who_it_is_and_that_it_is_well(http):
    """Both by status and by document."""
    assert http.get("/v2").json()["name"] == "fabric"
    assert http.get("/v2").json()["version"] == fabric.__version__
    live, ready = http.get("/v2/health/live"), http.get("/v2/health/ready")
    assert (live.status_code, live.json()) == (200, {"live": True})
    assert (ready.status_code, ready.json()) == (200, {"ready": True})


def test_a_model_that_would_not_answer_is_not_ready(http):
    """By a status that probes understand; one that nobody knows is not found."""
    ready = http.get("/v2/models/double/ready")
    assert (ready.status_code, ready.json()) == (200, {"name": "double", "ready": True})
    assert http.get("/v2/models/double/versions/1/ready").status_code == 200
    absent = http.get("/v2/models/absent/ready")
    assert (absent.status_code, absent.json()) == (400, {"name": "absent", "ready": False})
    text = "Request for unknown model: 'none' is not found"
    assert refusal(http.get("/v2/models/none/ready")) == (404, text)


def test_whole_numbers_are_numbers(http):
    """Shapes are, which protobuf's own JSON writes as texts."""
    metadata = http.get("/v2/models/double/versions/2").json()
    assert metadata["inputs"] == [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}]
    assert metadata["versions"] == ["2", "1"]


# ------------------------------------------------------------------ paths and verbs
@pytest.mark.parametrize("path", ["/", "/v1", "/v2/nothing", "/v2/models", "/v2/models//infer"])
def test_a_path_that_leads_nowhere_is_named(http, path):
    """As JSON, like every error."""
    assert refusal(http.get(path)) == (404, f"there is nothing at {path}")


def test_a_wrong_verb_is_told_the_right_ones(http):
    """In `Allow`, as HTTP has it."""
    response = http.get("/v2/models/double/infer")
    assert refusal(response) == (405, "GET is not allowed for /v2/models/double/infer")
    assert response.headers["allow"] == "OPTIONS, POST"
    assert http.put("/v2/logging").headers["allow"] == "GET, HEAD, OPTIONS, POST"
    options = http.options("/v2")
    assert (options.status_code, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS")


def test_head_is_get_without_a_body(http):
    """With the length that it would have."""
    head, got = http.head("/v2"), http.get("/v2/")
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["content-length"] == str(len(got.content))


def test_names_in_paths_are_percent_encoded(http):
    """A slash in a name is no slash in the path."""
    assert http.get("/v2/models/do%75ble/ready").status_code == 200
    response = http.get("/v2/models/a%2Fb%20%C3%BC/ready")
    assert refusal(response) == (404, "Request for unknown model: 'a/b ü' is not found")
    for path in ("%FF", "%C3", "%ED%A0%80", "%F4%90%80%80", "%x"):
        assert http.get(f"/v2/models/{path}/ready").status_code == 400
    for path in ("%F0%9F%98%80", "%EF%BF%BF", "%00"):
        assert http.get(f"/v2/models/{path}/ready").status_code == 404


def test_a_grpc_call_that_is_no_grpc_is_refused_by_its_type(http):
    """As gRPC over HTTP has it."""
    assert http.post("/inference.GRPCInferenceService/ServerLive").status_code == 415


# ------------------------------------------------------------------ inference
@pytest.mark.parametrize("data", [[1, 2, 3, 4], [[1, 2], [3, 4]]])
def test_elements_are_flat_or_nested(http, data):
    """And always flat in answers."""
    response = ask(http, "double", {**X, "shape": [2, 2], "data": data}, id="r-1")
    document = response.json()
    assert (document["id"], document["model_name"]) == ("r-1", "double")
    (output,) = document["outputs"]
    assert output == {"name": "y", "datatype": "FP32", "shape": [2, 2], "data": [2, 4, 6, 8]}
    assert document["model_version"] == document["parameters"]["fabric_version"] == "2"


def test_an_answer_says_who_gave_it(http):
    """In its parameters, of routes as of specialists."""
    parameters = ask(http, "doubling").json()["parameters"]
    assert parameters["fabric_specialist"] == "double"
    assert parameters["fabric_route"] == "doubling"
    assert (parameters["fabric_attempts"], parameters["fabric_fallback"]) == (1, False)


@pytest.mark.parametrize(
    ("datatype", "values"),
    [
        ("BOOL", [True, False]),
        ("INT8", [-128, 127]),
        ("INT16", [-(2**15), 2**15 - 1]),
        ("INT32", [-(2**31), 2**31 - 1]),
        ("INT64", [-(2**63), 2**63 - 1]),
        ("UINT8", [0, 255]),
        ("UINT16", [0, 2**16 - 1]),
        ("UINT32", [0, 2**32 - 1]),
        ("UINT64", [0, 2**64 - 1]),
        ("FP32", [0.5, -1]),
        ("FP64", [0.1, 1e300]),
        ("BYTES", ["", "ü", 'a"\\b\n']),
    ],
)
def test_every_datatype_of_json_comes_back(http, datatype, values):
    """To its bounds."""
    tensor = {"name": "x", "datatype": datatype, "shape": [len(values)], "data": values}
    assert data_of(ask(http, f"copy-{datatype.lower()}", tensor)) == values


def test_what_is_no_number_comes_back(http):
    """Under the names that every JSON library of the clients knows."""
    values = [float("nan"), float("inf"), float("-inf")]
    tensor = {"name": "x", "datatype": "FP32", "shape": [3], "data": values}
    response = ask(http, "copy-fp32", tensor)
    assert '"data":[NaN,Infinity,-Infinity]' in response.text


def test_scalars_and_empty_tensors_come_back(http):
    """No dimension is one element, and a dimension of zero is none."""
    assert data_of(ask(http, "scalar", {**X, "shape": [], "data": [2.5]})) == [2.5]
    assert data_of(ask(http, "double", {**X, "shape": [0, 2], "data": []})) == []


def binary(tensors, raw, **document):
    """Headers and body of a request with *raw* behind its JSON."""
    head = json.dumps({"inputs": tensors, **document}).encode()
    return {JSON_LENGTH: str(len(head))}, head + raw


def test_elements_may_be_binary_both_ways(http):
    """Behind the JSON, in order, those of other inputs between them."""
    tensors = [
        {"name": "a", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}},
        {"name": "n", "datatype": "INT64", "shape": [1], "data": [7]},
        {"name": "b", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}},
    ]
    raw = np.array([1, 2, 3, 5], np.float32).tobytes()
    outputs = [
        {"name": "difference", "parameters": {"binary_data": True}},
        {"name": "m"},
        {"name": "sum", "parameters": {"binary_data": True}},
    ]
    headers, body = binary(tensors, raw, outputs=outputs)
    response = http.post("/v2/models/arithmetic/infer", content=body, headers=headers)
    assert response.headers["content-type"] == "application/octet-stream"
    length = int(response.headers[JSON_LENGTH])
    document = json.loads(response.content[:length])
    found = {output["name"]: output for output in document["outputs"]}
    assert found["sum"]["parameters"] == {"binary_data_size": 8}
    assert found["m"]["data"] == [7]
    assert "data" not in found["sum"]
    elements = np.frombuffer(response.content[length:], np.float32)
    assert elements.tolist() == [-2, -3, 4, 7]


def test_all_outputs_are_binary_where_the_request_says_so(http):
    """But for those that say otherwise."""
    wish = {"binary_data_output": True}
    response = ask(http, "double", parameters=wish)
    assert np.frombuffer(response.content[-8:], np.float32).tolist() == [2, 4]
    outputs = [{"name": "y", "parameters": {"binary_data": False}}]
    assert data_of(ask(http, "double", parameters=wish, outputs=outputs)) == [2, 4]


@pytest.mark.parametrize("model", ["double", "doubling"])
def test_a_body_may_be_the_elements_alone(http, model):
    """Of a model with one input, for the header that says that there is no JSON."""
    x = np.array([[1, 2], [3, 4]], np.float32)
    path, headers = f"/v2/models/{model}/infer", {JSON_LENGTH: "0"}
    response = http.post(path, content=x.tobytes(), headers=headers)
    document = json.loads(response.content[: int(response.headers[JSON_LENGTH])])
    assert document["outputs"][0]["shape"] == [2, 2]
    assert np.frombuffer(response.content[-16:], np.float32).tolist() == [2, 4, 6, 8]
    status, text = refusal(http.post(path, content=x.tobytes()[:-1], headers=headers))
    assert (status, text) == (
        400,
        "input byte size mismatch for input 'x' for model 'double'. Expected 8, got 15",
    )


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_half_floats_are_binary_only(http, datatype):
    """Clients know the words."""
    model = f"copy-{datatype.lower()}"
    tensor = {"name": "x", "datatype": datatype, "shape": [1]}
    text = f"receiving {datatype} data via JSON is not supported. Please use the binary data format for input x"
    assert refusal(ask(http, model, {**tensor, "data": [1]})) == (400, text)
    headers, body = binary([{**tensor, "parameters": {"binary_data_size": 2}}], b"\1\2")
    response = http.post(f"/v2/models/{model}/infer", content=body, headers=headers)
    text = f"sending {datatype} data via JSON is not supported. Please use the binary data format for output x"
    assert refusal(response) == (400, text.replace("output x", "output y"))


def test_a_sequence_is_one_by_rest_too(http):
    """Its parameters are those of gRPC."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 1]}
    sums = []
    for place, value in enumerate((1, 2, 4)):
        said = {"sequence_start": place == 0, "sequence_end": place == 2}
        parameters = {"sequence_id": "by-rest", **said}
        answer = ask(http, "accumulate", tensor | {"data": [value]}, parameters=parameters)
        sums += data_of(answer)
    assert sums == [1, 3, 7]


def test_an_output_may_be_classes_instead(http):
    """Texts of value and index, the best first."""
    outputs = [{"name": "y", "parameters": {"classification": 1}}]
    response = ask(http, "double", {**X, "data": [1, 3]}, outputs=outputs)
    assert response.json()["outputs"][0]["datatype"] == "BYTES"
    assert [text.split(":")[1] for text in data_of(response)] == ["1"]


# ------------------------------------------------------------------ codings
PACK = {"gzip": gzip.compress, "deflate": zlib.compress}
UNPACK = {"gzip": gzip.decompress, "deflate": zlib.decompress}


@pytest.mark.parametrize("coding", PACK)
def test_bodies_are_packed_both_ways(http, coding):
    """When the client packs its own, and takes packed ones."""
    body = PACK[coding](json.dumps({"inputs": [X]}).encode())
    headers = {"content-encoding": coding, "accept-encoding": coding}
    with http.stream("POST", "/v2/models/double/infer", content=body, headers=headers) as response:
        assert response.headers["content-encoding"] == coding
        document = json.loads(UNPACK[coding](b"".join(response.iter_raw())))
    assert document["outputs"][0]["data"] == [2, 4]


@pytest.mark.parametrize("coding", [*PACK, "br"])
def test_a_body_that_is_not_what_it_says_is_refused(http, coding):
    """So is a coding that nobody knows."""
    status, text = refusal(ask(http, headers={"content-encoding": coding}))
    assert (status, coding in text) == (415 if coding == "br" else 400, True)


# ------------------------------------------------------------------ errors
def no_shape():
    return {key: value for key, value in X.items() if key != "shape"}


@pytest.mark.parametrize(
    ("document", "text"),
    [
        ("", "failed to parse the request JSON buffer: Expecting value at 0"),
        ("[]", "the request must be a JSON object"),
        ("{}", "the request must have 'inputs', a list of tensors"),
        ("[" * 100_000, "failed to parse the request JSON buffer: it is nested too deep"),
        ({"inputs": [1]}, "each of 'inputs' must be a JSON object"),
        ({"inputs": [no_shape()]}, "input 'x' must have a 'shape', a list of whole numbers"),
        ({"inputs": [{**X, "shape": [1, 3]}]}, "unexpected shape for input 'x' for model 'double'. Expected [-1,2], got [1,3]. "),
        ({"inputs": [{**X, "shape": [2**64]}]}, "the shape of input 'x' is not valid: Value out of range: 18446744073709551616"),
        ({"inputs": [{**X, "shape": [True, 2]}]}, "input 'x' must have a 'shape', a list of whole numbers"),
        ({"inputs": [{**X, "data": [1]}]}, "input byte size mismatch for input 'x' for model 'double'. Expected 8, got 4"),
        ({"inputs": [{**X, "data": [[1], 2]}]}, "the 'data' of input 'x' must be a list, flat or evenly nested"),
        ({"inputs": [{**X, "data": [1, [2]]}]}, "[2] is no FP32 of input 'x'"),
        ({"inputs": [{**X, "data": ["1", 2]}]}, '"1" is no FP32 of input \'x\''),
        ({"inputs": [{**X, "datatype": "FP31"}]}, "invalid datatype for input x"),
        ({"inputs": [{**X, "datatype": "INT8", "data": [1, 128]}]}, "input 'x' of datatype INT8: Python integer 128 out of bounds for int8"),
        ({"inputs": [X, X]}, "input 'x' already exists in request"),
        ({"inputs": [X], "outputs": [{"name": "z"}]}, "unexpected inference output 'z' for model 'double'"),
        ({"inputs": [X], "parameters": {"a": [1]}}, "parameter 'a' must be a bool, a number or a text"),
        ({"inputs": [X], "parameters": {"fabric_domian": "a"}}, "unknown parameter 'fabric_domian'; did you mean 'fabric_domain'?"),
        ({"inputs": [X], "id": 7}, "the request must have 'id', a text"),
        ({"inputs": [{**X, "parameters": {"binary_data_size": 8}}]}, "unexpected size for input 'x', expecting 8 bytes of binary data for model 'double' but 0 are there"),
    ],
)  # fmt: skip
def test_a_request_that_is_wrong_is_refused(http, document, text):
    """In the words of gRPC where it has the same."""
    content = document if isinstance(document, str) else json.dumps(document)
    response = http.post("/v2/models/double/infer", content=content)
    assert refusal(response) == (400, text)


def test_bytes_that_nobody_asked_for_are_refused(http):
    """They would be those of another input."""
    headers, body = binary([X], b"1234")
    response = http.post("/v2/models/double/infer", content=body, headers=headers)
    text = "unexpected additional input data for model 'double': 4 bytes"
    assert refusal(response) == (400, text)


@pytest.mark.parametrize("length", ["-1", "x", "100000", "9" * 30])
def test_a_length_that_is_none_is_refused(http, length):
    """By the header's name."""
    status, text = refusal(ask(http, headers={JSON_LENGTH: length}))
    assert (status, text.startswith("Inference-Header-Content-Length is")) == (400, True)


def test_errors_have_the_status_of_their_kind(http):
    """And the text that gRPC has."""
    text = "Request for unknown model: 'none' is not found"
    assert refusal(ask(http, "none")) == (404, text)
    assert refusal(ask(http, "absent")) == (503, "no replica of 'absent:1' is ready")


def test_a_deadline_rides_in_a_header(http):
    """In seconds, and what is none is refused."""
    assert ask(http, headers={"fabric-timeout": "5.5"}).status_code == 200
    assert refusal(ask(http, headers={"fabric-timeout": "0"}))[0] == 504
    for text in ("soon", "-1", "nan", "inf"):
        status, said = refusal(ask(http, headers={"fabric-timeout": text}))
        assert (status, said) == (
            400,
            f"Fabric-Timeout '{text}' is no number of seconds, such as 1.5",
        )


# ------------------------------------------------------------------ size
def test_large_documents_pass_both_ways(http):
    """A million numbers in, and as many out."""
    x = np.arange(1 << 20, dtype=np.float32)
    tensor = {**X, "shape": [x.size // 2, 2], "data": x.tolist()}
    assert data_of(ask(http, "doubling", tensor)) == (2 * x).tolist()
    tensor["data"][-1] = "x"
    assert refusal(ask(http, "doubling", tensor)) == (400, "\"x\" is no FP32 of input 'x'")


def test_large_binary_bodies_pass_both_ways(http):
    """32 MiB in and 32 MiB out, whole."""
    x = np.arange(8 << 20, dtype=np.float32)
    tensor = {**X, "shape": [x.size // 2, 2], "parameters": {"binary_data_size": x.nbytes}}
    headers, body = binary([tensor], x.tobytes(), parameters={"binary_data_output": True})
    response = http.post("/v2/models/double/infer", content=body, headers=headers)
    length = int(response.headers[JSON_LENGTH])
    np.testing.assert_array_equal(np.frombuffer(response.content[length:], np.float32), 2 * x)
