from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from alaas.config import Config, ModelConfig, load_config, parse_config
from alaas.config.effective import effective_config
from alaas.config.loading import MAX_FILE_BYTES, dump_config
from alaas.errors import ConfigError

EXAMPLES = Path(__file__).resolve().parents[3] / "examples"
PAPER = "active_learning.strategy.infer_model"
Load = Callable[..., Config]


@pytest.fixture
def load(tmp_path: Path) -> Load:
    """Loads a text as a file, with nothing of this shell's environment."""

    def load(text: str | bytes, environ: dict[str, str] | None = None, **overrides: Any) -> Config:
        path = tmp_path / "alaas.yml"
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return load_config(path, {name.replace("__", "."): value for name, value in overrides.items()}, environ or {})

    return load


def refused(load: Load, text: str | bytes, **options: Any) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(text, **options)
    return caught.value


def test_no_file_means_the_defaults() -> None:
    config = load_config(environ={})
    assert config == Config()
    assert (config.api.port, config.default_model, config.strategy) == (8888, "resnet18", {"type": "LeastConfidence"})


def test_the_papers_figure_3_is_read_as_it_stands() -> None:
    config = load_config(EXAMPLES / "example.yml", environ={})
    assert (config.name, config.version, config.strategy) == ("IMG_CLASSIFICATION", 0.1, {"type": "LeastConfidence"})
    model = config.models["resnet18"]
    assert (model.source, model.repo, model.name) == ("torch_hub", "pytorch/vision:release/0.12", "resnet18")
    assert (model.batch_size, model.instance_group[0].kind) == (4, "KIND_GPU")
    assert config.api.port == 8888
    assert config.triton is not None
    assert config.triton.url == "localhost:8900" and model.engine == "auto"
    assert config.triton.worker is not None and config.triton.worker.tag == "22.03-pyt-python-py3"


