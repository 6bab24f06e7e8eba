"""The desk: what kind of file is it, and if it is the image of a page, what stands on it?"""

from __future__ import annotations

from typing import Annotated

from fabric import Value, branch, each, op, pipeline, step, tensor

TURNED = 0.9
"""How likely a line is upside down from which on it is turned."""

Image = Annotated[Value, tensor("UINT8", "height", "width", 3)]
File = Annotated[Value, tensor("BYTES", 1)]


@pipeline(name="read-page")
def read_page(image: Image) -> Value:
    """The text of a page, whichever way up each of its lines is."""
    prepared = step("detector-input", image=image)
    likely = step("text-detector", x=prepared.x)
    boxes = step("text-boxes", map=likely, size=prepared.size)
    lines = step("crop-boxes", image=image, boxes=boxes)

    def upright(crop: Value, width: Value) -> dict[str, Value]:
        way = step("line-orientation", x=step("orientation-input", crops=crop, widths=width))
        turned = branch(
            way[:, 1] > TURNED,
            then=lambda: step("turn", crops=crop, widths=width),
            otherwise=crop,
        )
        return {"crop": turned, "way": way}

    def read(crop: Value, width: Value) -> dict[str, Value]:
        letters = step("text-recognizer", x=step("recognizer-input", crops=crop, widths=width))
        line = step("line-text", index=letters.index, score=letters.score)
        return {"text": line.text, "confidence": line.confidence}

    upright_lines = each((lines.crops, lines.widths), upright, batch=True)
    # Each line alone is as wide as it is: together all would be as wide as the widest.
    texts = each((upright_lines.crop, lines.widths), read)
    return step(
        "page-text",
        text=op.concat(texts.text),
        confidence=op.concat(texts.confidence),
        orientation=op.concat(upright_lines.way),
    )


@pipeline(name="desk", optional=["text"])
def desk(content: File) -> dict[str, Value]:
    """What kind of file it is; of the image of a page also its text, if it can be read."""
    features = step("file-features", content=content)
    kind = step("file-kind", bytes=features, target_label=step("file-type", bytes=features))
    is_image = kind.group == "image"
    image = step("decode-image", content=content, when=is_image, optional=True)
    text = step("read-page", image=image)
    return {"label": kind.label, "group": kind.group, "score": kind.score, "text": text}
