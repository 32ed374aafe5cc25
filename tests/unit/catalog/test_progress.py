from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from alaas.jobs import Progress, Stage, StageProgress
from alaas_workers.catalog import furthest

counts = st.integers(0, 1000)
progresses = st.builds(
    Progress,
    total=counts,
    cached=counts,
    failed=counts,
    stages=st.dictionaries(st.sampled_from(Stage), st.builds(StageProgress, done=counts, total=counts)),
)


def numbers(progress: Progress) -> dict[str, int]:
    flat = {name: getattr(progress, name) for name in ("total", "cached", "failed")}
    for stage, of in progress.stages.items():
        flat |= {f"{stage}.done": of.done, f"{stage}.total": of.total}
    return flat


@given(progresses, progresses)
def test_each_number_is_the_larger_of_both(one: Progress, other: Progress) -> None:
    both = numbers(furthest(one, other))
    assert both.keys() == numbers(one).keys() | numbers(other).keys()
    assert all(value == max(numbers(one).get(name, 0), numbers(other).get(name, 0)) for name, value in both.items())


@given(progresses, progresses)
def test_the_order_of_arrival_does_not_matter_to_the_byte(one: Progress, other: Progress) -> None:
    assert furthest(one, other).model_dump_json() == furthest(other, one).model_dump_json()


@given(progresses)
def test_the_same_twice_is_the_same(progress: Progress) -> None:
    assert furthest(progress, progress) == progress == furthest(Progress(), progress)
