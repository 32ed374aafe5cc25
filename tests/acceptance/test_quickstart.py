"""docs/quickstart.md, run as it stands; only the weights, which would be fetched, are left random."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.support import images
from tests.support.fleets import Rig

PAGE = Path(__file__).resolve().parents[2] / "docs" / "quickstart.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


def test_the_quickstart_chooses_labels_and_chooses_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (config,) = blocks("yaml")
    data = f"storage: {{data_dir: {tmp_path / 'data'}}}\n"
    (tmp_path / "quickstart.yml").write_text(config.replace("IMAGENET1K_V1", "null") + data)
    (tmp_path / "images").mkdir()
    for seed in range(30):
        (tmp_path / "images" / f"{seed}.jpg").write_bytes(images.jpeg(40, 30, seed=seed))
    monkeypatch.chdir(tmp_path)
    with Rig(tmp_path / "quickstart.yml") as rig:
        names: dict[str, Any] = {}
        for code in blocks("python"):
            exec(code.replace("localhost:8888", rig.server.url), names)  # our own page
        names["client"].close()
        shown = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [int(rank) for rank, _, _ in shown] == list(range(1, 11))
