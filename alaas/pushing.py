"""Pushing pools: lists of URIs, of files and of texts, folders, and listings that the server reads by itself."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from os import PathLike, fspath
from typing import Any, TypedDict, Unpack

from alaas.checks import UriLike, checked, checked_uris
from alaas.errors import InvalidRequest
from alaas.given import Given
from alaas.jobs import Dataset, DatasetRequest, Job, Listing, SamplesAdded
from alaas.local_files import sent_uris
from alaas.local_folders import expanded, local_folder
from alaas.local_manifests import LabelLines, LocalManifest
from alaas.manifests import format_of, is_uri
from alaas.ndjson import UriLines
from alaas.sent_texts import checked_texts, sent_texts
from alaas.waiting import Waiting

_SAMPLE_ID = re.compile("[0-9a-f]{32}")


class ListingOptions(TypedDict, total=False):
    """Of a manifest: its columns of URIs, texts and labels, and its format (csv, jsonl, parquet)."""

    column: str | None
    text_column: str | None
    label_column: str | None
    format: str | None


class Pushing(Waiting):
    """Local paths may stand wherever a URI may: the server reads them in place when it sees the same files, and their
    bytes are sent up otherwise.
    """

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._pushed: Dataset | None = None
        self._importing: Job | None = None  # of the pushed pool, while nobody has waited for it
        self._given = Given()

    def push_data(
        self,
        data_list: Iterable[UriLike] | UriLike,
        asynchronous: bool = False,
        *,
        dataset: str | None = None,
        model: str | Sequence[str] | None = None,
        modality: str = "vision",
        are_uris: bool = False,
        timeout_s: float | None = None,
        progress: bool | None = None,
        **listing: Unpack[ListingOptions],
    ) -> Job:
        """Push a pool and scan it, so that a later `query` mostly selects. Returns the scan's job.

        `data_list`: URIs and paths; texts, where `modality` is "text" and they are not said to be URIs (`are_uris`);
        or, as one text, a folder, a prefix ("s3://bucket/images/") or a manifest, with its columns in `listing`.
        `dataset` names the pool, to grow it by later pushes; without one, the same list is the same pool and
        another list another pool. `asynchronous`: do not wait for the scan; where the server has a listing to read,
        the job returned is that import, and the scan begins with the query.
        """
        checked(DatasetRequest, name=dataset or "-", modality=modality)
        self._importing = None
        if isinstance(data_list, str | PathLike):
            self._push_listing(fspath(data_list), dataset, modality, listing, progress)
        elif given := next((name for name, value in listing.items() if value is not None), None):
            raise InvalidRequest("only a manifest has columns; give its path or URI as one text", field=given)
        else:
            are_texts = modality == "text" and not are_uris
            self._push_list(data_list, are_texts, dataset, modality, progress)
        if self._importing is not None:
            if asynchronous:
                return self._importing
            self._await_import(timeout_s, progress)
        job = self.submit_job(kind="scan", dataset=self._pushed, model=model)
        return job if asynchronous else self.wait(job, timeout_s, progress=progress)

    def push_samples(self, dataset: Dataset | str, uris: Iterable[UriLike]) -> SamplesAdded:
        """Add URIs, local paths or folders to a dataset, streamed: `uris` may be a generator of millions."""
        found = dataset if isinstance(dataset, Dataset) else self.dataset(dataset)
        with UriLines(self._sent(expanded(checked_uris(uris), found.modality))) as lines:
            if lines.count == 0:
                raise InvalidRequest("there is nothing to push", field="uris")
            return self.add_uris(found, lines)

    def label(self, labels: Mapping[str, str], *, dataset: Dataset | str | None = None) -> int:
        """Labels by sample id, URI, local path or text as pushed. A labelled sample leaves the pool of later queries.

        What is not known as a path or a URI is a text where texts were pushed last.
        """
        if not isinstance(labels, Mapping):
            raise InvalidRequest(f"expected labels by sample (got {labels!r:.80})", field="labels")
        pool = dataset or self._pushed
        if pool is None:
            raise InvalidRequest("push_data first, or name a dataset", field="dataset")
        return self.add_labels(pool, dict(zip(self._known_keys(list(labels)), labels.values(), strict=True)))

    # What goes up.

    def _push_list(
        self, samples: Iterable[Any], are_texts: bool, dataset: str | None, modality: str, progress: bool | None
    ) -> None:
        if are_texts:
            sent = self._sent_texts(checked_texts(samples, "data_list"), progress)
        else:
            sent = self._sent(expanded(checked_uris(samples, "data_list"), modality), progress=progress)
        self._add(sent, dataset, modality)

    def _add(self, sent: Iterable[str], dataset: str | None, modality: str) -> None:
        with UriLines(sent) as lines:
            if lines.count == 0:
                raise InvalidRequest("there is nothing to push", field="data_list")
            self._pushed = self.create_dataset(dataset or f"pool-{lines.digest}", modality=modality)
            self.add_uris(self._pushed, lines)

    def _push_listing(
        self, name: str, dataset: str | None, modality: str, options: ListingOptions, progress: bool | None
    ) -> None:
        """What is a path is read here, since the server may see another disk; what is a URI, by the server."""
        listing = checked(Listing, uri=name, **options)
        if is_uri(name) and not os.path.lexists(name):
            if not (listing.is_prefix or format_of(name) or len(_present(listing)) > 1):
                detail = "one URI goes into a list; a prefix ends in /, and a manifest in .csv, .jsonl or .parquet"
                raise InvalidRequest(f"{detail}, or its format is given (got {name!r:.80})", field="data_list")
            digest = hashlib.blake2b(listing.model_dump_json().encode(), digest_size=8).hexdigest()
            self._pushed = self.create_dataset(dataset or f"pool-{digest}", modality=modality)
            self._importing = self.submit_job(kind="import", dataset=self._pushed, listing=_present(listing))
        elif local_folder(name) is not None:
            if len(_present(listing)) > 1:
                raise InvalidRequest("a folder has no columns", field="data_list")
            self._push_list([name], False, dataset, modality, progress)
        else:
            self._push_manifest(name, listing, dataset, modality, progress)

    def _push_manifest(
        self, path: str, listing: Listing, dataset: str | None, modality: str, progress: bool | None
    ) -> None:
        with LocalManifest(path, listing, modality) as manifest, LabelLines() as labels:
            waiting: deque[str | None] = deque()  # labels of the samples that are on their way

            def values() -> Iterator[str]:
                for value, label in manifest.samples():
                    waiting.append(label)
                    yield value

            def sent() -> Iterator[str]:
                going = self._sent_texts(values(), progress) if manifest.is_text else self._sent(values())
                for uri in going:
                    if (label := waiting.popleft()) is not None:
                        labels.add(uri, label)
                    yield uri

            self._add(sent(), dataset, modality)
            for batch in labels.batches():
                self.add_labels(self._pushed or "", batch)
            manifest.warn()

    def _sent(self, uris: Iterable[str], in_place: bool = True, progress: bool | None = None) -> Iterator[str]:
        progress = self.progress if progress is None else progress
        for given, sent in sent_uris(self._http, uris, in_place=in_place, progress=progress):
            self._given.remember(sent, given)
            yield sent

    def _sent_texts(self, texts: Iterable[str], progress: bool | None = None) -> Iterator[str]:
        self._given.has_texts = True
        progress = self.progress if progress is None else progress
        for text, sent in sent_texts(self._http, texts, progress):
            if not sent.startswith("data:"):  # the others hold their text themselves
                self._given.remember(sent, text)
            yield sent

    def _await_import(self, timeout_s: float | None, progress: bool | None) -> None:
        job, self._importing = self._importing, None
        if job is not None:
            self.wait(job, timeout_s, progress=progress)

    def _known_keys(self, keys: list[str]) -> Iterator[str]:
        """The keys as the server knows them: ids stay, paths and texts become what they were pushed as."""
        sent = self._given.sent()
        are_texts = self._given.has_texts and self._pushed is not None and self._pushed.modality == "text"
        for key in keys if are_texts else checked_uris(keys, "labels"):
            if key in sent or _SAMPLE_ID.fullmatch(key):
                yield sent.get(key, key)
            elif are_texts and (not is_uri(key) or any(map(str.isspace, key))):  # "Update: ..." is no URI
                yield next(self._sent_texts(checked_texts([key], "labels")))
            else:
                yield next(self._sent([key]))


def _present(listing: Listing) -> dict[str, Any]:
    return json.loads(listing.model_dump_json(exclude_none=True))  # type: ignore[no-any-return]
