"""Whether the Triton server and its models are ready, for whoever is asked often and must not wait: the API."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass

from alaas.config import Config
from alaas.errors import AlaasError
from alaas_workers.backends.protocol import EngineAway
from alaas_workers.backends.triton_wire import Wire, open_wire

logger = logging.getLogger(__name__)

FRESH_S = 2.0
WAIT_S = 1.5
_DEADLINE_S = 1.0  # of each question to the server


@dataclass(frozen=True)
class Looked:
    ok: bool
    detail: str
    at_s: float = float("-inf")  # monotonic


class TritonHealth:
    """One per process. One thread asks, and only when somebody wants to know and what is known is not fresh."""

    def __init__(self, config: Config) -> None:
        models = {name: settings for name, settings in config.models.items() if settings.is_on_triton}
        self._models = {name: settings.name or name for name, settings in models.items()}
        self._server = config.triton
        self._wire: Wire | None = None
        self._known = Looked(False, "does not answer")
        self._looking: threading.Thread | None = None
        self._lock = threading.Lock()

    def look(self) -> Looked | None:
        """What is known, at most FRESH_S old if the server answers within WAIT_S; None where no model is on Triton."""
        if not self._models:
            return None
        with self._lock:
            if time.monotonic() - self._known.at_s < FRESH_S:
                return self._known
            if self._looking is None or not self._looking.is_alive():
                self._looking = threading.Thread(target=self._ask, name="triton-health", daemon=True)
                self._looking.start()
            looking = self._looking
        looking.join(WAIT_S)
        return Looked(False, "does not answer in time") if looking.is_alive() else self._known

    def _ask(self) -> None:
        try:
            ok, detail = self._answer()
        except EngineAway:
            ok, detail = False, "does not answer"
        except AlaasError as error:
            ok, detail = False, error.detail
        except Exception:
            logger.exception("the Triton server could not be asked")
            ok, detail = False, "could not be asked; the API's log says why"
        self._known = Looked(ok, detail, time.monotonic())

    def _answer(self) -> tuple[bool, str]:
        if self._wire is None:
            assert self._server is not None  # noqa: S101 - a configuration with models on Triton names the server
            self._wire = open_wire(self._server.model_copy(update={"connect_timeout_s": _DEADLINE_S}))
        if not self._wire.is_ready():
            return False, "is not ready"
        away = [name for name, served in self._models.items() if not self._wire.is_ready(served)]
        return not away, f"does not serve {', '.join(away)}" if away else "answers, and serves its models"
