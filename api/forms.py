"""A form (multipart/form-data) of two parts: `request`, which is JSON, and `file`, which goes to disk as it comes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from hashlib import sha256
from typing import IO, Any

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.sansio.multipart import Data, Epilogue, Event, Field, File, MultipartDecoder, NeedData

from alaas.config.readings import unknown_key
from alaas.errors import InvalidRequest, MalformedRequest, TooLarge

REQUEST, FILE = "request", "file"
MAX_BUFFER_BYTES = 256 * 1024  # what the decoder may hold of one part's head, or before it knows a piece to be data
OVERHEAD_BYTES = 16 * 1024  # of boundaries and heads, beside the two parts
_BOUNDARY = re.compile(r"[0-9A-Za-z'()+_,./:=? -]{0,69}[0-9A-Za-z'()+_,./:=?-]")


@dataclass
class FormParts:
    """What came so far. `file` is written to; both caps are in bytes."""

    file: IO[bytes]
    max_file_bytes: int
    max_request_bytes: int
    request: bytearray = field(default_factory=bytearray)
    seen: list[str] = field(default_factory=list)
    digests: dict[str, Any] = field(default_factory=dict)
    _size: int = 0

    def begin(self, name: str | None) -> None:
        if name not in (REQUEST, FILE):
            raise InvalidRequest(unknown_key(name or "", {REQUEST, FILE}), field=(name or "")[:60] or None)
        if name in self.seen:
            raise InvalidRequest("is given twice", field=name)
        self.seen.append(name)
        self.digests[name], self._size = sha256(), 0

    def add(self, data: bytes) -> None:
        name = self.seen[-1]
        limit = self.max_file_bytes if name == FILE else self.max_request_bytes
        self._size += len(data)
        if self._size > limit:
            raise TooLarge(f"has more than {limit} bytes", field=name)
        self.digests[name].update(data)
        if name == FILE:
            self.file.write(data)
        else:
            self.request += data

    def digest(self) -> str:
        """Of what was sent, whatever the boundary between the parts was. Raises InvalidRequest where a part lacks."""
        for name in (REQUEST, FILE):
            if name not in self.seen:
                raise InvalidRequest("is required: a form has the parts `request` (JSON) and `file`", field=name)
        return sha256(b"".join(self.digests[name].digest() for name in (REQUEST, FILE))).hexdigest()


def read_form(body: Iterator[bytes], boundary: str | None, into: FormParts) -> None:
    """Take the form apart as it comes. Raises MalformedRequest, InvalidRequest naming the part, or TooLarge."""
    if boundary is None or not _BOUNDARY.fullmatch(boundary):
        raise MalformedRequest("the Content-Type of a form names its boundary")
    decoder = MultipartDecoder(boundary.encode(), MAX_BUFFER_BYTES)
    try:
        for piece in body:
            decoder.receive_data(piece)
            _take(decoder, into)
        decoder.receive_data(None)
        _take(decoder, into)
    except RequestEntityTooLarge:
        raise MalformedRequest("the head of a part of the form is too long") from None
    except ValueError:
        raise MalformedRequest("the body is no whole multipart/form-data") from None


def _take(decoder: MultipartDecoder, into: FormParts) -> None:
    event: Event = decoder.next_event()
    while not isinstance(event, NeedData | Epilogue):
        if isinstance(event, Field | File):
            into.begin(event.name)
        elif isinstance(event, Data):
            into.add(event.data)
        event = decoder.next_event()
