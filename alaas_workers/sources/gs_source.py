"""gs://bucket/key: Google Cloud Storage, of what the operator allows, by a service account or gcloud's login."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from obstore.store import GCSStore

from alaas.config import Config
from alaas.errors import ConfigError
from alaas_workers.sources.bucket_source import BucketSource
from alaas_workers.sources.object_store import NO_RETRIES, client_options

if TYPE_CHECKING:
    from obstore.store import GCSConfig

FROM_ENVIRONMENT = (
    "GOOGLE_APPLICATION_CREDENTIALS",
    "GOOGLE_SERVICE_ACCOUNT",
    "GOOGLE_SERVICE_ACCOUNT_PATH",
    "GOOGLE_SERVICE_ACCOUNT_KEY",
)
GCLOUD = Path(".config/gcloud/application_default_credentials.json")


class GsSource(BucketSource):
    scheme = "gs"

    def __init__(self, config: Config) -> None:
        """Raises ConfigError without credentials: obstore would ask the metadata service, wanted or not."""
        super().__init__(config.sources.gs, config.sources.max_sample_bytes)
        self._settings = config.sources.gs
        if not (self._settings.anonymous or self._settings.roles or self._settings.credentials or _finds_some()):
            raise ConfigError(
                "reading gs needs sources.gs.credentials, GOOGLE_APPLICATION_CREDENTIALS, roles or anonymous"
            )

    def open(self, bucket: str) -> GCSStore:
        options = client_options(self._settings, self._settings.endpoint)
        own: GCSConfig = {"skip_signature": self._settings.anonymous}
        if self._settings.endpoint is not None:
            own["base_url"] = self._settings.endpoint
        if self._settings.credentials is not None and not self._settings.anonymous:
            own["application_credentials"] = str(self._settings.credentials.expanduser())
        return GCSStore(bucket, config=own, client_options=options, retry_config=NO_RETRIES)


def _finds_some() -> bool:
    return any(os.environ.get(name) for name in FROM_ENVIRONMENT) or (Path.home() / GCLOUD).is_file()
