"""docs/s3.md, run as it stands against moto: only the endpoint is added, and the null model stands in for ResNet."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from alaas.cli.app import main
from alaas.config import parse_config
from alaas.config.loading import parse_file
from tests.support import images
from tests.support.docs import blocks
from tests.support.fleets import Rig
from tests.support.s3_server import S3Server

COMMANDS = [line[2:] for block in blocks("s3.md", "console") for line in block.splitlines()]


@pytest.mark.parametrize("text", blocks("s3.md", "yaml"))
def test_its_settings_are_settings(text: str) -> None:
    parse_config(parse_file(text, "the page"))


def test_its_commands_push_a_prefix_and_choose_from_it(
    aws: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos = {f"images/{number}.jpg": images.jpeg(40, 30, seed=number) for number in range(24)}
    aws.put("my-bucket", photos | {"private/1.jpg": photos["images/1.jpg"], "images/": b""})
    text = blocks("s3.md", "yaml")[0].replace("source: torchvision", 'source: "null"')
    text = re.sub(" *weights: .*\n", "", text).replace("  s3:\n", f"  s3:\n    endpoint: {aws.url}\n")
    (tmp_path / "s3.yml").write_text(text + f"storage: {{data_dir: {tmp_path / 'data'}}}\n")
    monkeypatch.chdir(tmp_path)
    run("config check s3.yml")
    with Rig(tmp_path / "s3.yml") as rig:
        monkeypatch.setenv("ALAAS_SERVER", rig.server.url)
        run("push s3://my-bucket/images/ --dataset street")
        chosen = run("query --dataset street --budget 10 --plain").stdout.split()
        assert len(set(chosen)) == 10 and set(chosen) <= {f"s3://my-bucket/{key}" for key in photos}
        names: dict[str, Any] = {}
        for code in blocks("s3.md", "python"):
            exec(code.replace("localhost:8888", rig.server.url), names)  # our own page
        with names["client"] as client:
            report = client.query_by_uri(
                [chosen[0], "s3://my-bucket/private/1.jpg", "s3://my-bucket/images/no"], budget=1
            ).report
        assert capsys.readouterr().out.strip() in {f"s3://my-bucket/images/{number}.jpg" for number in (1, 2)}
        assert sorted(sample.code for sample in report.failed) == ["not_allowed", "not_found"]
        logs = "".join(log.read_text(errors="replace") for log in rig.server.fleet.logs.glob("*.log"))
    assert aws.keys[0] not in logs and aws.keys[1] not in logs


def run(command: str) -> Result:
    """A command that stands on the page."""
    assert f"alaas {command}" in COMMANDS
    result = CliRunner().invoke(main, command.split(), catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result
