"""A folder as it lies on a desk: page images of which the text is known, and other files.

The pages are drawn with the font that Pillow brings along. Equal seeds give equal folders.
"""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw, ImageFont

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (1000, 1300)
"""Of a page, in pixels: width and height."""
MARGIN = 70
TITLE_HEIGHT = 46
LINE_HEIGHT = 27
SPACING = 1.75
"""From one line to the next, in heights of its letters."""
PAPER = 246
INK = 25
GRAIN = 4.0
"""Standard deviation of the scanner's noise, in grey levels of 256."""


@dataclass(frozen=True, slots=True)
class Page:
    file: str
    lines: tuple[str, ...]
    """What is written on it, from top to bottom; the first line is its title."""
    is_turned: bool = False
    """It was laid into the scanner upside down."""

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


PAGES = (
    Page(
        file="letter.png",
        lines=(
            "Notice of a change of rooms",
            "Dear colleagues of the second floor,",
            "from Monday, 14 September, the reading room moves to building 7.",
            "Please return borrowed volumes to the desk before Friday at 16:30.",
            "Shelves A to F will be packed first, G to M on the following day.",
            "The catalogue stays open; only the printed index is not available.",
            "Lockers 101-148 must be empty by noon. Keys go into the grey box.",
            "Questions are answered by Ms Okafor, extension 4417, or by e-mail:",
            "rooms@library.example (subject: MOVE-2026).",
            "Thank you for your patience.",
            "With kind regards",
            "J. Lindqvist, head of services",
        ),
    ),
    Page(
        file="invoice.jpg",
        lines=(
            "Invoice No. 2026-00318",
            "Customer: Harbour Instruments Ltd., 22 Quay Street, Bristol",
            "Date: 3 November 2026",
            "Delivery note: DN-7741-B",
            "12 x pressure sensor PS-40 at 38.50 = 462.00",
            "3 x mounting frame, stainless steel, at 119.00 = 357.00",
            "1 x calibration certificate (ISO 17025) at 85.00 = 85.00",
            "Net total 904.00, VAT 20% 180.80",
            "Amount due: 1,084.80 GBP within 30 days",
            "Account 60-83-71 / 44120958, reference 318/HI",
            "Goods remain our property until they are paid for in full.",
        ),
    ),
    Page(
        file="minutes.png",
        is_turned=True,
        lines=(
            "Minutes of the safety meeting",
            "Present: Adeyemi, Brandt, Castillo, Dvorak, Eriksen",
            "1. The fire doors on level 3 were tested; two of nine did not close.",
            "2. Castillo reports 4 near misses in October, down from 11 in May.",
            "3. New gloves (type K2) arrive in week 47 and replace all old stock.",
            "4. The alarm test takes place every first Tuesday at 9:45.",
            "5. Brandt checks the ladders and signs the list before 1 December.",
            "6. Budget for training: 6,200 of 8,000 spent, the rest is carried over.",
            "Next meeting: Thursday, 10 December, room 0.14",
            "Signed: P. Eriksen",
        ),
    ),
)
SOURCE = '''"""Counts words."""

import sys
from collections import Counter


def main(path: str) -> None:
    with open(path, encoding="utf-8") as file:
        words = Counter(file.read().lower().split())
    for word, count in words.most_common(10):
        print(f"{count:6d}  {word}")


if __name__ == "__main__":
    main(sys.argv[1])
'''
NOTES = """Things to ask the printers on Tuesday

The paper they sent last time was thinner than the sample, and the blue has a touch of green.
Could they hold the second half of the order until the new shelf is there? Somebody should
also tell them that deliveries go to the back door from now on, since the lift at the front
is out of order again.
"""
SETTINGS = {
    "scanner": {"device": "flatbed-2", "dpi": 200, "colour": False},
    "folders": ["incoming", "read", "refused"],
    "retries": 3,
}


def write(folder: Path, seed: int) -> None:
    """Writes the pages to *folder*, and beside them Python source, notes, settings in JSON, a zip
    archive, and an image of which the second half is missing."""
    rng = np.random.default_rng(seed)
    for page in PAGES:
        (folder / page.file).write_bytes(encoded(drawn(page, rng), page.file))
    whole = (folder / PAGES[0].file).read_bytes()
    (folder / "broken.png").write_bytes(whole[: len(whole) // 2])
    (folder / "count_words.py").write_text(SOURCE)
    (folder / "notes.txt").write_text(NOTES)
    (folder / "settings.json").write_text(json.dumps(SETTINGS, indent=2))
    with zipfile.ZipFile(folder / "archive.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(zipfile.ZipInfo("notes.txt"), NOTES)


def drawn(page: Page, rng: np.random.Generator) -> Image.Image:
    """The page as it was scanned: grey levels, with noise, upside down where it was laid so."""
    image = Image.new("L", SIZE, PAPER)
    draw = ImageDraw.Draw(image)
    top = float(MARGIN)
    for line, height in zip(page.lines, _heights(page), strict=True):
        draw.text((MARGIN, top), line, fill=INK, font=ImageFont.load_default(height))
        top += height * SPACING
    noisy = np.asarray(image) + rng.normal(0.0, GRAIN, SIZE[::-1])
    image = Image.fromarray(noisy.clip(0, 255).astype(np.uint8))
    return image.transpose(Image.Transpose.ROTATE_180) if page.is_turned else image


def encoded(image: Image.Image, file: str) -> bytes:
    """The image in the format that the name of *file* says."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG" if file.endswith(".jpg") else "PNG", quality=85)
    return buffer.getvalue()


def _heights(page: Page) -> list[int]:
    return [TITLE_HEIGHT] + [LINE_HEIGHT] * (len(page.lines) - 1)
