"""The engine of torch models: batches are prepared in the calling thread while the device computes the ones before.

A row depends on its array alone: batches are padded so that no matrix has too few rows to round like the others.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future

import torch

from alaas.config import Config
from alaas.errors import AlaasError, ModelError
from alaas.jobs import Feature, ModelCard
from alaas_workers.backends.batches import cut, padded
from alaas_workers.backends.placement import placements, threads_each
from alaas_workers.backends.protocol import Arrays, Rows, blank_bad_rows, empty_rows
from alaas_workers.backends.replica import Computed, Replica
from alaas_workers.models import load_model, settings_of
from alaas_workers.models.loaded import PLAIN, LoadedModel
from alaas_workers.models.loading import example_batch

logger = logging.getLogger(__name__)


class TorchBackend:
    """Loads the model once, copies it to every device of its instance groups, and warms each copy up."""

    def __init__(self, name: str, config: Config) -> None:
        devices, warnings = placements(name, settings_of(name, config), self.gpus())
        for warning in warnings:
            logger.warning("%s", warning)
        model = load_model(name, config, devices[0])
        self.card: ModelCard = model.card
        self._model = model
        models = [model, *(model.copy_to(torch.device(device)) for device in devices[1:])]
        threads = threads_each(torch.get_num_threads(), devices)
        self._replicas = [Replica(copy, threads) for copy in models]
        self._lock = threading.Lock()
        self._has_failed = False
        self._warm_up()

    @staticmethod
    def gpus() -> int:
        """How many this engine can use."""
        return torch.cuda.device_count()

    @staticmethod
    def row_multiple(model: LoadedModel) -> int:
        """Batches are filled up to a multiple of so many rows."""
        return model.row_multiple

    def infer(
        self, arrays: Arrays, features: Collection[Feature], on_progress: Callable[[], None]
    ) -> dict[Feature, Rows]:
        """See `Backend.infer`. Several threads at once keep the device busy between one's chunks."""
        out = empty_rows(self.card, features, len(arrays))
        waiting: deque[tuple[list[int], Future[Computed]]] = deque()
        for rows in self._cut(arrays):
            waiting.append((rows, self._start([arrays[row] for row in rows], features, on_progress)))
            if len(waiting) > len(self._replicas):  # each has one to compute, and one more is ready
                self._finish(*waiting.popleft(), out, on_progress)
        while waiting:
            self._finish(*waiting.popleft(), out, on_progress)
        return blank_bad_rows(out)

    def close(self) -> None:
        for replica in self._replicas:
            replica.close()

    def _cut(self, arrays: Arrays) -> list[list[int]]:
        shapes = [array.shape for array in arrays]
        return cut(shapes, self._model.transform.input_shape, self._model.batch_size)

    def _start(
        self, arrays: Arrays, features: Collection[Feature], on_progress: Callable[[], None]
    ) -> Future[Computed]:
        with self._lock:
            replica = min(self._replicas, key=lambda each: each.load)
            replica.load += 1
        try:
            model = replica.model
            rows = padded(arrays, self.row_multiple(model))
            batch = model.transform.to_input(rows, model.device, channels_last=model.channels_last)
            future = replica.submit(batch, len(arrays), features, on_progress)
        except BaseException:
            self._release(replica)
            raise
        future.add_done_callback(lambda _: self._release(replica))
        return future

    def _release(self, replica: Replica) -> None:
        with self._lock:
            replica.load -= 1

    def _finish(
        self, rows: Sequence[int], future: Future[Computed], out: dict[Feature, Rows], on_progress: Callable[[], None]
    ) -> None:
        for feature, values in self._computed(future, len(rows)).items():
            if values.shape != (len(rows), out[feature].shape[1]):
                raise ModelError(
                    f"model {self.card.name!r} gives {values.shape[0]} x {values.shape[1]} {feature.value} for"
                    f" {len(rows)} samples, and gave {out[feature].shape[1]} each when it was loaded",
                    field=f"models.{self.card.name}",
                )
            out[feature][rows] = values
        on_progress()

    def _computed(self, future: Future[Computed], count: int) -> dict[Feature, Rows]:
        try:
            return future.result().rows()
        except torch.OutOfMemoryError:
            raise
        except RuntimeError:
            if self._model.transform.input_size is not None:
                raise
            # Without a crop an image has its own size, and this network does not take it: these samples fail alone.
            name, is_first = self.card.name, not self._has_failed
            self._has_failed = True  # how it fails is told once: a pool may hold as many of these as its user likes
            logger.warning("model %r fails on %d samples of one size", name, count, exc_info=is_first)
            return {}

    @property
    def _usual(self) -> list[Feature]:
        """What one forward pass gives. Many passes and gradients take long; they warm up with their first chunk."""
        return [feature for feature in PLAIN if feature in (self.card.outputs or ())]

    def _warm_up(self) -> None:
        """A full batch on each copy: what compiles or allocates at first use does so before the first chunk."""
        for replica in self._replicas:
            rows = replica.model.batch_size
            batch = example_batch(replica.model, rows)
            try:
                replica.submit(batch, rows, self._usual).result().rows()
            except AlaasError:
                raise
            except Exception as error:
                logger.warning("model %r: warming up failed", self.card.name, exc_info=True)
                self.close()
                key = "compile" if self._model.settings.compile else "batch_size"
                raise ModelError(
                    f"model {self.card.name!r}: a batch of {rows} fails with {type(error).__name__};"
                    f" the worker's log has it (setting: {key})",
                    field=f"models.{self.card.name}.{key}",
                ) from None
