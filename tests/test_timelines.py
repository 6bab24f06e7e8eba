"""How people see runs and profiles of pipelines."""

from __future__ import annotations

from xml.etree import ElementTree

from fabric.cli import timelines
from fabric.core.runs import PipelineRun, Profile, StepProfile, StepRun

RUN = PipelineRun(
    request="r",
    pipeline="read & write",
    seconds=1.0,
    error="UNAVAILABLE",
    steps=(
        StepRun(step="late", started=0.5, seconds=0.5, error="UNAVAILABLE"),
        StepRun(step="soon", item="3", seconds=0.25, who="a:1", attempts=2, fallback=True),
    ),
)


def test_a_timeline_has_a_bar_for_when_each_step_ran():
    """In the order of their starts, with who answered and after how many attempts."""
    columns, rows = timelines.timeline(RUN)
    soon, late = rows
    assert columns == ("step", "ms", "", "who", "error")
    assert soon == ("soon [3]", "250.00", "█" * 8, "a:1, fallback, 2 attempts", "")
    assert late == ("late", "500.00", " " * 16 + "█" * 16, "", "UNAVAILABLE")


def test_a_timeline_is_drawn_for_any_page():
    """As SVG that says in words what it shows."""
    drawn = ElementTree.fromstring(timelines.svg(RUN))  # noqa: S314 - it is our own
    texts = ["".join(each.itertext()) for each in drawn.iter("{http://www.w3.org/2000/svg}title")]
    assert texts == [
        "read & write, 1000.00 ms, UNAVAILABLE",
        "soon [3]: 250.00 ms a:1, fallback, 2 attempts",
        "late: 500.00 ms UNAVAILABLE",
    ]
    bars = list(drawn.iter("{http://www.w3.org/2000/svg}rect"))
    assert [bar.get("class") for bar in bars] == ["bar", "bad"]
    assert [float(bar.get("width")) for bar in bars] == [160, 320]


def test_a_run_that_took_no_time_is_shown_nevertheless():
    """And one without steps."""
    none = PipelineRun(request="r", pipeline="p")
    assert list(timelines.timeline(none)[1]) == []
    assert timelines.svg(none).count("<g>") == 0


def test_a_profile_says_what_to_scale():
    """Behind the critical path."""
    steps = (
        StepProfile(step="a", does="m", runs=2, mean=0.5, p50=0.4, p99=0.6, share=1.0, waiting=0.5),
        StepProfile(step="b", does="add"),
    )
    profile = Profile(pipeline="p", runs=2, steps=steps, advice=("more replicas",))
    _, rows = timelines.profile(profile)
    assert list(rows) == [
        ("a", "m", 2, 0, "500.00", "400.00", "600.00", "100%", "50%"),
        ("b", "add", 0, 0, "", "", "", "", ""),
    ]
    assert timelines.summary(profile).splitlines() == [
        "p: 2 runs, 0 failed, p50 - ms, p99 - ms",
        "critical path: a",
        "more replicas",
    ]
