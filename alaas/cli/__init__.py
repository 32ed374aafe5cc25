"""The command line: `alaas`. A thin skin over alaas.client and alaas.server; docs/cli.md lists the commands."""

from alaas.cli.app import main

__all__ = ["main"]
