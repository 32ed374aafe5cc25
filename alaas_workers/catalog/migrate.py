"""Bring the schema to its newest version when a process opens the catalog, once however many start together."""

from __future__ import annotations

import logging
import threading

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection

from alaas.errors import ConfigError
from alaas_workers.catalog.engine import Database

logger = logging.getLogger(__name__)
WAIT_S = 120.0
_one_at_a_time = threading.Lock()  # Alembic keeps its context in the module


def migrate(database: Database) -> None:
    """Run the missing steps in one transaction, under a lock that other processes wait for.

    A process that dies within leaves nothing half done. ConfigError when a newer ALaaS made the schema.
    """
    config = Config()
    config.set_main_option("script_location", "alaas_workers.catalog:migrations")
    with _one_at_a_time:
        with database.read() as connection:
            if not _is_behind(connection, config):
                return
        with database.write(wait_s=WAIT_S) as connection:
            database.hold(connection, "migrations")
            if _is_behind(connection, config):  # nobody else did it while this process waited
                config.attributes["connection"] = connection
                command.upgrade(config, "head")
                logger.info("the catalog's schema is now the newest")


def _is_behind(connection: Connection, config: Config) -> bool:
    steps = ScriptDirectory.from_config(config)
    current = MigrationContext.configure(connection).get_current_revision()
    if current is not None and current not in {step.revision for step in steps.walk_revisions()}:
        raise ConfigError("A newer ALaaS made this catalog; it cannot go back", field="catalog.url")
    return current != steps.get_current_head()
