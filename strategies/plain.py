"""Parameters from YAML or JSON, read as JSON: strict validation then takes plain data and nothing that looks alike."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from strategies.errors import StrategyError


def as_json(values: Mapping[str, Any], whole: str) -> str:
    """`values` as JSON. Raises StrategyError naming the first key whose value is no plain data, NaN and Inf included.

    `whole`: the field of an error that no key is to blame for.
    """
    try:
        given = dict(values)
    except (TypeError, ValueError):
        raise StrategyError(f"the {whole} must be a mapping of names to values", field=whole) from None
    texts = [f"{json.dumps(str(key))}: {_value(str(key), value)}" for key, value in given.items()]
    return "{" + ", ".join(texts) + "}"


def _value(key: str, value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise StrategyError(f"{key} is no plain data: {error}", field=key) from None
