from __future__ import annotations

import importlib.util
import os
import sys
from pathlib import Path

import pytest

from alaas.commands import ROOT, check_installed, child_environment, commands_for, joining_environment
from alaas.config import Config, parse_config
from alaas.errors import ConfigError
from alaas.jobs import Stage

PATH = Path("/run/effective.yml")


def test_a_fleet_has_one_process_of_each_kind_by_default() -> None:
    commands = {command.name: list(command.arguments[3:]) for command in commands_for(Config(), PATH)}
    assert commands == {
        "api": ["api"],
        "dispatcher": ["alaas_workers.dispatcher"],
        "download": ["alaas_workers.worker", "download", "--concurrency", "4"],
        "preprocess": ["alaas_workers.worker", "preprocess", "--concurrency", "1"],
        "inference": ["alaas_workers.worker", "inference", "--concurrency", "2"],
        "selection": ["alaas_workers.worker", "selection", "--concurrency", "2"],
    }


def test_the_start_folder_is_never_on_the_path() -> None:
    assert all(command.arguments[:3] == [sys.executable, "-P", "-m"] for command in commands_for(Config(), PATH))


def test_numbers_and_the_monitor_follow_the_configuration() -> None:
    config = parse_config(
        {
            "workers": {"inference": {"processes": 2}, "download": {"processes": 0}, "dispatcher": 2},
            "flower": {"enabled": True},
        }
    )
    names = [command.name for command in commands_for(config, PATH)]
    assert names == ["api", "dispatcher-1", "dispatcher-2", "preprocess", "inference-1", "inference-2", "selection",
                     "flower"]  # fmt: skip


def test_threads_are_few_where_processes_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 8)
    config = parse_config({"workers": {"inference": {"processes": 2}}})
    threads = {command.name: command.env.get("OMP_NUM_THREADS") for command in commands_for(config, PATH)}
    assert threads["download"] == threads["preprocess"] == threads["api"] == "1"
    assert threads["inference-1"] == "4"
    assert threads["selection"] is None


def test_the_users_own_thread_setting_stands() -> None:
    assert child_environment({"OMP_NUM_THREADS": "3"}, PATH, 1)["OMP_NUM_THREADS"] == "3"


def test_settings_and_secrets_of_the_shell_do_not_reach_a_process_twice() -> None:
    shell = {
        "ALAAS_API__PORT": "9",
        "ALAAS_TOKEN": "word",
        "ALAAS_SERVER": "x",
        "HOME": "/home/me",
        "ALAAS_CONFIG": "x",
    }
    child = child_environment(shell, PATH, None)
    assert child["ALAAS_CONFIG"] == str(PATH) and child["HOME"] == "/home/me"
    assert not child.keys() & {"ALAAS_API__PORT", "ALAAS_TOKEN", "ALAAS_SERVER"}


def test_a_worker_that_joins_keeps_the_settings_of_its_shell() -> None:
    shell = {"ALAAS_BROKER__URL": "redis://far/0"}
    child = joining_environment(shell, None, Stage.DOWNLOAD)
    assert child["ALAAS_BROKER__URL"] == "redis://far/0" and "ALAAS_CONFIG" not in child
    assert child["OMP_NUM_THREADS"] == "1"


def test_a_folder_with_a_package_of_our_name_is_left_off_the_path(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "theirs" / "api").mkdir(parents=True)
    (tmp_path / "models").mkdir()
    given = os.pathsep.join([str(tmp_path / "theirs"), "", str(tmp_path / "models")])
    path = child_environment({"PYTHONPATH": given}, PATH, None)["PYTHONPATH"].split(os.pathsep)
    assert path == [str(ROOT), str(tmp_path / "models")]
    assert "holds another 'api'" in caplog.text


def test_without_the_servers_packages_the_error_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"celery.*alaas\[server\]"):
        check_installed()