def test_the_published_packages_file_is_read_as_it_stands(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        config = load_config(EXAMPLES / "published.yml", environ={})
    model = config.models["resnet18"]
    assert (model.source, model.repo, model.batch_size) == ("torch_hub", "pytorch/vision:v0.10.0", 1)
    assert (model.device, config.api.port, config.workers.inference.processes) == ("cpu", 60035, 1)
    assert config.api.host == "127.0.0.1" and "is public and there are no api.tokens" in caplog.text


def test_the_published_packages_text_models_are_huggingfaces(load: Load) -> None:
    def model_of(text: str) -> ModelConfig:
        return load(f"active_learning: {{strategy: {{model: {{{text}}}}}}}").models["owner/news"]

    commit = "0" * 40
    model = model_of(f"name: owner/news, hub: 'huggingface:{commit}', tokenizer: owner/news, task: text-classification")
    assert (model.source, model.modality, model.repo, model.revision) == ("huggingface", "text", "owner/news", commit)
    assert model.text is None
    other = model_of("name: owner/news, hub: models/news, tokenizer: models/tokenizer, batch_size: 4")
    assert other.text is not None
    assert (other.repo, other.text.tokenizer, other.batch_size) == ("models/news", "models/tokenizer", 4)


def test_the_published_host_is_kept_where_there_are_tokens(load: Load) -> None:
    text = (EXAMPLES / "published.yml").read_text() + f"api:\n  tokens: [{{owner: me, sha256: '{'0' * 64}'}}]\n"
    assert load(text).api.host == "0.0.0.0"


def test_replicas_of_the_published_file_are_inference_processes(load: Load) -> None:
    assert load("active_learning: {al_worker: {replicas: 3}}").workers.inference.processes == 3


def test_the_full_template_has_every_setting_at_its_default() -> None:
    path = EXAMPLES / "full.yml"
    assert load_config(path, environ={}) == Config()
    given, lines = yaml.safe_load(path.read_text()), path.read_text()
    for name, field in Config.model_fields.items():
        assert name in given or f"# {name}:" in lines
        section = getattr(Config(), name)
        for setting in getattr(type(section), "model_fields", {}):
            assert setting in (given[name] or {}) or f"# {setting}:" in lines, f"{name}.{setting}"
        assert field is not None


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yml")), ids=lambda path: path.name)
def test_every_example_is_right(path: Path) -> None:
    load_config(path, environ={})


def test_the_command_line_goes_before_the_environment_and_that_before_the_file(load: Load) -> None:
    text, environ = "api: {port: 1, threads: 9}", {"ALAAS_API__PORT": "2"}
    assert load(text).api.port == 1
    assert load(text, environ).api.port == 2
    assert load(text, environ, api__port=3).api.port == 3
    assert load(text, environ, api__port=None).api.port == 2
    assert load(text, environ, api__port=3).api.threads == 9


def test_the_environment_is_read_as_yaml(load: Load) -> None:
    environ = {"ALAAS_SOURCES__FILE__ROOTS": "[/a, /b]", "ALAAS_FLOWER__ENABLED": "true"}
    config = load("", environ)
    assert config.sources.file.roots == [Path("/a"), Path("/b")] and config.flower.enabled


def test_the_clients_variables_are_no_settings(load: Load) -> None:
    assert load("", {"ALAAS_TOKEN": "word", "ALAAS_SERVER": "host", "ALAAS_CONFIG": "x"}) == Config()


def test_the_file_may_be_named_by_the_environment(tmp_path: Path) -> None:
    (tmp_path / "a.yml").write_text("name: mine")
    assert load_config(environ={"ALAAS_CONFIG": str(tmp_path / "a.yml")}).name == "mine"


@pytest.mark.parametrize(
    ("text", "field", "nearest"),
    [
        ("nmae: x", "nmae", "name"),
        ("api: {prot: 3}", "api.prot", "port"),
        ("API: {}", "API", "api"),
        ("models: {m: {sorce: x}}", "models.m.sorce", "source"),
        ("models: {m: {batch-size: 3}}", "models.m.batch-size", "batch_size"),
        ("models: {m: {transform: {rezise: 3}}}", "models.m.transform.rezise", "resize"),
        ("models: {m: {instance_group: [{cuont: 3}]}}", "models.m.instance_group.0.cuont", "count"),
        ("sources: {http: {alow_hosts: []}}", "sources.http.alow_hosts", "allow_hosts"),
        ("active_learning: {strategyy: {}}", "active_learning.strategyy", "strategy"),
        ("active_learning: {al_worker: {prot: 1}}", "active_learning.al_worker.prot", "port"),
        ("active_learning: {}\nmodel: {}", "model", "models"),
    ],
)
def test_an_unknown_key_is_refused_with_its_path_and_the_nearest_name(
    load: Load, text: str, field: str, nearest: str
) -> None:
    error = refused(load, text)
    assert error.field == field
    assert error.detail.endswith(f"nearest known: {nearest!r}")


@pytest.mark.parametrize(
    ("text", "field", "words"),
    [
        ("api: {port: '80'}", "api.port", "valid integer (got '80')"),
        ("api: {port: 99999}", "api.port", "less than or equal to 65535 (got 99999)"),
        ("api: {port: true}", "api.port", "valid integer"),
        ("api: 3", "api", "a mapping (got 3)"),
        ("models: {}", "models", "at least 1"),
        ("models: {m: {precision: bf17}}", "models.m.precision", "'fp32', 'bf16' or 'fp16' (got 'bf17')"),
        ("pipeline: {scan_features: [x]}", "pipeline.scan_features.0", "'probabilities', 'label_probabilities'"),
        ("sources: {http: {allow_hosts: 10.0.0.0/8}}", "sources.http.allow_hosts", "a list"),
        ("strategy: LeastConfidence", "strategy", "a mapping"),
        ("strategy: {typ: LeastConfidence}", "strategy.type", "is required"),
        ("api: {host: 0.0.0.0}", "api.host", "needs api.tokens"),
        ("name: 2026-01-01", None, "not plain data"),
        ("version: .nan", None, "not plain data"),
        ('name: "\\ud800"', None, "not Unicode"),
        ("active_learning: 3", "active_learning", "expected a mapping"),
        ("active_learning: {strategy: {infer_model: {model: m}}}", f"{PAPER}.hub_name", "is required"),
        ("active_learning: {strategy: {infer_model: {model: [m], hub_name: h}}}", f"{PAPER}.model", "expected a name"),
        ("active_learning: {strategy: {infer_model: {}, model: {}}}", "active_learning.strategy", "not both"),
        ("active_learning: {al_worker: {protocol: grpc}}", "active_learning.al_worker.protocol", "'http' is"),
        ("active_learning: {strategy: {model: {name: n, task: t}}}", "active_learning.strategy.model.task",
         "known: text-classification"),
    ],
)  # fmt: skip
def test_a_wrong_value_is_refused_with_its_path(load: Load, text: str, field: str | None, words: str) -> None:
    error = refused(load, text)
    assert error.field == field and words in error.detail


@pytest.mark.parametrize(
    "endpoint", ["http://host:99999", "http://host:abc", "http://[::1", "https://", "minio:9000", "ftp://host"]
)
def test_an_endpoint_that_no_connection_could_be_made_to_is_refused(load: Load, endpoint: str) -> None:
    assert refused(load, f"sources: {{s3: {{endpoint: '{endpoint}'}}}}").field == "sources.s3.endpoint"


@pytest.mark.parametrize("endpoint", ["http://minio.internal:9000", "https://[::1]:9000/base/", "http://my_host"])
def test_an_endpoint_has_a_host_and_perhaps_port_and_path(load: Load, endpoint: str) -> None:
    assert load(f"sources: {{s3: {{endpoint: '{endpoint}'}}}}").sources.s3.endpoint == endpoint


@pytest.mark.parametrize(
    "text",
    [
        "sources: {s3: {endpoint: 'https://key:hunter2@minio'}}",
        "sources: {az: {endpoint: 'https://account.blob.core.windows.net/?sig=hunter2'}}",
        "sources: {az: {account: 'AccountKey=hunter2'}}",
        "sources: {ftp: {logins: {server: 'ftp://h', user: u, password: hunter2}}}",
        "sources: {ftp: {logins: 'ftp://u:hunter2@h'}}",
        "sources: {ftp: {logins: ['ftp://u:hunter2@h']}}",
        "sources: {ftp: {logins: [{server: 'ftp://h', password: hunter2}]}}",
        "sources: {ftp: [{password: hunter2}]}",
        "broker: 'redis://:hunter2@h'",
        "broker: ['redis://:hunter2@h']",
        "api: {tokens: {owner: me, sha256: hunter2}}",
    ],
)
def test_a_wrong_value_that_may_hold_a_secret_is_not_repeated(load: Load, text: str) -> None:
    error = refused(load, text)
    assert error.field is not None and "hunter2" not in str(error)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a: [", "is not YAML at line 1"),
        ("- a", "no mapping at its top"),
        ("api:\n  port: 1\n  port: 2", "line 3: the key 'port' is given twice"),
        ("1: a", "line 1: the key 1 is not a word"),
        ("on: a", "the key True is not a word"),
        ("a: &a [x]\nb: *a", "line 2: YAML aliases are not accepted"),
        ("name: !!python/object/apply:os.system [ls]", "could not determine a constructor"),
        ("a: " + "[" * 5000, "nested too deeply"),
        (b"\xff\xfe", "is not UTF-8"),
        (b"#" * (MAX_FILE_BYTES + 1), "is larger than"),
    ],
)
def test_a_file_that_is_not_plain_yaml_is_refused(load: Load, text: str | bytes, words: str) -> None:
    assert words in refused(load, text).detail


