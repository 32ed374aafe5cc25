"""What a torch.export archive may hold: tensors and JSON. Its reader would also unpickle objects and load libraries."""

from __future__ import annotations

import io
import json
import re
import zipfile
from pathlib import Path

import torch

from alaas_workers.models.built import BuildContext

_PLAIN = re.compile(
    r"data/(weights/weight|constants/tensor)_\d+"
    r"|data/(weights|constants)/\w+_config\.json"
    r"|models/\w+\.json|data/sample_inputs/\w+\.pt"
    r"|archive_format|archive_version|byteorder|version|\.data/(version|serialization_id)|\.format_version"
    r"|\.storage_alignment|extra/.*"
)


def check_exported(path: Path, context: BuildContext) -> None:
    """Raises ModelError for an archive with a pickled object, a library, or anything else that is not plain data."""
    try:
        with zipfile.ZipFile(path) as archive:
            strange = [name for name in archive.namelist() if not _is_plain(archive, name)]
    except (zipfile.BadZipFile, OSError, ValueError):
        raise context.error("path", f"{path.name} is corrupt") from None
    if strange:
        raise context.error(
            "path", f"{path.name} holds more than tensors ({strange[0]!r:.80}); such a file can run code"
        )


def _is_plain(archive: zipfile.ZipFile, name: str) -> bool:
    member = name.partition("/")[2]
    if _PLAIN.fullmatch(member) is None:
        return False
    if member.endswith("_config.json"):
        entries = json.loads(archive.read(name))["config"].values()
        return not any(entry["use_pickle"] for entry in entries)
    return not member.endswith(".pt") or _holds_only_tensors(archive.read(name))


def _holds_only_tensors(data: bytes) -> bool:
    try:
        torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except Exception:  # refused for its code, or too damaged to tell
        return False
    return True
