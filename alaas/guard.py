"""Ends the fleet's processes when their supervisor is gone, by SIGKILL too. Run as a file, beside the supervisor.

The supervisor writes `+ GROUP TIER` and `- GROUP` lines; on its end (end of file, or another parent) every group
still named gets SIGTERM and, after a grace, SIGKILL: tier 0 first, then tier 1 (the stores that tier 0 writes to).
A parent-death signal would not do: it follows the thread that started a child, and does not reach grandchildren.
"""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Iterable

LOOK_S = 0.5


def main(parent: int, grace_s: float) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # A shutdown of the machine must not end it before the supervisor.
    groups: dict[int, int] = {}
    unread = b""
    while os.getppid() == parent:
        if select.select([sys.stdin], [], [], LOOK_S)[0]:
            data = os.read(sys.stdin.fileno(), 65536)
            if not data:
                break
            *lines, unread = (unread + data).split(b"\n")
            _note(lines, groups)
    for tier in (0, 1):
        end_groups([group for group, its_tier in groups.items() if its_tier == tier], grace_s)


def _note(lines: Iterable[bytes], groups: dict[int, int]) -> None:
    for sign, group, *tier in map(bytes.split, lines):
        if sign == b"+":
            groups[int(group)] = int(tier[0])
        else:
            groups.pop(int(group), None)


def end_groups(groups: list[int], grace_s: float) -> None:
    """SIGTERM, wait, SIGKILL."""
    left = [group for group in groups if send(group, signal.SIGTERM)]
    deadline = time.monotonic() + grace_s
    while left and time.monotonic() < deadline:
        time.sleep(0.05)
        left = [group for group in left if send(group, 0)]
    for group in left:
        send(group, signal.SIGKILL)


def send(group: int, number: int) -> bool:
    """False when nobody of the process group is left."""
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies.
        return False
    return True


if __name__ == "__main__":
    main(int(sys.argv[1]), float(sys.argv[2]))
