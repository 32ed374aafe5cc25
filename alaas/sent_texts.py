"""Texts on their way to the server: short ones stand in their URIs, longer ones go up once each by content hash."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any

from alaas.errors import InvalidRequest
from alaas.local_files import BATCH, SENDERS
from alaas.progress import UploadBar
from alaas.texts import text_uri
from alaas.transport import Http


def checked_texts(texts: Iterable[str], field: str = "texts") -> Iterator[str]:
    """The texts one by one. Raises InvalidRequest naming the first that is none."""
    if isinstance(texts, str | bytes) or not isinstance(texts, Iterable):
        raise InvalidRequest(f"expected a list of texts (got {texts!r:.80})", field=field)
    return _each_text(texts, field)


def _each_text(texts: Iterable[str], field: str) -> Iterator[str]:
    for position, text in enumerate(texts):
        if not isinstance(text, str):
            raise InvalidRequest(f"not a text (got {text!r:.80})", field=f"{field}.{position}")
        try:
            text.encode()
        except UnicodeEncodeError:
            detail = "not a text that can be sent: it holds a lone surrogate"
            raise InvalidRequest(detail, field=f"{field}.{position}") from None
        yield text


def sent_texts(http: Http, texts: Iterable[str], progress: bool | None = None) -> Iterator[tuple[str, str]]:
    """Pairs of each text and the URI by which the server will know it, in order; uploads on the way."""
    remaining = iter(texts)
    with UploadBar(progress) as bar:
        while batch := list(islice(remaining, BATCH)):
            short = {text: text_uri(text) for text in batch}
            long = {_sha256(text): text for text, uri in short.items() if uri is None}
            _upload(http, long, bar)
            for text in batch:
                yield text, short[text] or f"upload://{_sha256(text)}"


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _upload(http: Http, texts: dict[str, str], bar: UploadBar) -> None:
    if not texts:
        return
    answer = http.post("/v1/uploads/missing", dict[str, list[str]], {"sha256": list(texts)})
    missing = {sha: texts[sha].encode() for sha in answer.get("missing", []) if sha in texts}
    bar.expect(sum(map(len, missing.values())))

    def put(sha256: str) -> None:
        data = missing[sha256]
        octets = "application/octet-stream"
        http.send("PUT", f"/v1/uploads/{sha256}", Any, lambda: iter([data]), len(data), octets)
        bar.advance(len(data))

    with ThreadPoolExecutor(SENDERS) as senders:
        for _ in senders.map(put, missing):
            pass
