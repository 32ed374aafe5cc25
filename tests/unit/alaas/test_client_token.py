"""The token that a client sends."""

from __future__ import annotations

import pytest

from alaas import Client
from alaas.errors import InvalidRequest


@pytest.mark.parametrize("token", ["é", "two words", "tab\there"])
def test_a_token_that_no_header_can_carry_is_refused_by_name(token: str) -> None:
    with pytest.raises(InvalidRequest) as refusal:
        Client("localhost:1", token=token)
    assert refusal.value.field == "token"


def test_a_token_read_from_a_file_may_end_with_its_line() -> None:
    with Client("localhost:1", token="abc\n") as client:
        assert client._http._client.headers["authorization"] == "Bearer abc"
