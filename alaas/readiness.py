"""Waiting for a fleet that comes up, and telling what keeps it from it: the failing checks and the last log lines."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import httpx

from alaas.errors import Unavailable
from alaas.process import Process, exit_words

READY_TIMEOUT_S = 180.0  # importing torch in several processes on two slow cores takes a good part of a minute
HOPELESS_DEATHS = 4  # of one process in a row
HOPELESS_MODEL_S = 5.0  # all is there but a model that cannot be loaded
LOOK_S = 0.2
SHOWN_LINES = 12


def wait_until_ready(
    url: str,
    processes: Callable[[], list[Process]],
    logs: Path,
    timeout_s: float = READY_TIMEOUT_S,
    given_up: Callable[[], bool] = lambda: False,
) -> bool:
    """Wait until `/readyz` says so; False when `given_up` did. Raises Unavailable, at once when there is no hope."""
    deadline, only_models_since = time.monotonic() + timeout_s, float("inf")
    with httpx.Client(timeout=5.0, trust_env=False) as http:
        while not given_up():
            failing = failing_checks(http, url)
            now = time.monotonic()
            if not failing:
                return True
            only_models = all(name.startswith("model ") for name in failing)
            only_models_since = min(only_models_since, now) if only_models else float("inf")
            if now - only_models_since > HOPELESS_MODEL_S:
                raise Unavailable(f"ALaaS did not start: {_words(failing)}")
            dying = [process for process in processes() if process.quick_deaths >= HOPELESS_DEATHS]
            if dying or now > deadline:
                why = "a process keeps dying" if dying else f"not ready after {timeout_s:g} s"
                raise Unavailable(_explanation(f"{why}: {_words(failing)}", dying or processes(), logs))
            time.sleep(LOOK_S)
    return False


def failing_checks(http: httpx.Client, url: str) -> dict[str, str]:
    """The checks of `/readyz` that fail, and what each says; empty when ready."""
    try:
        response = http.get(f"{url}/readyz")
        if response.is_success:
            return {}
        checks = response.json()["checks"]
        return {name: str(check["detail"]) for name, check in checks.items() if not check["ok"]} or {"api": "not ready"}
    except httpx.HTTPError:
        return {"api": "does not answer yet"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {"api": "another program answers at its address"}


def _words(failing: dict[str, str]) -> str:
    return ", ".join(f"{name} ({detail})" if detail else name for name, detail in failing.items())


def _explanation(first_line: str, processes: list[Process], logs: Path) -> str:
    lines = [f"ALaaS did not start: {first_line}"]
    for process in processes:
        if process.tail and not process.command.is_store:
            died = f" (died {process.restarts + 1} times, last by {exit_words(process.last_exit)})"
            lines.append(f"{process.command.name}{died if process.last_exit is not None else ''}:")
            lines.append(last_lines(process))
    return "\n".join([*lines, f"The whole logs are in {logs}"])


def last_lines(process: Process) -> str:
    return "\n".join(f"  | {line}" for line in list(process.tail)[-SHOWN_LINES:])
