"""Pipelines as users write them, one for each shape of flow: read by the type checker, traced, and
taken from form to form by the tests of pipelines."""

from __future__ import annotations

from typing import Annotated

from fabric import (
    Requirements,
    Value,
    best,
    branch,
    cascade,
    constant,
    each,
    first,
    loop,
    mean,
    op,
    pipeline,
    step,
    switch,
    tensor,
    vote,
    weighted_mean,
)

Image = Annotated[Value, tensor("UINT8", "h", "w", 3)]
Text = Annotated[Value, tensor("BYTES", 1)]


@pipeline(name="read-page")
def read_page(image: Image) -> Value:
    """Reads a page, whichever way up its lines are."""
    boxes = step("text-detector", image=image)
    crops = step("crop-boxes", image=image, boxes=boxes)

    def upright(crop: Value) -> Value:
        turned = step("orientation", crop=crop).label == "180"
        return branch(turned, then=lambda: step("turn", crop=crop), otherwise=crop)

    lines = each(each(crops, upright), lambda crop: step("text-recognizer", crop=crop), batch=True)
    return op.concat(lines)


@pipeline
def sequence(text: Text) -> Value:
    """One after another."""
    tokens = step("tokenizer", text=text)
    logits = step("classifier", ids=tokens.ids, mask=tokens.mask).logits
    return op.label(op.argmax(op.softmax(logits)), ["bad", "good"])


@pipeline(timeout=2.0, parallel=8, streams=True, optional=["rare"])
def parallel(text: Text) -> dict[str, Value]:
    """At the same time, and what takes long only if there is time."""
    language = step("language", text=text, timeout=0.5, cache=60.0)
    topic = step("topic", text=text, share=0.5, tries=2, fallback=["topic-small", "topic-tiny"])
    rare = step("rare", text=text, optional=True, requirements=Requirements(task="rare"))
    return {"language": language, "topic": topic, "rare": rare}


@pipeline
def branching(x: Annotated[Value, tensor("FP32", "rows", 4)]) -> Value:
    """By a threshold; both sides give the same."""
    sure = op.confidence(x, "entropy") > 0.9
    return branch(sure, then=x, otherwise=lambda: step("second-look", x=x), name="whether-sure")


@pipeline
def by_kind(data: Value) -> dict[str, Value]:
    """Whoever knows the kind of a file."""
    kind = step("magika", data=data).label
    read = switch(
        kind,
        {
            "pdf": lambda: {"text": step("pdf-reader", data=data)},
            "png": lambda: {"text": step("read-page", image=step("decoder", data=data))},
        },
        otherwise=lambda: {"text": constant("", shape=[1])},
    )
    return {"text": read.text, "kind": kind}


@pipeline
def optional_parts(text: Text, hint: Annotated[Value, tensor("BYTES", 1, optional=True)]) -> Value:
    """A spelling correction where it is wanted, and the text as it is where not."""
    wanted = step("is-misspelt", text=text).answer
    corrected = step("spelling", text=text, when=wanted, optional=True)
    hinted = step("spelling", {"timeout": hint, "text": text}, name="hinted")
    return op.default([hinted, corrected, text])


@pipeline
def mapped(images: Annotated[Value, tensor("FP32", "n", 3, 32, 32)]) -> Value:
    """Each row on its own, four at a time; the scores in one tensor again."""
    return op.concat(each(images, lambda image: step("digits", image=image), parallel=4))


@pipeline
def ragged(images: Value, counts: Value) -> dict[str, Value]:
    """Two lists in step, of any lengths; crops of many sizes padded to one tensor."""
    found = each((images, counts), lambda image, count: step("finder", image=image, count=count))
    padded = op.pad(found, fill=0.0)
    return {"crops": padded.value, "sizes": padded.sizes}


def is_good(text: Value) -> Value:
    return step("judge", text=text).score >= 0.8


@pipeline
def refined(text: Text, quality: Annotated[Value, tensor("FP32", 1)]) -> dict[str, Value]:
    """Again and again, until it is good or five times."""
    polished = loop(text, lambda text: step("polish", text=text), until=is_good, most=5)
    both = loop(
        {"draft": polished, "score": quality},
        lambda draft, score: {
            "draft": (better := step("improve", draft=draft, score=score)).draft,
            "score": better.score,
            "done": better.score > 0.95,
        },
        until="done",
        most=3,
    )
    return {"text": both.draft, "score": both.score}


@pipeline(optional=["value"])
def voting(x: Value) -> Value:
    """What most of three say."""
    return vote([step(name, x=x, optional=True) for name in ("small", "medium", "large")])


@pipeline
def averages(x: Value) -> dict[str, Value]:
    """Two means of the same models."""
    scores = [step("left", x=x), step("right", x=x)]
    return {"mean": mean(scores), "weighted": weighted_mean(scores, [0.3, 0.7])}


@pipeline
def surest(x: Value) -> Value:
    """The answer of whoever is surest."""
    answers = [step("left", x=x).scores, step("right", x=x).scores]
    return best(answers, [op.confidence(scores, "max") for scores in answers])


@pipeline
def first_success(text: Text) -> Value:
    """The next one where one fails."""
    return first(lambda: step("remote", text=text), lambda: step("local", text=text), timeout=1.5)


@pipeline
def cascading(x: Value) -> Value:
    """The cheap one, and the dear one where that is not sure."""
    return cascade(
        lambda: step("small", x=x),
        lambda: step("large", x=x),
        sure=lambda answer: op.confidence(answer.scores) > 0.6,
    )


@pipeline(optional=["value"])
def mixture(x: Value) -> Value:
    """The mean of those that answer."""
    return mean([step(name, x=x, optional=True, timeout=0.2) for name in ("a", "b", "c")])


@pipeline
def nested(image: Image) -> Value:
    """Another pipeline is called like any model."""
    lines = step(read_page, image=image)
    return op.stack(each(lines, lambda line: step("translate:2", text=line)))


@pipeline
def arithmetic(
    x: Annotated[Value, tensor("FP32", "n", 2)], y: Annotated[Value, tensor("FP32", "n")]
) -> dict[str, Value]:
    """Operators are numpy's."""
    scaled = (1 - x[:, 0]) * 2 / 255.0 + y[0] - 0.5
    inside = (scaled >= 0) & (scaled <= 1) & ~(scaled == 0.5) | (scaled != y)
    return {"scaled": scaled[inside], "last": x[..., ::-1], "known": constant([1, 2], "INT64")}
