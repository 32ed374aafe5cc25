"""`python -P -m api.selecting`: one selection from a file of somebody's own scores, then the end.

Started by alaas.selection_process, which bounds its time and takes its death as an answer. Loads no server.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from typing import IO, TYPE_CHECKING

from alaas.jobs import Policy, StrategyRequest
from alaas.selections import REFUSED, Near, Pick, SelectAnswer, SelectTask, refusal

if TYPE_CHECKING:
    from strategies import BatchPolicy, Explanation, Strategy

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
    except Exception as error:
        if isinstance(error, ModuleNotFoundError) and error.name == "pyarrow":
            detail = "pyarrow is not installed: install alaas[server], or give an NPZ file"
            return refusal(detail, "file", is_too_large=False)
        logger.exception("the selection failed")
        detail = f"the strategy failed with {type(error).__name__}; the log of the server or of this command has it"
        return refusal(detail, "strategy", is_too_large=False)
    return None


def chosen(task: SelectTask, file: IO[bytes]) -> Iterator[bytes]:
    """The answer as JSON, piece by piece: a selection of millions is never in memory as text. Raises StrategyError."""
    from strategies import explain, register_paths, select_batch
    from strategies.pool_files import PoolLimits, read_pool

    asked = task.request
    register_paths(task.paths)
    strategy, policy = _strategy(asked.strategy), _policy(asked.policy)
    looked_at = strategy.needs | strategy.uses | policy.needs | policy.uses
    contents = read_pool(file, PoolLimits(task.max_rows, task.max_bytes), looked_at)
    pool = contents.pool(asked.seed)
    batch = select_batch(strategy, pool, asked.budget, policy, contents.sources)
    explanation = explain(pool, batch)
    head = SelectAnswer(
        strategy={"type": type(strategy).__name__, **strategy.model_dump(mode="json")},
        policy=policy.model_dump(mode="json"),
        budget=asked.budget,
        seed=asked.seed,
        pool=len(pool),
        warnings=[*_warnings(asked.budget, len(pool)), *batch.warnings, *explanation.warnings],
        selected=[],
    )
    yield head.model_dump_json().encode().removesuffix(b"]}")
    for place, index in enumerate(batch.indices.tolist()):
        pick = Pick(
            rank=place + 1,
            id=pool.ids[index],
            score=float(batch.scores[place]),
            drawn=batch.drawn[place],
            parts=_parts(explanation, place),
            nearest=_nearest(explanation, place, pool.ids),
            stands_for=None if explanation.stands_for is None else int(explanation.stands_for[place]),
        )
        yield (b"," if place else b"") + pick.model_dump_json().encode()
    yield b"]}"


def _parts(explanation: Explanation, place: int) -> dict[str, float] | None:
    parts = {name: float(values[place]) for name, values in explanation.parts.items()}
    return {name: value for name, value in parts.items() if not math.isnan(value)} or None


def _nearest(explanation: Explanation, place: int, ids: Sequence[str]) -> Near | None:
    found = explanation.nearest[place] if explanation.nearest else None
    if found is None:
        return None
    named = ids[found.index] if found.kind == "chosen" else str(found.index)
    return Near(kind=found.kind, id=named, distance=found.distance)


def _policy(asked: Policy | None) -> BatchPolicy:
    from strategies import StrategyError, get_policy

    try:
        return get_policy(asked.model_dump(mode="json") if asked else None)
    except StrategyError as error:
        raise StrategyError(error.detail, field=f"policy.{error.field}") from None


def _strategy(asked: str | StrategyRequest | None) -> Strategy:
    from strategies import StrategyError, get_strategy

    if asked is None:
        raise StrategyError("is required here: name a strategy", field="strategy")
    parameters = {"type": asked} if isinstance(asked, str) else asked.model_dump()
    try:
        return get_strategy(parameters.pop("type"), parameters)
    except StrategyError as error:
        field = "strategy" if error.field in (None, "type") else f"strategy.{error.field}"
        raise StrategyError(error.detail, field=field) from None


def _warnings(budget: int, size: int) -> list[str]:
    return [f"the budget is {budget}, and the file holds {size} samples"] if size < budget else []


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    code = 1
    try:
        code = main()
    except BaseException:
        logger.exception("the selection ended early")
    finally:
        sys.stdout.flush()
        os._exit(code)  # the thread that waits for the parent would hold the interpreter's own end up
