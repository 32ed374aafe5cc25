"""A process that is asked one thing and answers by one line of JSON: what it found, or the problem, with status 1."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from alaas.errors import AlaasError


@contextmanager
def answering() -> Iterator[dict[str, Any]]:
    """What is put into the mapping is written to the standard output at the end, in place of what libraries print."""
    answer: dict[str, Any] = {}
    with os.fdopen(os.dup(sys.stdout.fileno()), "w", encoding="utf-8") as out:
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
        try:
            yield answer
        except AlaasError as error:
            answer = {"problem": {"code": error.code, "detail": error.detail, "field": error.field}}
        out.write(json.dumps(answer) + "\n")
    if "problem" in answer:
        raise SystemExit(1)
