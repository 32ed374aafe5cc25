"""`python -P -m api`: the HTTP API with its real collaborators; the configuration's file is named by $ALAAS_CONFIG."""

from __future__ import annotations

import logging
import sys
from typing import cast

from flask import Flask

from alaas.config import Config, load_config
from alaas.errors import ConfigError, Unavailable
from alaas_workers.catalog import Catalog
from alaas_workers.ledger import Ledger
from alaas_workers.model_cards import ModelCards
from alaas_workers.own_strategies import register_own
from api.app import create_app
from api.late_catalog import LateCatalog
from api.serving import STOPPING, Server

logger = logging.getLogger("api")


def build_app(config: Config) -> Flask:
    """In a worker process: connections do not survive a fork."""
    catalog = cast(Catalog, LateCatalog(config.catalog_url))
    return create_app(config, catalog, Ledger.open(config), ModelCards.open(config), STOPPING)


def check(config: Config) -> None:
    """Before the fork: migrate once, and end on a configuration that can never work. Raises ConfigError."""
    register_own(config)
    Ledger.open(config)
    try:
        Catalog.open(config.catalog_url).close()
    except Unavailable:
        logger.warning("the catalog is away; answering 503 until it is back")


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        config = load_config()
        check(config)
    except ConfigError as error:
        sys.exit(f"{error.field}: {error.detail}" if error.field else error.detail)
    Server(config, lambda: build_app(config)).run()


if __name__ == "__main__":
    main()
