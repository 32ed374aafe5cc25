from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from alaas.process import LONGEST_PAUSE_S, Command, exit_words, restart_pause_s
from alaas.supervisor import Supervisor
from tests.support.waiting import is_running, read_pids, wait_for

FOREVER = "import time; time.sleep(600)"
STUBBORN = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); {FOREVER}"
WITH_CHILD = f"""
import os, subprocess, sys
child = subprocess.Popen([sys.executable, "-c", {STUBBORN!r}], stdout=subprocess.PIPE)
child.stdout.readline()
open("pids", "a").write(f"{{os.getpid()}} {{child.pid}} ")
{FOREVER}
"""
ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def said() -> list[tuple[str, str]]:
    return []


@pytest.fixture
def supervisor(tmp_path: Path, said: list[tuple[str, str]]) -> Iterator[Supervisor]:
    supervisor = Supervisor(tmp_path / "logs", echo=lambda name, text: said.append((name, text)))
    yield supervisor
    supervisor.stop(0.1)


def command(program: str, folder: Path, name: str = "it", is_store: bool = False) -> Command:
    return Command(name, [sys.executable, "-c", program], dict(os.environ), folder, is_store)


def pid_of(supervisor: Supervisor) -> int:
    pid = supervisor.processes[0].pid
    assert pid is not None
    return pid


def test_what_dies_is_started_again_and_counted(supervisor: Supervisor, tmp_path: Path) -> None:
    process = supervisor.start(command(FOREVER, tmp_path))
    first = pid_of(supervisor)
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: process.pid not in (None, first))
    assert (process.restarts, process.last_exit, process.quick_deaths) == (1, -signal.SIGKILL, 1)


def test_children_of_what_died_do_not_outlive_it(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(command(WITH_CHILD, tmp_path))
    wait_for(lambda: read_pids(tmp_path / "pids"))
    leader, child = read_pids(tmp_path / "pids")
    os.kill(leader, signal.SIGKILL)
    wait_for(lambda: not is_running(child))


def test_pauses_grow_after_quick_deaths_and_have_an_end() -> None:
    assert [round(restart_pause_s(deaths), 1) for deaths in (0, 1, 2, 3, 4)] == [0.0, 0.2, 0.4, 0.8, 1.6]
    assert restart_pause_s(1000) == LONGEST_PAUSE_S
    assert restart_pause_s(1000, 2.0) == 2.0


def test_a_store_is_started_again_within_seconds_however_often_it_dies(supervisor: Supervisor, tmp_path: Path) -> None:
    process = supervisor.start(command("exit(3)", tmp_path, is_store=True))
    process.quick_deaths = 500
    wait_for(lambda: process.last_exit is not None)
    assert process.quick_deaths > 500 and process.due_s - time.monotonic() <= 2.0


def test_output_is_echoed_with_the_name_and_kept(
    supervisor: Supervisor, said: list[tuple[str, str]], tmp_path: Path
) -> None:
    process = supervisor.start(command(f"print('hello', flush=True); {FOREVER}", tmp_path, "download"))
    wait_for(lambda: said)
    assert said == [("download", "hello")]
    assert list(process.tail) == ["hello"]
    assert (tmp_path / "logs" / "download.log").read_text() == "hello\n"


def test_a_store_is_not_echoed(supervisor: Supervisor, said: list[tuple[str, str]], tmp_path: Path) -> None:
    process = supervisor.start(command(f"print('hello', flush=True); {FOREVER}", tmp_path, is_store=True))
    wait_for(lambda: process.tail)
    assert said == []


def test_stop_lets_a_process_finish(supervisor: Supervisor, tmp_path: Path) -> None:
    finish = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: (open('done', 'w'), sys.exit()))"
    process = supervisor.start(command(f"{finish}; print('up', flush=True); {FOREVER}", tmp_path))
    wait_for(lambda: process.tail)
    supervisor.stop()
    assert (tmp_path / "done").exists()