def test_an_alias_bomb_costs_nothing(load: Load) -> None:
    levels = [f"l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 9)}]" for n in range(1, 30)]
    assert "aliases" in refused(load, "\n".join(["l0: &l0 lol", *levels])).detail


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    for path in (tmp_path / "none.yml", tmp_path):
        with pytest.raises(ConfigError, match=f"cannot read {path}"):
            load_config(path, environ={})


def test_an_empty_section_means_its_defaults(load: Load) -> None:
    assert load("api:\nsources: {file: , http: }\nworkers: {download: }\n") == Config()
    assert load("models: {resnet18: }").models["resnet18"].batch_size == 16
    assert load("api:", {"ALAAS_API__PORT": "9"}).api.port == 9


def test_the_defaults_of_a_section_stay_beside_what_is_given(load: Load) -> None:
    pools = load("workers: {download: {processes: 3}, selection: {processes: 3}}").workers
    assert (pools.download.concurrency, pools.selection.concurrency, pools.inference.concurrency) == (4, 2, 2)


SECRETS = """
broker: {url: "redis://:hunter2@ledger/0", messages_url: "amqp://me:hunter2@rabbit/"}
cache: {url: "redis://:hunter2@cache/0"}
catalog: {url: "postgresql+psycopg://me:hunter2@db/alaas"}
flower: {password: hunter2}
"""


