"""Folders of this machine as pools: the samples beneath them, in the order of their paths."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from urllib.parse import unquote, urlsplit

from alaas.errors import InvalidRequest
from alaas.suffixes import is_sample

KINDS = {"vision": "images", "text": "texts", "audio": "sounds"}


def expanded(uris: Iterable[str], modality: str) -> Iterator[str]:
    """URIs and files as they are, and the samples beneath each folder. InvalidRequest for a folder without any."""
    for uri in uris:
        folder = local_folder(uri)
        if folder is None:
            yield uri
            continue
        found = False
        for path in files_beneath(folder, modality):
            found = True
            yield path
        if not found:
            raise InvalidRequest(f"the folder {uri} holds no {KINDS[modality]}{_others(folder)}", field="uris")


def _others(folder: str) -> str:
    """A hint for whoever forgot to say what the samples are."""
    for modality, kind in KINDS.items():
        if next(files_beneath(folder, modality), None) is not None:
            return f"; it holds {kind}, which are pushed with the modality {modality}"
    return ""


def local_folder(uri: str) -> str | None:
    """The path of the folder on this machine that `uri` names; None for anything else."""
    if uri.startswith("file:"):
        parts = urlsplit(uri)
        uri = unquote(parts.path) if parts.netloc in ("", "localhost") else ""
    return uri if "://" not in uri and os.path.isdir(uri) else None


def files_beneath(folder: str, modality: str) -> Iterator[str]:
    """Paths that begin with `folder`, by their bytes; folders that are links are not followed."""
    try:
        with os.scandir(folder) as entries:
            found = [(entry.name, entry.is_dir(follow_symlinks=False), entry.is_dir()) for entry in entries]
    except OSError as error:
        raise InvalidRequest(f"the folder {folder} cannot be read: {error.strerror}", field="uris") from None
    for name, is_folder, leads_to_folder in sorted(found, key=lambda item: os.fsencode(item[0] + "/" * item[1])):
        path = os.path.join(folder, name)
        if is_folder:
            yield from files_beneath(path, modality)
        elif not leads_to_folder and is_sample(name, modality):
            yield path
