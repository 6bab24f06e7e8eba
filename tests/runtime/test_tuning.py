"""What is measured next, and which setting wins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from fabric.core.cards import OnnxRuntime
from fabric.runtime.tuning import STAGES, Results, Setting, space_of, verdict

CPU = "CPUExecutionProvider"
CUDA = "CUDAExecutionProvider"
STEADY = (1.0, 1.01, 0.99, 1.0, 1.0)
"""How much longer than usual everything took, round by round."""


def setting(rows=1, **options):
    return Setting(options=OnnxRuntime(**options), rows=rows)


def space(current=None, here=(CPU,), cores=2, largest=32, **limits):
    return space_of(current or setting(), here, cores=cores, largest=largest, **limits)


def measured(current, seconds, rounds=STEADY):
    """Results where a run of each setting takes its seconds, times what the round has."""
    results = Results(current)
    for each, usual in {current: seconds[current], **seconds}.items():
        for number, factor in enumerate(rounds, 1):
            results.add(each, number, [usual * factor] * 10)
    return results


def stage(name):
    return next(stage for stage in STAGES if stage.name == name)


def test_levels_and_threads_are_varied_at_two_batch_sizes():
    """One row, and as many as are declared; or sixteen where none are."""
    levels = stage("graph optimization").chosen(space(), Results(setting()))
    assert [(s.options.graph_optimization, s.rows) for s in levels] == [
        (level, rows) for rows in (1, 16) for level in ("disable", "basic", "extended", "all")
    ]
    declared = space(setting(rows=8), cores=6)
    threads = stage("threads").chosen(declared, Results(declared.current))
    assert {s.rows for s in threads} == {1, 8}
    assert [s.options.intra_op_threads for s in threads if s.rows == 8] == [1, 2, 4, 6]


def test_each_stage_goes_on_from_the_best_of_the_one_before():
    """And at each batch size from what was best there."""
    best_alone = setting(graph_optimization="basic")
    best_stacked = setting(16, graph_optimization="extended")
    seconds = {setting(): 2.0, best_alone: 1.0, setting(16): 8.0, best_stacked: 4.0}
    threads = stage("threads").chosen(space(), measured(setting(), seconds))
    levels = [(s.options.graph_optimization, s.rows, s.options.intra_op_threads) for s in threads]
    assert levels == [("basic", 1, 1), ("basic", 1, 2), ("extended", 16, 1), ("extended", 16, 2)]
    sizes = stage("batch sizes").chosen(space(), measured(setting(), seconds))
    assert {s.options for s in sizes} == {best_alone.options, best_stacked.options}
    assert [s.rows for s in sizes if s.options == best_alone.options] == [1, 2, 4, 8, 16, 32]


def test_providers_are_those_that_are_here_and_wanted():
    """The declared order stays for who has it; what CUDA is worth is seen beside the CPU."""
    wanted = setting(providers=("TensorrtExecutionProvider", CUDA, CPU))
    chosen = stage("providers").chosen(space(wanted, (CUDA, CPU), largest=0), Results(wanted))
    assert [s.options.providers for s in chosen] == [wanted.options.providers, (CPU,)]
    assert stage("providers").chosen(space(), Results(setting())) == []


def test_a_batch_size_that_is_to_stay_is_not_varied():
    """Everything else is measured with as many rows as it has."""
    fixed = space(setting(rows=8), largest=0)
    assert fixed.pair == (8,)
    assert stage("batch sizes").chosen(fixed, Results(fixed.current)) == []


def test_what_is_better_by_more_than_its_repeats_differ_wins():
    """The text says by how much."""
    results = measured(setting(), {setting(): 1.0, setting(32): 16.0})
    said = verdict(space(), results, since=1)
    assert said.chosen == setting(32)
    assert said.why == "it has 2.00 times the rows/s (half of its repeats: 2.00 to 2.00)"
    assert said.changes(setting()) == {"batching.max_size": (1, 32)}


def test_what_is_better_by_less_than_that_does_not():
    """A gain within the noise is none."""
    results = measured(setting(), {setting(): 1.0})
    for number, seconds in enumerate((0.7, 1.1, 0.8, 1.2, 0.9), 1):
        results.add(setting(intra_op_threads=2), number, [seconds])
    said = verdict(space(), results, since=1)
    assert said.chosen == setting()
    assert said.changes(setting()) == {}


def test_what_slows_all_of_a_round_down_decides_nothing():
    """Settings are compared within a round."""
    rounds = (1.0, 9.0, 1.0, 5.0, 2.0)
    better = setting(intra_op_threads=2)
    results = measured(setting(), {setting(): 1.0, better: 0.8}, rounds)
    assert verdict(space(), results, since=1).chosen == better


def test_of_settings_that_are_as_good_the_nearest_to_the_current_one_wins():
    """Nothing is changed for a difference that noise makes."""
    far = setting(32, graph_optimization="basic", intra_op_threads=2)
    results = measured(setting(), {setting(): 1.0, setting(32): 10.0})
    for number, seconds in enumerate((9.5, 10.5, 9.4, 10.2, 9.9), 1):
        results.add(far, number, [seconds])
    assert results.gain(far) > results.gain(setting(32))
    assert verdict(space(), results, since=1).chosen == setting(32)


def test_the_limit_of_the_p99_comes_before_throughput():
    """A larger batch that takes too long does not win, and who takes too long already loses."""
    seconds = {setting(8): 0.004, setting(16): 0.005, setting(32): 0.009}
    limited = space(setting(8), p99=0.006)
    assert verdict(limited, measured(setting(8), seconds), since=1).chosen == setting(16)
    limited = space(setting(32), p99=0.006)
    slower = {**seconds, setting(16): 0.0055}
    said = verdict(limited, measured(setting(32), slower), since=1)
    assert said.chosen == setting(16)
    assert said.why.startswith("it keeps to the limit, at 0.82 times the rows/s")


def test_a_limit_that_nothing_keeps_to_changes_nothing():
    """The nearest is named."""
    limited = space(setting(8), p99=0.001)
    results = measured(setting(8), {setting(8): 0.004, setting(1): 0.002})
    said = verdict(limited, results, since=1)
    assert said.chosen == setting(8)
    assert said.why == "none of the best keeps to a p99 of 1 ms; the nearest has 2.02 ms"


@pytest.mark.parametrize("rounds", [(), (1.0, 1.0)])
def test_nothing_is_concluded_from_few_rounds(rounds):
    """Only those of the last stage count."""
    results = measured(setting(), {setting(): 1.0, setting(32): 8.0})
    for number, factor in enumerate(rounds, 6):
        results.add(setting(), number, [factor])
        results.add(setting(32), number, [factor])
    said = verdict(space(), results, since=6)
    assert said.chosen == setting()
    assert said.why.endswith("give it more seconds")


def test_what_failed_never_wins():
    """It ran at first, and then no more."""
    results = measured(setting(), {setting(): 1.0, setting(32): 8.0, setting(16): 8.0})
    results.failures[setting(32)] = "out of memory"
    assert verdict(space(), results, since=1).chosen == setting(16)


def test_the_last_stage_measures_the_best_and_the_best_batch_size_alone():
    """Beside the current setting, which is in every round."""
    best, next_best = setting(32, intra_op_threads=2), setting(16, intra_op_threads=2)
    results = measured(setting(), {setting(): 1.0, best: 4.0, next_best: 4.0})
    finalists = stage("the best again").chosen(space(), results)
    assert finalists == [best, next_best, replace(setting(), rows=32)]
