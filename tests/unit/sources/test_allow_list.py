from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alaas.errors import SampleCode, SampleError
from alaas_workers.sources.allow_list import AllowList


def allows(entries: list[str], bucket: str, key: str) -> bool:
    try:
        AllowList(entries).check(bucket, key)
    except SampleError as error:
        assert error.sample_code is SampleCode.NOT_ALLOWED
        return False
    return True


@pytest.mark.parametrize(
    ("entries", "key", "allowed"),
    [
        ([], "a", False),
        (["*"], "a", True),
        (["bucket"], "a", True),
        (["bucket"], "", True),
        (["bucket/"], "a", True),
        (["buck"], "a", False),
        (["bucket2"], "a", False),
        (["bucket/a"], "a", True),
        (["bucket/a"], "a/", True),
        (["bucket/a/"], "a/b/c", True),
        (["bucket/a"], "ab", False),
        (["bucket/a"], "a-b/c", False),
        (["bucket/a"], "A/b", False),
        (["bucket/a"], "", False),
        (["bucket/a"], "/a/b", False),
        (["bucket/a/b"], "a/", False),
        (["bucket/a//b"], "a/b/c", False),
        (["other", "bucket/x", "bucket/a"], "a/b", True),
    ],
)
def test_an_entry_opens_a_bucket_or_what_lies_beneath_a_prefix(entries: list[str], key: str, allowed: bool) -> None:
    assert allows(entries, "bucket", key) is allowed


@given(prefix=st.text(min_size=1), key=st.text())
def test_only_keys_of_the_prefix_pass(prefix: str, key: str) -> None:
    folder = prefix.rstrip("/")
    expected = not folder or key == folder or key.startswith(f"{folder}/")
    assert allows([f"bucket/{prefix}"], "bucket", key) is expected
