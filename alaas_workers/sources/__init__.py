"""Where bytes come from, by URI scheme: the download stage asks `Sources`, the API judges URIs by `check_uri`.

Importing this loads no HTTP library: a source's module is imported when its scheme is first used.
"""

from alaas_workers.sources.base import Fetched, Source
from alaas_workers.sources.registry import check_uri
from alaas_workers.sources.sources import Sources
from alaas_workers.sources.upload_source import upload_path

__all__ = ["Fetched", "Source", "Sources", "check_uri", "upload_path"]
