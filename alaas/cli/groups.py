"""How commands are grouped beneath one."""

from __future__ import annotations

import click


class ListByDefault(click.Group):
    """`alaas jobs --state running` is `alaas jobs list --state running`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names):
            args = ["list", *args]
        return super().parse_args(ctx, args)
