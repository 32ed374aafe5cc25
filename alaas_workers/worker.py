"""One stage's workers: `python -P -m alaas_workers.worker STAGE [--concurrency N]`.

Celery takes the hints; everything that counts happens in `pipeline.py` under the ledger's lease.
"""

from __future__ import annotations

import argparse
import logging
import os
import threading
import warnings
from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import Any

from billiard.exceptions import WorkerLostError
from celery import Celery, Task
from celery.exceptions import SecurityWarning
from celery.signals import worker_process_init, worker_ready, worker_shutting_down
from celery.worker.request import Request

from alaas.config import Config, load_config
from alaas.errors import InvalidRequest, Unavailable
from alaas.jobs import Stage
from alaas_workers.app import DESCRIBE, WORK, Hints, make_app, node_name
from alaas_workers.cache import Cache
from alaas_workers.heart import Heart
from alaas_workers.ledger import Ledger, Unit
from alaas_workers.logs import set_up_logs
from alaas_workers.pipeline import Pipeline, StageWork, token_prefix

logger = logging.getLogger(__name__)

# Named by text, so that a download worker never loads torch.
STAGE_WORK = {
    Stage.DOWNLOAD: "alaas_workers.stages.download:Download",
    Stage.PREPROCESS: "alaas_workers.stages.preprocess:Preprocess",
    Stage.INFERENCE: "alaas_workers.stages.inference:Inference",
    Stage.SELECTION: "alaas_workers.stages.selection:Selection",
}
# Downloads wait, so they are threads. Decoding may kill its process, so it has children. Inference never forks after
# torch has started, and one thread loads the next chunk while another's is on the device.
POOLS = {
    Stage.DOWNLOAD: "threads",
    Stage.PREPROCESS: "prefork",
    Stage.INFERENCE: "threads",
    Stage.SELECTION: "prefork",
}
_SIGN_OF_LIFE_S = 3.0
_REFRESH_S = 5.0
_CHUNKS_PER_CHILD = 1000  # then a decoding child is replaced, so that a leak in a codec stays small


