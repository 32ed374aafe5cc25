"""`python -P -m api.selecting`: one selection from a file of somebody's own scores, then the end.

Started by alaas.selection_process, which bounds its time and takes its death as an answer. Loads no server.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import IO, Any

from alaas.selections import REFUSED, Pick, SelectAnswer, SelectTask, refusal

logger = logging.getLogger(__name__)


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's; its end is ours
    task = SelectTask.model_validate_json(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    _limit(task.max_memory_bytes)
    with os.fdopen(task.file, "rb") as file, os.fdopen(task.answer, "wb") as answer:
        problem = _refusal_of(task, file, answer)
        if problem is None:
            return 0
        answer.seek(0)
        answer.truncate()
        answer.write(problem)
        return REFUSED


def _end_with_the_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(1)


def _limit(max_memory_bytes: int | None) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # somebody's data must not be left in a core file
    if max_memory_bytes is not None:
        resource.setrlimit(resource.RLIMIT_DATA, (max_memory_bytes, max_memory_bytes))


def _refusal_of(task: SelectTask, file: IO[bytes], answer: IO[bytes]) -> bytes | None:
    """Select, and write the answer; None when that went well."""
    from strategies import StrategyError
    from strategies.pool_files import PoolTooLarge

    try:
        for piece in chosen(task, file):
            answer.write(piece)
        answer.flush()
    except StrategyError as error:
        return refusal(error.detail, error.field, is_too_large=isinstance(error, PoolTooLarge))
    except MemoryError:
        detail = f"the selection takes more memory than is allowed ({task.max_memory_bytes} bytes)"
        return refusal(detail, "file", is_too_large=True)
    except ModuleNotFoundError as error:
        return refusal(
            f"{error.name} is not installed: install alaas[server], or give an NPZ file", "file", is_too_large=False
        )
    return None


def chosen(task: SelectTask, file: IO[bytes]) -> Iterator[bytes]:
    """The answer as JSON, piece by piece: a selection of millions is never in memory as text. Raises StrategyError."""
    from strategies.pool_files import PoolLimits, read_pool

    asked = task.request
    strategy = _strategy(asked.strategy)
    contents = read_pool(file, PoolLimits(task.max_rows, task.max_bytes), strategy.needs | strategy.uses)
    pool = contents.pool(asked.seed)
    selection = strategy.select(pool, asked.budget)
    head = SelectAnswer(
        strategy={"type": type(strategy).__name__, **strategy.model_dump(mode="json")},
        budget=asked.budget,
        seed=asked.seed,
        pool=len(pool),
        warnings=_warnings(asked.budget, len(selection)),
        selected=[],
    )
    yield head.model_dump_json().encode().removesuffix(b"]}")
    for rank, (index, score) in enumerate(zip(selection.indices, selection.scores, strict=True), start=1):
        parts = {name: float(values[rank - 1]) for name, values in selection.parts.items()}
        pick = Pick(rank=rank, id=pool.ids[index], score=float(score), parts=parts)
        yield (b"," if rank > 1 else b"") + pick.model_dump_json().encode()
    yield b"]}"


def _strategy(asked: Any) -> Any:
    from strategies import StrategyError, get_strategy

    parameters = {"type": asked} if isinstance(asked, str) else dict(asked.model_dump() if asked else {})
    if "type" not in parameters:
        raise StrategyError("name a strategy", field="strategy")
    try:
        return get_strategy(parameters.pop("type"), parameters)
    except StrategyError as error:
        field = "strategy" if error.field in (None, "type") else f"strategy.{error.field}"
        raise StrategyError(error.detail, field=field) from None


def _warnings(budget: int, count: int) -> list[str]:
    return [f"{count} samples chosen instead of {budget}: the file holds no more"] if count < budget else []


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    code = main()
    sys.stdout.flush()
    os._exit(code)  # the thread that waits for the parent would hold the interpreter's own end up
