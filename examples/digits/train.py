"""Train one specialist per domain and one generalist on all of them, and export to ONNX.

All six networks have the same layers and follow the same procedure: the same optimiser and the
same rule for stopping, a plateau of the training loss. They differ in the domains they see.
"""

import hashlib
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier
from threadpoolctl import threadpool_limits

from examples.digits.data import CLASSES, DOMAINS, PIXELS, Images, Labels, Split, load

Progress = Callable[[str], None]

SEED = 0
HIDDEN = 12
LEAST_SCALE = 0.1
LONGEST = 1000
TOLERANCE = 1e-4
OPSET = 17
IR_VERSION = 9
GENERALIST = "digits-generalist"


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A network behind a standardisation: mean and scale float64 [64]."""

    mean: NDArray[np.float64]
    scale: NDArray[np.float64]
    network: MLPClassifier

    def probabilities(self, images: Images) -> NDArray[np.float64]:
        """Class probabilities float64 [N, 10] of images float32 [N, 64]."""
        return np.asarray(self.network.predict_proba((images - self.mean) / self.scale))


@dataclass(frozen=True, slots=True)
class Trained:
    """An exported model, with its accuracy per domain on the validation part."""

    name: str
    domains: tuple[str, ...]
    path: Path
    parameters: int
    accuracy: dict[str, float]
    rows: int
    """Images that the accuracy in each domain is measured on."""
    sha256: str
    seconds: float
    epochs: int


def train_portfolio(folder: Path, progress: Progress, seed: int = SEED) -> list[Trained]:
    """Train and export the five specialists, in the order of `DOMAINS`, then the generalist."""
    folder.mkdir(parents=True, exist_ok=True)
    digits = load(seed)
    plan = {f"digits-{domain}": (domain,) for domain in DOMAINS} | {GENERALIST: DOMAINS}
    trained = []
    for name, domains in plan.items():
        one = _train_one(name, domains, digits.train, digits.validation, folder, seed)
        progress(_line(one))
        trained.append(one)
    return trained


def fit(images: Images, labels: Labels, seed: int) -> Model:
    """Train on images float32 [N, 64] and labels int64 [N] until the loss stops falling."""
    mean = images.mean(axis=0, dtype=np.float64)
    scale = np.maximum(images.std(axis=0, dtype=np.float64), LEAST_SCALE)
    network = MLPClassifier(
        hidden_layer_sizes=(HIDDEN,),
        alpha=0.1,
        batch_size=128,
        learning_rate_init=0.01,
        max_iter=LONGEST,
        tol=TOLERANCE,
        n_iter_no_change=10,
        random_state=seed,
    )
    with threadpool_limits(limits=1), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        network.fit((images - mean) / scale, labels)
    return Model(mean, scale, network)


def export_onnx(model: Model, path: Path) -> None:
    """Write the model as a graph from `image` float32 [N, 64] to `label` and `probabilities`.

    `label` is int64 [N] and `probabilities` float32 [N, 10].
    """
    nodes = [
        helper.make_node("Gemm", ["image", "hidden_weights", "hidden_bias"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "output_weights", "output_bias"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "digits",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", PIXELS])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", CLASSES]),
        ],
        [numpy_helper.from_array(value, name) for name, value in folded(model).items()],
    )
    opset = helper.make_opsetid("", OPSET)
    proto = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION)
    onnx.checker.check_model(proto, full_check=True)
    path.write_bytes(proto.SerializeToString(deterministic=True))


def folded(model: Model) -> dict[str, NDArray[np.float32]]:
    """Weights float32 [64, H] and [H, 10] with their biases, the standardisation folded in."""
    first, second = model.network.coefs_
    first_bias, second_bias = model.network.intercepts_
    weights = first / model.scale[:, None]
    parts = {
        "hidden_weights": weights,
        "hidden_bias": first_bias - model.mean @ weights,
        "output_weights": second,
        "output_bias": second_bias,
    }
    return {name: value.astype(np.float32) for name, value in parts.items()}


def predict(path: Path, images: Images) -> tuple[Labels, Images]:
    """Run a file: labels int64 [N] and probabilities float32 [N, 10] of images float32 [N, 64]."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    labels, probabilities = session.run(["label", "probabilities"], {"image": images})
    return labels, probabilities


def verify(model: Model, path: Path, images: Images) -> None:
    """Raise ValueError unless the file answers images float32 [N, 64] as scikit-learn does.

    Labels are compared except where the two best classes tie within the tolerance.
    """
    tolerance = 1e-4
    labels, probabilities = predict(path, images)
    expected = model.probabilities(images)
    if not np.allclose(probabilities, expected, rtol=0.0, atol=tolerance):
        raise ValueError(f"{path.name}: probabilities differ from scikit-learn's")
    second, best = np.sort(expected, axis=1)[:, -2:].T
    clear = best - second > 2 * tolerance
    if not np.array_equal(labels[clear], model.network.classes_[expected.argmax(axis=1)][clear]):
        raise ValueError(f"{path.name}: labels differ from scikit-learn's")


def accuracy(path: Path, split: Split) -> dict[str, float]:
    """Share of right labels that a file gives, per domain of a split."""
    return {
        domain: float(np.mean(predict(path, images)[0] == split.labels[domain]))
        for domain, images in split.images.items()
    }


def _train_one(
    name: str, domains: tuple[str, ...], train: Split, validation: Split, folder: Path, seed: int
) -> Trained:
    """Train on the given domains, export, check the file, and measure it on validation."""
    path = folder.resolve() / f"{name}.onnx"
    started = time.perf_counter()
    model = fit(*train.join(domains), seed)
    seconds = time.perf_counter() - started
    export_onnx(model, path)
    verify(model, path, validation.join(DOMAINS)[0])
    return Trained(
        name=name,
        domains=domains,
        path=path,
        parameters=sum(value.size for value in folded(model).values()),
        accuracy=accuracy(path, validation),
        rows=len(validation.labels[DOMAINS[0]]),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        seconds=seconds,
        epochs=int(model.network.n_iter_),
    )


def _line(one: Trained) -> str:
    """One line of progress, with the mean accuracy on the model's own domains."""
    mean = sum(one.accuracy[domain] for domain in one.domains) / len(one.domains)
    return (
        f"{one.name}: {one.parameters} parameters, {one.epochs} epochs in {one.seconds:.1f} s, "
        f"validation accuracy {mean:.1%}"
    )
