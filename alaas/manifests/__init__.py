"""Manifests: files with a sample a row (CSV, JSON lines, Parquet), streamed as if their sender were hostile.

The selection worker reads those at a URI, the client those of its own machine. docs/manifests.md says what they hold.
"""

from alaas.manifests.columns import MAX_LABEL, Columns, ManifestRow, label_of
from alaas.manifests.places import is_uri, place_of
from alaas.manifests.reading import FORMATS, format_of, read_manifest

__all__ = [
    "FORMATS",
    "MAX_LABEL",
    "Columns",
    "ManifestRow",
    "format_of",
    "is_uri",
    "label_of",
    "place_of",
    "read_manifest",
]
