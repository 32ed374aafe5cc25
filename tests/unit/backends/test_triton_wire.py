from __future__ import annotations

import pytest

from alaas_workers.backends.triton_wire import Refused, raise_for


@pytest.mark.parametrize("status", ["INVALID_ARGUMENT", "400", "RESOURCE_EXHAUSTED", "413"])
def test_what_is_of_another_shape_or_too_large_is_refused_and_not_asked_again(status: str) -> None:
    with pytest.raises(Refused, match="does not take what it was sent"):
        raise_for(status, "Sent message larger than max")
