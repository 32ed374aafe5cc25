"""What loads a model runs in a process of its own, since neither client nor command line has torch: started by command.

Such a process prints one line of JSON: what it found, or the problem (alaas_workers/one_answer.py).
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from alaas.commands import check_installed, joining_environment, python
from alaas.errors import AlaasError, ConfigError, ModelError
from alaas.jobs import Stage
from alaas.process import exit_words


def ask(module: str, arguments: Sequence[str], config_path: Path | None) -> dict[str, Any]:
    """Run `module` as an inference worker would be run, and give its answer; its log goes to our standard error.

    `config_path`: None takes the environment's, else the defaults. Raises ConfigError or ModelError as the process did.
    """
    check_installed()
    environment = joining_environment(os.environ, config_path, Stage.INFERENCE)
    ran = subprocess.run(python(module, *arguments), env=environment, stdout=subprocess.PIPE)
    try:
        answer = json.loads(ran.stdout)
    except ValueError:
        raise ModelError(f"the process that loads the model ended ({exit_words(ran.returncode)})") from None
    if "problem" in answer:
        raise _as_error(answer["problem"])
    return dict(answer)


def _as_error(problem: dict[str, Any]) -> AlaasError:
    kind = ConfigError if problem["code"] == ConfigError.code else ModelError
    return kind(problem["detail"], field=problem["field"])
