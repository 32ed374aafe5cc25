"""A selection in a process of its own: bounded in time and memory, and its crash is only its own.

The API and `alaas select` both start `python -P -m api.selecting` here. The child gets the file and a place for its
answer as open descriptors, and a SelectTask as one line; the pipe's end tells it that its parent is gone.
"""

from __future__ import annotations

import json
import logging
import os
import subprocess
import time
from collections.abc import Callable

from alaas.commands import child_environment, python
from alaas.errors import AlaasError, SelectionFailed, Unavailable
from alaas.problems import as_error
from alaas.process import exit_words
from alaas.selections import REFUSED, SelectTask

logger = logging.getLogger(__name__)
PROGRAM = "api.selecting"
LOOK_S = 0.1


def select_apart(
    task: SelectTask,
    timeout_s: float | None = None,
    *,
    threads: int | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Run `task`; its answer, a SelectAnswer as JSON, is then in the descriptor `task.answer`.

    Raises InvalidRequest, TooLarge or SelectionFailed, and Unavailable when `is_stopping` says so first. The child is
    gone when this returns or raises.
    """
    child = _started(task, threads)
    try:
        _tell(child, task)
        code = _ended(child, timeout_s, is_stopping)
    finally:
        child.kill()  # without effect on one that has ended
        child.wait()
        _hang_up(child)
    if code:
        raise _failure(task, code)


def _started(task: SelectTask, threads: int | None) -> subprocess.Popen[bytes]:
    # Arrow's own allocators reserve memory ahead, and end the process where the system's gives a MemoryError.
    environment = child_environment(os.environ, None, threads) | {"ARROW_DEFAULT_MEMORY_POOL": "system"}
    if task.max_memory_bytes is not None:
        environment["CUDA_VISIBLE_DEVICES"] = ""  # CUDA does not live within the limit, and models need the device
    return subprocess.Popen(
        python(PROGRAM),
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        pass_fds=(task.file, task.answer),
    )


def _tell(child: subprocess.Popen[bytes], task: SelectTask) -> None:
    assert child.stdin is not None  # noqa: S101 - for the type checker: it is a pipe
    try:
        child.stdin.write(task.model_dump_json().encode() + b"\n")
        child.stdin.flush()
    except BrokenPipeError:
        logger.debug("the child ended before it was told what to do")


def _hang_up(child: subprocess.Popen[bytes]) -> None:
    try:
        if child.stdin is not None:
            child.stdin.close()
    except BrokenPipeError:
        logger.debug("the child had ended")


def _ended(child: subprocess.Popen[bytes], timeout_s: float | None, is_stopping: Callable[[], bool]) -> int:
    deadline = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        try:
            return child.wait(LOOK_S)
        except subprocess.TimeoutExpired:
            if deadline is not None and time.monotonic() > deadline:
                said = "give a smaller file or budget, or another strategy, or select without a server (alaas select)"
                raise SelectionFailed(f"the selection took longer than {timeout_s:g} s: {said}") from None
            if is_stopping():
                raise Unavailable("the server stops", retry_after_s=10) from None


def _failure(task: SelectTask, code: int) -> AlaasError:
    if code == REFUSED:
        with os.fdopen(os.dup(task.answer), "rb") as answer:
            answer.seek(0)
            problem = json.loads(answer.read())
        return as_error(problem["status"], problem)
    logger.error("a selection ended without an answer: %s", exit_words(code))
    limit = "" if task.max_memory_bytes is None else f" or need more than {task.max_memory_bytes} bytes of memory"
    return SelectionFailed(f"the selection crashed ({exit_words(code)}): the file may be damaged{limit}")
