from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from alaas.cli.app import main
from alaas.config import parse_config
from alaas.errors import ConfigError


@pytest.mark.parametrize("store", ["s3", "gs", "az", "hf"])
def test_config_check_tells_of_a_store_that_lets_nobody_in(store: str, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(
        f"models: {{m: {{source: 'null'}}}}\nsources: {{{store}: {{anonymous: true}}, http: {{}}}}"
    )
    result = CliRunner().invoke(main, ["config", "check", str(tmp_path / "a.yml")])
    assert result.exit_code == 0 and f"sources.{store}.allow lists nothing" in result.stderr


@pytest.mark.parametrize("settings", ["", "{allow: [a]}", "{enabled: false, anonymous: true}"])
def test_config_check_says_nothing_of_others(settings: str, tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text(f"models: {{m: {{source: 'null'}}}}\nsources: {{s3: {settings}}}")
    result = CliRunner().invoke(main, ["config", "check", str(tmp_path / "a.yml")])
    assert result.exit_code == 0 and "lists nothing" not in result.stderr


@pytest.mark.parametrize("entry", ["", "s3://bucket", "/bucket", "bucket:key", " bucket", "*/a", "../a"])
def test_an_entry_that_is_no_bucket_is_refused_with_its_path(entry: str) -> None:
    with pytest.raises(ConfigError, match="without a scheme") as caught:
        parse_config({"sources": {"s3": {"allow": ["fine", entry]}}})
    assert caught.value.field == "sources.s3.allow.1"


@pytest.mark.parametrize("endpoint", ["minio:9000", "ftp://minio", "http://user:secret@minio", "http://minio /a"])
def test_an_endpoint_that_is_none_is_refused(endpoint: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_config({"sources": {"s3": {"endpoint": endpoint}}})
    assert caught.value.field == "sources.s3.endpoint"
