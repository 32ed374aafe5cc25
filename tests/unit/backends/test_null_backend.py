from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np

from alaas.jobs import Feature
from alaas_workers.backends import open_backend
from tests.support.tiny_models import config_of

ROOT = Path(__file__).resolve().parents[3]
BLACK = np.zeros((3, 2, 2), np.uint8)


def _nothing() -> None:
    pass


def _probabilities(name: str = "m") -> list[float]:
    backend = open_backend(name, config_of(name, source="null"))
    return [
        float(value) for value in backend.infer([BLACK], [Feature.PROBABILITIES], _nothing)[Feature.PROBABILITIES][0]
    ]


def test_its_numbers_are_the_same_on_every_machine() -> None:
    expected = [0.342038, 0.007839, 0.032217, 0.060149, 0.002383, 0.06942, 0.007355, 0.288008, 0.160719, 0.029872]
    assert [round(value, 6) for value in _probabilities()] == expected


def test_null_models_of_two_names_disagree() -> None:
    assert _probabilities("a") != _probabilities("b")


def test_equal_bytes_of_another_shape_give_other_numbers() -> None:
    backend = open_backend("m", config_of(source="null"))
    rows = backend.infer([BLACK, BLACK.reshape(3, 4, 1)], [Feature.EMBEDDINGS], _nothing)[Feature.EMBEDDINGS]
    assert not np.array_equal(rows[0], rows[1])
    assert (rows >= -1).all() and (rows < 1).all()


def test_it_runs_without_torch() -> None:
    program = (
        "import sys, numpy as np; from alaas.config import parse_config; from alaas_workers.backends import *\n"
        "backend = open_backend('n', parse_config({'models': {'n': {'source': 'null'}}}))\n"
        "backend.infer([np.zeros((3, 2, 2), np.uint8)], backend.card.outputs, list); print('torch' in sys.modules)"
    )
    ran = subprocess.run([sys.executable, "-P", "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert ran.stdout.strip() == "False"
