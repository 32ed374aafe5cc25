"""az://container/blob: Azure Blob Storage of the operator's one account, of what he allows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from obstore.store import AzureStore

from alaas.config import Config
from alaas.errors import ConfigError
from alaas_workers.sources.bucket_source import BucketSource
from alaas_workers.sources.object_store import NO_RETRIES, client_options

if TYPE_CHECKING:
    from obstore.store import AzureConfig

_CLIENT = {"AZURE_CLIENT_ID", "AZURE_TENANT_ID"}
FROM_ENVIRONMENT = (
    {"AZURE_STORAGE_ACCOUNT_KEY"},
    {"AZURE_STORAGE_ACCESS_KEY"},
    {"AZURE_STORAGE_SAS_KEY"},
    {"AZURE_STORAGE_SAS_TOKEN"},
    {"AZURE_STORAGE_TOKEN"},
    {"AZURE_CLIENT_SECRET"} | _CLIENT,
    {"AZURE_FEDERATED_TOKEN_FILE"} | _CLIENT,
    {"AZURE_USE_AZURE_CLI"},
)


class AzSource(BucketSource):
    scheme = "az"

    def __init__(self, config: Config) -> None:
        """Raises ConfigError without account or credentials: obstore would ask the metadata service, wanted or not."""
        super().__init__(config.sources.az, config.sources.max_sample_bytes)
        self._settings = config.sources.az
        if self._settings.account is None:
            raise ConfigError("reading az needs sources.az.account")
        if not (self._settings.anonymous or self._settings.roles or _finds_some()):
            raise ConfigError("reading az needs AZURE_STORAGE_ACCOUNT_KEY or the like, roles or anonymous")

    def open(self, bucket: str) -> AzureStore:
        options = client_options(self._settings, self._settings.endpoint)
        own: AzureConfig = {"skip_signature": self._settings.anonymous}
        if self._settings.endpoint is not None:
            own["endpoint"] = self._settings.endpoint
        return AzureStore(
            bucket, account_name=self._settings.account, config=own, client_options=options, retry_config=NO_RETRIES
        )


def _finds_some() -> bool:
    return any(all(os.environ.get(name) for name in names) for names in FROM_ENVIRONMENT)
