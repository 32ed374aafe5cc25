"""Which files beneath a folder or a prefix are samples, by their names."""

from __future__ import annotations

SUFFIXES = {
    "vision": frozenset({"png", "jpg", "jpeg", "webp", "gif", "bmp"}),
    "text": frozenset({"txt"}),
    "audio": frozenset({"wav", "wave", "flac", "ogg", "oga", "opus"}),
}
"""What the preprocess stage decodes, by modality."""


def is_sample(name: str, modality: str) -> bool:
    """Whether the file `name` (the last part of a path) is one, by its suffix; object stores' keys often have none.

    A name that begins with a dot is hidden, and is no sample.
    """
    _, dot, suffix = name.rpartition(".")
    return bool(name) and not name.startswith(".") and (not dot or suffix.lower() in SUFFIXES[modality])