def test_secrets_are_hidden_unless_asked_for(load: Load) -> None:
    config = load(SECRETS)
    assert "hunter2" not in dump_config(config) and "hunter2" not in repr(config)
    assert dump_config(config, secrets=True).count("hunter2") == 5


@pytest.mark.parametrize("text", ["broker: {url: [hunter2]}", "flower: {password: {hunter2: 1}}"])
def test_an_error_does_not_repeat_a_secret(load: Load, text: str) -> None:
    assert "hunter2" not in str(refused(load, text))


@pytest.mark.parametrize("name", ["full.yml", "cluster.yml", "example.yml", "published.yml"])
def test_what_is_dumped_reads_as_the_same(load: Load, name: str) -> None:
    config = load((EXAMPLES / name).read_text() + SECRETS if name == "example.yml" else (EXAMPLES / name).read_text())
    assert parse_config(yaml.safe_load(dump_config(config, secrets=True))) == config


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
                    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10),
       st.sampled_from([*Config.model_fields, "active_learning"]))  # fmt: skip
def test_whatever_a_section_holds_there_is_a_configuration_or_a_clear_error(value: Any, name: str) -> None:
    from alaas.config.readings import as_full_format

    try:
        parse_config(as_full_format({name: value})[0])
    except ConfigError as error:
        assert error.detail


def test_paths_of_the_effective_configuration_are_absolute(
    load: Load, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hub").mkdir()
    config = load(
        "models: {a: {source: torch_hub, repo: hub, weights: V1}, b: {source: file, path: m.pt}}\n"
        "torch_hub: {dir: cache}\nsources: {file: {roots: [pool]}}\ncatalog: {url: 'sqlite:///here.db'}"
    )
    effective = effective_config(config, {})
    monkeypatch.chdir("/")
    assert effective.models["a"].repo == str(tmp_path / "hub")
    assert effective.models["a"].weights == "V1"
    assert effective.models["b"].path == tmp_path / "m.pt"
    assert effective.torch_hub.dir == tmp_path / "cache"
    assert effective.file_roots == [tmp_path / "pool"]
    assert effective.catalog_url == f"sqlite:///{tmp_path}/here.db"
    assert effective.uploads_dir == tmp_path / ".alaas" / "uploads"


def test_a_public_server_reads_no_files_unless_told(load: Load) -> None:
    config = load(f"api: {{host: 0.0.0.0, tokens: [{{owner: me, sha256: '{'0' * 64}'}}]}}")
    assert effective_config(config, {}).sources.file.roots == []


def test_a_monitor_without_a_password_gets_one(load: Load) -> None:
    assert effective_config(load("flower: {enabled: true}"), {}).flower.password is not None
    assert effective_config(load(""), {}).flower.password is None