class UnitRequest(Request):  # type: ignore[misc]  # celery is untyped
    """In the parent of a pool: when the child that held a unit dies, its lease ends at once, not a minute later."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        error = getattr(exc_info, "exception", None)
        error = getattr(error, "exc", error)  # billiard wraps it together with its traceback
        # billiard tells of some deaths as the exit that the child was making.
        if isinstance(error, WorkerLostError | SystemExit):
            try:
                self.task.abandon(str(self.args[0]), self.id)
            except (Unavailable, InvalidRequest, IndexError):
                logger.warning("a lost child's unit could not be given up; its lease will run out")
        return super().on_failure(exc_info, send_failed_event, return_ok)


class StageWorker:
    """The process of one stage: its Celery app, and what its tasks need, made in the child that runs them."""

    def __init__(self, stage: Stage, config: Config) -> None:
        self.stage, self.config = stage, config
        self.app: Celery = make_app(config)
        self.node = f"{stage}@{node_name()}:{os.getpid()}"
        self.ledger = Ledger.open(config)
        self._stopping = threading.Event()
        self._made = cache(self._make)  # one per process: the parent of a prefork pool never calls it
        self._register()

    def _register(self) -> None:
        worker = self

        class UnitTask(Task):  # type: ignore[misc]  # celery is untyped
            Request = UnitRequest
            abstract = True

            def abandon(self, unit: str, delivery: str) -> None:
                worker.ledger.abandon(Unit.parse(unit), token_prefix(worker.node, delivery))

        @self.app.task(name=WORK, base=UnitTask, bind=True)  # type: ignore[untyped-decorator]
        def work(task: Task, unit: str) -> None:
            worker.do(unit, task.request.id)

        @self.app.task(name=DESCRIBE)  # type: ignore[untyped-decorator]
        def describe(model: str) -> None:
            worker.describe(model)

    def do(self, text: str, delivery: str) -> None:
        try:
            unit = Unit.parse(text)
        except InvalidRequest:
            logger.warning("dropped a message that names no unit")
            return
        if unit.stage is not self.stage:
            logger.warning("dropped a message for another stage")
            return
        pipeline, work = self._made()
        try:
            pipeline.run(unit, delivery, work)
        except Unavailable as error:
            logger.warning("%s: left to the sweep (%s)", unit, error)

    def describe(self, model: str) -> None:
        _, work = self._made()
        if self.stage is Stage.INFERENCE and isinstance(model, str):
            work.describe(model)  # type: ignore[attr-defined]  # only inference knows models

    def _make(self) -> tuple[Pipeline, StageWork]:
        module, _, name = STAGE_WORK[self.stage].partition(":")
        make_work: Callable[[Config], StageWork] = getattr(import_module(module), name)
        heart = Heart(
            self.ledger,
            self.config,
            shared_progress=self.stage is Stage.INFERENCE,
            computing_counts=self.stage is Stage.SELECTION,
        )
        pipeline = Pipeline(self.config, self.ledger, Cache.open(self.config), Hints(self.app), heart, self.node)
        return pipeline, make_work(self.config)

    # Life of the process.

    def run(self, concurrency: int) -> None:
        """Until SIGTERM (work in hand is finished first)."""
        worker_ready.connect(self._on_ready, weak=False)
        worker_shutting_down.connect(self._on_stop, weak=False)
        if POOLS[self.stage] == "prefork":
            worker_process_init.connect(self._on_child, weak=False)
        self._preload()
        # Celery warns of root because of pickled messages; ours are JSON only.
        warnings.filterwarnings("ignore", category=SecurityWarning)
        arguments = [
            "--quiet", "worker", "--pool", POOLS[self.stage], "--concurrency", str(concurrency),
            "--queues", self.stage.value, "--hostname", self.node, "--loglevel", "WARNING",
            "--without-gossip", "--without-mingle", "-Ofair",  # heartbeats stay: Flower knows workers by them
        ]  # fmt: skip
        if self.stage is Stage.PREPROCESS:
            memory_kib = self.config.workers.max_child_memory_bytes // 1024
            arguments += ["--max-tasks-per-child", str(_CHUNKS_PER_CHILD), "--max-memory-per-child", str(memory_kib)]
        self.app.worker_main(arguments)

    @property
    def _decodes_images(self) -> bool:
        return any(model.modality == "vision" for model in self.config.models.values())

    def _preload(self) -> None:
        """Before the pool forks, so that its children start at once and share the pages. Nothing of torch runs here."""
        if self.stage is Stage.PREPROCESS:
            if self._decodes_images:
                import_module("alaas_workers.transforms.jpeg_operator").register()
        elif self.stage is Stage.SELECTION:
            import_module("alaas_workers.stages.selection").load_zoo(self.config)

    def _on_ready(self, **_: object) -> None:
        logger.info("%s worker ready: %s", self.stage, self.node)
        threading.Thread(target=self._show_life, name="life", daemon=True).start()
        if self.stage is Stage.INFERENCE:
            threading.Thread(target=self._load_first_model, name="first-model", daemon=True).start()
            if any(model.is_on_triton for model in self.config.models.values()):
                threading.Thread(target=self._refresh_models, name="models", daemon=True).start()

    def _load_first_model(self) -> None:
        from alaas_workers.model_cards import ModelCards

        try:
            for name in self.config.models:
                ModelCards.open(self.config).clear_error(name)
            self.describe(self.config.default_model)
        except Unavailable as error:
            logger.warning("the first model is loaded at the first job: %s", error)

    def _refresh_models(self) -> None:
        """A server's models change while no job looks at them: what is known of them is seconds old at most."""
        while not self._stopping.wait(_REFRESH_S):
            _, work = self._made()  # each time: when two threads make the first at once, one of the two is kept
            try:
                work.refresh()  # type: ignore[attr-defined]  # only inference knows models
            except Unavailable as error:
                logger.warning("the models' cards are not refreshed: %s", error)

    def _on_child(self, **_: object) -> None:
        if self.stage is Stage.PREPROCESS:
            # The pool has a child for each core that is to decode. Texts and most sounds need no torch at all; where a
            # transform loads it later, it reads this.
            os.environ["OMP_NUM_THREADS"] = "1"
            if self._decodes_images:
                from alaas_workers.transforms import use_one_thread

                use_one_thread()
            limit_memory(self.config.workers.max_child_memory_bytes)

    def _on_stop(self, **_: object) -> None:
        self._stopping.set()

    def _show_life(self) -> None:
        while not self._stopping.is_set():
            try:
                self.ledger.sign_of_life(self.stage, self.node)
            except Unavailable:
                logger.warning("the ledger is away")
            self._stopping.wait(_SIGN_OF_LIFE_S)
        try:
            self.ledger.gone(self.stage, self.node)
        except Unavailable:
            logger.debug("left without a word")


def limit_memory(size_bytes: int) -> None:
    """Let this process take no more heap than so; a decoder that wants more gets MemoryError, not the machine."""
    import resource

    resource.setrlimit(resource.RLIMIT_DATA, (size_bytes, size_bytes))


def main() -> None:
    parser = argparse.ArgumentParser(prog="alaas worker")
    parser.add_argument("stage", choices=[stage.value for stage in Stage])
    parser.add_argument("--concurrency", "-c", type=int, default=None)
    options = parser.parse_args()
    stage = Stage(options.stage)
    set_up_logs(stage.value)
    config = load_config()
    concurrency = options.concurrency or getattr(config.workers, stage.value).concurrency
    StageWorker(stage, config).run(concurrency)


if __name__ == "__main__":
    main()
