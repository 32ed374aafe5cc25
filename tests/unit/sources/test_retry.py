from __future__ import annotations

import pytest

from alaas.config.sources import SourcesConfig
from alaas.errors import SampleCode, SampleError
from alaas_workers.sources.failures import failure, transient_failure
from alaas_workers.sources.retry import MAX_DELAY_S, retry_delay_s

CONFIG = SourcesConfig(attempts=4, retry_delay_s=0.5)
FINAL = failure(SampleCode.UNREACHABLE)
TRANSIENT = transient_failure(SampleCode.UNREACHABLE)


def asked(seconds: float) -> SampleError:
    return transient_failure(SampleCode.REMOTE_ERROR, seconds)


@pytest.mark.parametrize(
    ("error", "attempt", "expected"),
    [
        (FINAL, 1, None),
        (TRANSIENT, 1, 0.5),
        (TRANSIENT, 2, 1.0),
        (TRANSIENT, 3, 2.0),
        (TRANSIENT, 4, None),
        (TRANSIENT, 5, None),
        (asked(3), 1, 3.0),
        (asked(0), 1, 0.5),
        (asked(3), 4, None),
        (asked(86400), 1, MAX_DELAY_S),
    ],
)
def test_the_policy_is_a_table(error: SampleError, attempt: int, expected: float | None) -> None:
    assert retry_delay_s(error, attempt, CONFIG) == expected


def test_no_pause_is_longer_than_the_cap() -> None:
    config = SourcesConfig(attempts=10, retry_delay_s=5.0)
    assert retry_delay_s(TRANSIENT, 9, config) == MAX_DELAY_S
