"""One copy of a model with a thread of its own, the only one that runs it: an OpenMP pool belongs to the thread that
uses it, so that many threads calling one model would multiply the pools.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import TYPE_CHECKING, cast

import torch

from alaas.jobs import Feature
from alaas_workers.backends.protocol import Rows
from alaas_workers.models.loaded import LoadedModel

if TYPE_CHECKING:
    from alaas_workers.transforms import Batch


class Computed:
    """Features of one batch, perhaps still on their way from the device."""

    def __init__(self, values: dict[Feature, torch.Tensor], done: torch.cuda.Event | None) -> None:
        self._values = values
        self._done = done

    def rows(self) -> dict[Feature, Rows]:
        """Waits for the device, in the thread of the caller: that of the replica goes on with the next batch."""
        if self._done is not None:
            self._done.synchronize()
        return {feature: values.numpy() for feature, values in self._values.items()}


class Replica:
    """`submit` from any thread; `load` tells how many batches wait for it or run."""

    def __init__(self, model: LoadedModel, threads: int) -> None:
        self.model = _compiled(model)
        self.load = 0  # guarded by the backend's lock
        self._thread = ThreadPoolExecutor(
            1, thread_name_prefix=f"model-{model.card.name}", initializer=_set_threads, initargs=(model.device, threads)
        )

    def submit(
        self,
        batch: Batch,
        count: int,
        features: Collection[Feature],
        on_progress: Callable[[], None] = lambda: None,
    ) -> Future[Computed]:
        """The first `count` rows of the batch's results; the rest is padding.

        `on_progress` is called in the replica's thread, within a batch that takes many passes; what it raises, the
        future raises.
        """
        return self._thread.submit(self._compute, batch, count, tuple(features), on_progress)

    def close(self) -> None:
        self._thread.shutdown(wait=True, cancel_futures=True)

    def _compute(
        self, batch: Batch, count: int, features: Collection[Feature], on_progress: Callable[[], None]
    ) -> Computed:
        outputs = self.model.outputs(batch, features, on_progress)
        wanted = {feature: outputs[feature][:count] for feature in features}
        if self.model.device.type != "cuda":
            return Computed(wanted, None)
        with torch.inference_mode(), torch.cuda.device(self.model.device):
            return Computed({feature: _to_host(values) for feature, values in wanted.items()}, _mark())


def _set_threads(device: torch.device, threads: int) -> None:
    if device.type == "cpu":
        torch.set_num_threads(threads)


def _compiled(model: LoadedModel) -> LoadedModel:
    if not model.settings.compile or model.is_program:
        return model
    # Freezing folds the weights into the code, which doubles what compilation gains on a CPU.
    module = torch.compile(model.module, dynamic=False, options={"freezing": True})
    return replace(model, module=cast(torch.nn.Module, module))


def _to_host(values: torch.Tensor) -> torch.Tensor:
    """A copy that does not hold up the thread: to memory that is not pinned it would."""
    host = torch.empty(values.shape, dtype=values.dtype, pin_memory=True)
    return host.copy_(values, non_blocking=True)


def _mark() -> torch.cuda.Event:
    done = torch.cuda.Event()  # type: ignore[no-untyped-call]
    done.record()
    return done
