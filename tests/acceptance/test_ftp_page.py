"""docs/ftp.md, run as it stands against a server with TLS and a login: the null model stands in for ResNet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from alaas.cli.app import main
from alaas.config import parse_config
from alaas.config.loading import load_config, parse_file
from tests.support import images
from tests.support.certificates import make_certificate
from tests.support.docs import blocks
from tests.support.fleets import Rig
from tests.support.ftp_server import PASSWORD, USER, FtpServer

COMMANDS = [line[2:] for block in blocks("ftp.md", "console") for line in block.splitlines()]
HOST = "ftps://ftp.example.org"


@pytest.mark.parametrize("text", blocks("ftp.md", "yaml"))
def test_its_settings_are_settings(text: str) -> None:
    (login,) = parse_config(parse_file(text, "the page")).sources.ftp.logins
    assert login.server == HOST


def test_a_login_can_stand_in_the_environment() -> None:
    (command,) = (command for command in COMMANDS if command.startswith("export "))
    name, _, value = command.removeprefix("export ").partition("=")
    (login,) = load_config(environ={name: value.strip("'")}).sources.ftp.logins
    assert (login.server, login.user) == (HOST, "reader")


def test_its_commands_push_a_folder_and_choose_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [*(f"images/{number}.jpg" for number in range(20)), "images/night/20.jpg", "private/1.jpg"]:
        (tmp_path / "served" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "served" / name).write_bytes(images.jpeg(40, 30, seed=len(name)))
    certificate = make_certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    monkeypatch.chdir(tmp_path)
    with FtpServer(tmp_path / "served", has_login=True, certificate=certificate) as server:
        here = server.uri(host="localhost").rstrip("/")
        write_page_config(tmp_path, here)
        run("config check ftp.yml", here)
        with Rig(tmp_path / "ftp.yml") as rig:
            monkeypatch.setenv("ALAAS_SERVER", rig.server.url)
            run(f"push {HOST}/images/ --dataset street", here)
            chosen = run("query --dataset street --budget 10 --plain", here).split()
            assert len(set(chosen)) == 10 and all(uri.startswith(f"{here}/images/") for uri in chosen)
            names: dict[str, Any] = {}
            for code in blocks("ftp.md", "python"):
                exec(code.replace("localhost:8888", rig.server.url).replace(HOST, here), names)  # our own page
            with names["client"] as client:
                bad = [f"{here}/private/1.jpg", f"{here}/images/no", f"{here.replace('ftps', 'ftp')}/images/1.jpg"]
                report = client.query_by_uri([chosen[0], *bad], budget=1).report
            assert capsys.readouterr().out.strip() in {f"{here}/images/{number}.jpg" for number in (1, 2)}
            assert sorted(one.code for one in report.failed) == ["forbidden", "not_allowed", "not_found"]
            logs = "".join(log.read_text(errors="replace") for log in rig.server.fleet.logs.glob("*.log"))
    assert PASSWORD not in logs


def write_page_config(folder: Path, here: str) -> None:
    """The page's own, of this server and with a model that needs no weights."""
    text = blocks("ftp.md", "yaml")[0].replace("source: torchvision", 'source: "null"').replace(HOST, here)
    config = yaml.safe_load(re.sub(" *weights: .*\n", "", text))
    config["sources"]["ftp"]["logins"][0] |= {"user": USER, "password": PASSWORD}
    (folder / "ftp.yml").write_text(yaml.safe_dump(config | {"storage": {"data_dir": str(folder / "data")}}))


def run(command: str, here: str) -> str:
    """A command that stands on the page; gives what it prints."""
    assert f"alaas {command}" in COMMANDS
    result = CliRunner().invoke(main, command.replace(HOST, here).split(), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout
