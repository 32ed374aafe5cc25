"""Files of the data folder that others must not read: effective configuration, addresses with passwords, the lock."""

from __future__ import annotations

import os
import time
from pathlib import Path

from alaas.errors import ConfigError

LOCK_PATIENCE_S = 20.0


def write_private(path: Path, text: str) -> None:
    """Replace `path` at once, readable by its owner only. Raises ConfigError when the folder refuses."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
        draft.replace(path)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", field="storage.data_dir") from None


def make_private_folder(folder: Path) -> None:
    """For its owner only, and not for git: it holds passwords and a person's pool, and often lies in a checkout."""
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(f"cannot make the folder {folder}: {error.strerror}", field="storage.data_dir") from None
    if not (folder / ".gitignore").exists():
        write_private(folder / ".gitignore", "*\n")


def lock_folder(folder: Path) -> int:
    """Hold `folder` for this process and who inherits the descriptor returned. Raises ConfigError.

    A holder that is dead has a guard that is still ending its processes: that one is waited for.
    """
    import fcntl  # Not there on Windows, where the client works all the same.

    path = folder / "lock"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write {path}: {error.strerror}", field="storage.data_dir") from None
    deadline = time.monotonic() + LOCK_PATIENCE_S
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            holder = path.read_text().strip()
            if _is_alive(holder) or time.monotonic() > deadline:
                os.close(descriptor)
                raise ConfigError(
                    f"{folder.parent} is in use by another ALaaS server (process {holder}); stop it, or name another"
                    " folder with --data-dir",
                    field="storage.data_dir",
                ) from None
            time.sleep(0.1)
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, str(os.getpid()).encode(), 0)
    return descriptor


def _is_alive(pid: str) -> bool:
    try:
        os.kill(int(pid), 0)
    except (ValueError, ProcessLookupError):
        return False
    except PermissionError:
        return True
    return True
