"""POST /v1/select: bring your own scores. The file goes to disk, and a child process with limits selects from it.

Both files, the one sent and the answer, have no name in the file system: they are gone with the last process that
holds them open, whatever kills it.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from typing import IO

from flask import Response, request

from alaas.config import Config
from alaas.errors import InvalidRequest, MalformedRequest
from alaas.jobs import StrategyRequest
from alaas.selection_process import select_apart
from alaas.selections import SelectAnswer, SelectRequest, SelectTask
from api.bodies import parse_as, read_capped
from api.forms import OVERHEAD_BYTES, FormParts, read_form
from api.idempotency import keep, replayed
from api.parts import Parts, parts
from api.routing import JSON, Call, RouteTable
from api.storage import storage_faults
from api.submission import as_dict, chosen_strategy
from strategies import StrategyError
from strategies.pool_files import format_of

ROUTES = RouteTable()
MAX_KEPT_BYTES = 1024 * 1024  # of an answer under its Idempotency-Key; a longer one is made again
PIECE_BYTES = 64 * 1024


@ROUTES.add("POST", "/v1/select", {200: SelectAnswer}, form=SelectRequest, keeps_key=True, errors=(429,))
def select(call: Call) -> Response:
    """Choose from your own probabilities or embeddings: a form of `request` (JSON) and `file` (NPZ or Parquet)"""
    own = parts()
    with ExitStack() as held:
        held.callback(own.selections.take())
        held.callback(own.slots.take())
        file = held.enter_context(_nameless(own.config))
        form = _received(own.config, file)
        if call.key and (kept := replayed(own.catalog, call.owner, call.key, form.digest())) and kept.get_data():
            return kept
        answer = _answer(own, form)
    if call.key:
        _keep(own, call, form.digest(), answer)
    return answer


def _received(config: Config, file: IO[bytes]) -> FormParts:
    """The form's parts, each within its cap, before the deadline."""
    limits = config.api
    form = FormParts(file, limits.max_select_bytes, limits.max_body_bytes)
    most = limits.max_select_bytes + limits.max_body_bytes + OVERHEAD_BYTES
    body = _in_time(read_capped(request.stream, request.content_length, most), limits.select_timeout_s)
    with storage_faults("selections"):
        read_form(body, request.mimetype_params.get("boundary"), form)
        file.flush()
    form.digest()  # of both parts, or an error that names the one that lacks
    return form


def _in_time(body: Iterator[bytes], timeout_s: float) -> Iterator[bytes]:
    """A sender who never falls silent may still take for ever."""
    deadline = time.monotonic() + timeout_s
    for piece in body:
        if time.monotonic() > deadline:
            raise MalformedRequest(f"the body took longer than {timeout_s:g} s to arrive")
        yield piece


def _answer(own: Parts, form: FormParts) -> Response:
    limits = own.config.api
    asked = parse_as(SelectRequest, bytes(form.request), limits.max_depth)
    strategy = chosen_strategy(asked.strategy, own.config)
    _check_format(form.file)
    answer = _nameless(own.config)
    try:
        task = SelectTask(
            request=asked.model_copy(update={"strategy": StrategyRequest.model_validate(as_dict(strategy))}),
            file=form.file.fileno(),
            answer=answer.fileno(),
            paths=own.config.strategies.paths,
            max_rows=limits.max_pool,
            max_bytes=limits.select_memory_bytes // 2,
            max_memory_bytes=limits.select_memory_bytes,
        )
        select_apart(task, limits.select_timeout_s, threads=1, is_stopping=own.stopping.is_set)
        return _streamed(answer)
    except BaseException:
        answer.close()
        raise


def _check_format(file: IO[bytes]) -> None:
    """What is neither NPZ nor Parquet does not cost a process."""
    file.seek(0)
    try:
        format_of(file.read(4))
    except StrategyError as error:
        raise InvalidRequest(error.detail, field=error.field) from None


def _nameless(config: Config) -> IO[bytes]:
    folder = config.storage.data_dir.expanduser()
    with storage_faults("selections"):
        folder.mkdir(parents=True, exist_ok=True)
        return tempfile.TemporaryFile(dir=folder)


def _streamed(answer: IO[bytes]) -> Response:
    size_bytes = answer.seek(0, os.SEEK_END)
    answer.seek(0)
    response = Response(iter(lambda: answer.read(PIECE_BYTES), b""), mimetype=JSON)
    response.headers["Content-Length"] = str(size_bytes)
    response.call_on_close(answer.close)
    return response


def _keep(own: Parts, call: Call, digest: str, answer: Response) -> None:
    """A long answer is not kept, only that there was one: a selection done again is the same, and changes nothing."""
    is_short = (answer.content_length or 0) <= MAX_KEPT_BYTES
    kept = Response(answer.get_data() if is_short else b"", status=answer.status_code)
    keep(own.catalog, call.owner, call.key or "", digest, kept)