@pytest.mark.parametrize("is_paused", [False, True])
def test_stop_kills_what_does_not_go(supervisor: Supervisor, tmp_path: Path, is_paused: bool) -> None:
    process = supervisor.start(command(STUBBORN, tmp_path))
    wait_for(lambda: process.tail)
    pid = pid_of(supervisor)
    if is_paused:
        os.kill(pid, signal.SIGSTOP)
    supervisor.stop(0.2)
    assert not is_running(pid)


def test_stop_ends_grandchildren(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(command(WITH_CHILD, tmp_path))
    wait_for(lambda: read_pids(tmp_path / "pids"))
    supervisor.stop(2)
    wait_for(lambda: not any(map(is_running, read_pids(tmp_path / "pids"))))


def test_stores_are_stopped_after_the_rest(supervisor: Supervisor, tmp_path: Path) -> None:
    note = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: (open('order', 'a').write('{}'), sys.exit()))"
    for name, is_store in (("S", True), ("W", False)):
        program = f"{note.format(name)}; print('up', flush=True); {FOREVER}"
        process = supervisor.start(command(program, tmp_path, name, is_store))
        wait_for(lambda process=process: process.tail)  # type: ignore[misc]
    supervisor.stop()
    assert (tmp_path / "order").read_text() == "WS"


def test_stop_may_be_called_twice(supervisor: Supervisor, tmp_path: Path) -> None:
    supervisor.start(command(FOREVER, tmp_path))
    supervisor.stop(1)
    supervisor.stop(1)
    with pytest.raises(RuntimeError):
        supervisor.start(command(FOREVER, tmp_path))


def test_a_process_outlives_the_thread_that_started_it(supervisor: Supervisor, tmp_path: Path) -> None:
    thread = threading.Thread(target=supervisor.start, args=(command(FOREVER, tmp_path),))
    thread.start()
    thread.join()
    time.sleep(0.3)
    assert supervisor.processes[0].restarts == 0 and is_running(pid_of(supervisor))


def test_a_program_that_is_not_there_is_an_error_at_once(supervisor: Supervisor, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        supervisor.start(Command("it", ["/no/such/program"], {}, tmp_path))
    assert supervisor.processes == []


SUPERVISE = """
import os, sys, time
from pathlib import Path
from alaas.process import Command
from alaas.supervisor import Supervisor
from alaas.files import lock_folder
supervisor = Supervisor(Path("logs"), keep_open=[lock_folder(Path("run"))], orphan_grace_s=0.2)
supervisor.start(Command("it", [sys.executable, "-c", sys.argv[1]], dict(os.environ), Path.cwd()))
supervisor.start(Command("store", [sys.executable, "-c", sys.argv[1]], dict(os.environ), Path.cwd(), True))
print(supervisor._guard._child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def other(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A supervisor in a process of its own, with two processes that ignore SIGTERM in their children."""
    with subprocess.Popen(
        [sys.executable, "-c", SUPERVISE, WITH_CHILD],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        wait_for(lambda: len(read_pids(tmp_path / "pids")) == 4)
        yield process
        process.kill()


def test_nothing_is_left_when_the_supervisor_is_killed(other: subprocess.Popen[str], tmp_path: Path) -> None:
    other.kill()
    wait_for(lambda: not any(map(is_running, read_pids(tmp_path / "pids"))), 30)


def test_a_guard_that_is_killed_is_replaced(other: subprocess.Popen[str], tmp_path: Path) -> None:
    assert other.stdout is not None
    os.kill(int(other.stdout.readline()), signal.SIGKILL)
    time.sleep(0.5)
    other.kill()
    wait_for(lambda: not any(map(is_running, read_pids(tmp_path / "pids"))), 30)


def test_the_folder_stays_locked_until_the_last_process_is_gone(other: subprocess.Popen[str], tmp_path: Path) -> None:
    from alaas.files import lock_folder

    other.kill()
    other.wait()
    os.close(lock_folder(tmp_path / "run"))  # It waits for the guard of the dead.
    assert not any(map(is_running, read_pids(tmp_path / "pids")))


@pytest.mark.parametrize(("code", "words"), [(0, "exit 0"), (1, "exit 1"), (-9, "SIGKILL"), (-250, "signal 250")])
def test_an_exit_is_told_in_words(code: int, words: str) -> None:
    assert exit_words(code) == words
