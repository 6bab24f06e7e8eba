"""The examples run, and end as they say."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.timeout(180)
def test_the_digits_demo_answers_every_request():
    """Without Ray, so that it is quick: specialists, routes and a kill -9, and nothing is left.

    The route that is told no domain closes most of the gap between the best model and the oracle.
    """
    done = subprocess.run(
        [sys.executable, "-m", "examples.digits", "--host", "local"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    learned = re.search(r"by what it learned.* (\d+) % \[(\d+), \d+\]", done.stdout)
    assert learned, done.stdout
    assert int(learned[1]) > 55
    assert int(learned[2]) > 45
    assert "the specialist was back" in done.stdout
    assert "processes are gone" in done.stdout


@pytest.mark.timeout(120)
def test_a_triton_repository_is_served_to_its_client():
    """What is not as it was is told first."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.from_triton"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    told, answer = done.stdout.splitlines()
    assert told.startswith("double: dynamic_batching.max_queue_delay_microseconds: not needed")
    assert answer == "double 2 [[2.0, 4.0, 6.0]]"


@pytest.mark.timeout(240)
def test_the_documents_demo_reads_no_page_worse_than_rapidocr():
    """Files are told apart, also pages upside down are read, and a broken image costs nothing."""
    done = subprocess.run(
        [sys.executable, "-m", "examples.documents", "--host", "local"],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
    )

    assert done.returncode == 0, done.stdout + done.stderr
    for file, kind, group in (
        ("archive.zip", "zip", "archive"),
        ("broken.png", "png", "image"),
        ("count_words.py", "python", "code"),
        ("minutes.png", "png", "image"),
        ("notes.txt", "txt", "text"),
    ):
        assert re.search(rf"{file} +│ {kind} +│ {group} ", done.stdout), done.stdout
    assert re.search(r"minutes\.png │ +0\.00% │", done.stdout), done.stdout
    assert "critical path: detector-input > text-detector > " in done.stdout
