"""The engine of models on a Triton server: requests are in flight while the next batch is prepared.

The server is asked which model it serves before and after each chunk, so that features of two models are never mixed.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from alaas.config import Config
from alaas.config.schema import TritonConfig
from alaas.errors import ConfigError, ModelError
from alaas.jobs import SCORES, Feature, ModelCard
from alaas_workers import triton_names as names
from alaas_workers.backends.batches import cut, padded
from alaas_workers.backends.protocol import Arrays, EngineAway, EngineChanged, Rows, blank_bad_rows, empty_rows
from alaas_workers.backends.served_answers import Answer, Answers
from alaas_workers.backends.served_fit import Inputs, Judge
from alaas_workers.backends.served_model import ServedModel
from alaas_workers.backends.triton_wire import EngineFailed, NotServed, NotUnderstood, Refused, open_wire
from alaas_workers.models import settings_of, transform_for
from alaas_workers.models.scores import not_given

logger = logging.getLogger(__name__)

_MAX_DIGITS = 10  # of a number that the server tells
_ELSEWHERE = "a model on a Triton server is asked for its outputs alone"
T = TypeVar("T")


class TritonBackend:
    """A model as the server serves it when this is made: its version and fingerprint are held to."""

    def __init__(self, name: str, config: Config) -> None:
        settings = settings_of(name, config)
        self._settings, self._server = settings, _server_of(config)
        self._called = settings.name or name
        self._asked_version = str(settings.version or "")
        self._transform = transform_for(name, settings)
        self._judge = Judge(name, settings, self._transform)
        self._wire = open_wire(self._server)
        self._threads = ThreadPoolExecutor(1)  # until the server has told how many copies it runs
        try:
            self._served = self._look()
            self._fit = self._judge.fit(self._served)
            self._answers = Answers(self._fit, self._judge)
            self._in_flight = self._served.instances + 1  # each copy has one to compute, and one more is ready
            self._threads = ThreadPoolExecutor(self._in_flight, thread_name_prefix=f"triton-{name}")
            self.card: ModelCard = self._card(name)
        except BaseException:
            self.close()
            raise

    def infer(
        self, arrays: Arrays, features: Collection[Feature], on_progress: Callable[[], None]
    ) -> dict[Feature, Rows]:
        """See `Backend.infer`."""
        out = empty_rows(self.card, features, len(arrays))
        if not out or not arrays:
            return out
        self.check()
        waiting: deque[tuple[list[int], Future[Answer | None]]] = deque()
        try:
            for rows in cut([array.shape for array in arrays], self._transform.input_shape, self._fit.rows):
                waiting.append((rows, self._start([arrays[row] for row in rows])))
                if len(waiting) > self._in_flight:
                    self._finish(*waiting.popleft(), out, on_progress)
            while waiting:
                self._finish(*waiting.popleft(), out, on_progress)
        finally:
            for _, future in waiting:
                future.cancel()
        self.check()
        return blank_bad_rows(out)

    def close(self) -> None:
        """See `Backend.close`."""
        self._threads.shutdown(wait=True, cancel_futures=True)
        self._wire.close()

    def _look(self) -> ServedModel:
        """What the server serves now. Raises EngineAway, also of a server that fails to tell, and ModelError."""
        try:
            answers = self._patiently(lambda: self._wire.describe(self._called, self._asked_version))
            served = ServedModel.read(*answers)
        except NotServed:
            raise self._judge.error("name", "the Triton server has no such model or version") from None
        except EngineFailed as error:  # whatever ails it, no sample is to blame
            raise EngineAway(error.detail) from error
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, NotUnderstood) as error:
            logger.warning("model %r: what the Triton server tells is not understood", self._called, exc_info=True)
            raise self._judge.error("name", "what the Triton server tells of it is not understood") from error
        return served

    def check(self) -> None:
        """See `RemoteBackend.check`."""
        try:
            served = self._look()
        except ModelError as error:
            raise EngineChanged(error.detail) from error
        if served != self._served:
            raise EngineChanged("the Triton server serves another model under that name than before")

    def _start(self, arrays: Arrays) -> Future[Answer | None]:
        batch = self._transform.to_input(padded(arrays, self._fit.rows))
        return self._threads.submit(self._ask, self._judge.sent(self._served, batch))

    def _ask(self, inputs: Inputs) -> Answer | None:
        """One batch; None where the server takes no samples of this size."""
        version, outputs = self._served.version, self._fit.outputs
        try:
            return self._patiently(lambda: self._wire.infer(self._called, version, inputs, outputs))
        except NotServed as error:
            raise EngineChanged(error.detail) from error
        except Refused:
            self.check()
            if self._transform.input_size is not None:
                raise
            return None  # without one size for all, a sample may have one that this model does not take

    def _patiently(self, call: Callable[[], T]) -> T:
        """Again while the server is away or fails, `attempts` times in all."""
        for attempt in range(1, self._server.attempts):
            try:
                return call()
            except (EngineAway, EngineFailed):
                time.sleep(self._server.retry_delay_s * 2 ** (attempt - 1))
        return call()

    def _finish(
        self,
        rows: list[int],
        future: Future[Answer | None],
        out: dict[Feature, Rows],
        on_progress: Callable[[], None],
    ) -> None:
        answer = future.result()
        if answer is not None:
            made = self._answers.features(answer)
            for feature, kept in out.items():
                if made[feature].shape[1] != kept.shape[1]:
                    raise self._answers.promised_other(
                        feature, made[feature], f"they were {kept.shape[1]} wide at first"
                    )
                kept[rows] = made[feature][: len(rows)]
        on_progress()

    def _card(self, name: str) -> ModelCard:
        """Complete, after a batch without content that shows what is promised."""
        transform = self._transform
        batch = transform.to_input([transform.example()] * self._fit.rows)
        answer = self._tried(self._judge.sent(self._served, batch))
        made = self._answers.features(answer)
        self._answers.check_scores(made)
        widths = {feature: values.shape[1] for feature, values in made.items()}
        return ModelCard(
            name=name,
            modality=self._settings.modality,
            fingerprint=self._served.fingerprint(self._settings, transform.id, self._fit),
            transform=transform.id,
            classes=self._classes(widths),
            boxes=widths.get(Feature.BOX_SCORES),
            embedding_size=widths.get(Feature.EMBEDDINGS),
            passes=self._settings.passes,
            outputs=[feature for feature in Feature if feature in made],
            lacking=self._lacking(),
            input_size=list(transform.input_size) if transform.input_size else None,
            device="triton",
        )

    def _classes(self, widths: dict[Feature, int]) -> int | None:
        if self._fit.scores_of != "boxes":
            return widths.get(SCORES[self._fit.scores_of])
        told = self._served.parameters.get(names.CLASSES, "")
        return int(told) if told.isdecimal() and len(told) < _MAX_DIGITS else None

    def _lacking(self) -> dict[Feature, str]:
        why = {Feature.EMBEDDINGS: "none of its outputs is called so; name one in outputs.embeddings"}
        scores = SCORES[self._fit.scores_of]
        why[scores] = "it gives embeddings alone"
        reasons = dict.fromkeys(Feature, _ELSEWHERE) | why | not_given(self._fit.scores_of)
        return {feature: reason for feature, reason in reasons.items() if feature not in self._fit.features}

    def _tried(self, inputs: Inputs) -> Answer:
        try:
            answer = self._ask(inputs)
        except (Refused, EngineFailed, NotUnderstood, EngineChanged) as error:
            raise self._judge.error("transform", f"a first batch was not computed: {error.detail}") from error
        if answer is None:
            raise self._judge.error("transform", "the server does not take a sample of the usual size")
        return answer


def _server_of(config: Config) -> TritonConfig:
    if config.triton is None:
        raise ConfigError("names no Triton server", field="triton.url")
    return config.triton
