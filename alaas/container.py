"""A container as one process of the fleet: `python -P -m alaas.container NAME COMMAND...` becomes the command.

A container outlives a docker client that was killed, and would keep its name and ports from the next one.
"""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import suppress

_REMOVE_S = 30.0


def main() -> None:
    name, *command = sys.argv[1:]
    with suppress(subprocess.TimeoutExpired):
        remove = [command[0], "rm", "--force", name]
        subprocess.run(remove, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=_REMOVE_S)
    os.execvp(command[0], command)  # noqa: S606 - a list


if __name__ == "__main__":
    main()
