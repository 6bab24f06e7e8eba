"""Policies as ONNX models."""

import numpy as np
import onnxruntime
import pytest

from fabric.learning.export import to_onnx
from fabric.learning.training import Training, fit
from tests.learning import tables

QUICK = Training(trees=8)


def run(model: bytes, **given: np.ndarray) -> np.ndarray:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    return session.run(["probabilities"], given)[0]


@pytest.mark.parametrize("stages", [("prior", "numbers"), ("prior", "numbers", "forest")])
def test_a_policy_of_numbers_answers_them_as_onnx(stages):
    """A model made of a policy of numbers says what the policy says, of odd numbers too."""
    made = tables.of_numbers()
    learned = fit(made, Training(trees=8, stages=stages))
    numbers = np.array([query.numbers for query in made.queries], dtype=np.float32)[:60]
    numbers[3, 0], numbers[4, 1], numbers[5, 2] = np.nan, np.inf, -1e30
    queries = [tables.Query(numbers=tuple(map(float, row))) for row in numbers]

    answered = run(to_onnx(learned), numbers=numbers)

    expected = [learned.predict(query, learned.candidates) for query in queries]
    assert answered == pytest.approx(np.array(expected), abs=1e-5)


def test_a_policy_of_texts_answers_their_features_as_onnx():
    """A model made of a policy of texts takes what the policy makes of each query."""
    made = tables.of_texts(tagged=True)
    learned = fit(made, QUICK)
    queries = made.queries[:60]
    features = np.array([learned.inputs(query) for query in queries])

    answered = run(to_onnx(learned), features=features)

    expected = [learned.predict(query, learned.candidates) for query in queries]
    assert features.shape == (60, learned.width)
    assert answered == pytest.approx(np.array(expected), abs=1e-5)
