"""Which layer is a model's head, whose input is the embedding."""

from __future__ import annotations

from difflib import get_close_matches

from torch import nn

from alaas_workers.models.built import BuildContext, Built


def find_head(built: Built, context: BuildContext) -> str | None:
    """The configured layer, else the source's, else the last linear one; None: no embeddings.

    Raises ModelError for an unknown name.
    """
    wanted = context.settings.head
    if built.is_program:
        if wanted is not None:
            raise context.error(
                "head", "a program's layers cannot be looked into; leave head out, or let it return (scores, embedding)"
            )
        return None
    if built.gives_embedding:
        if wanted is not None:
            raise context.error("head", "this model gives its own embedding; leave head out")
        return None
    wanted = wanted or built.head
    if wanted is None:
        linear = [name for name, module in built.module.named_modules() if isinstance(module, nn.Linear) and name]
        return linear[-1] if linear else None
    names = [name for name, _ in built.module.named_modules() if name]
    if wanted not in names:
        near = get_close_matches(wanted, names, n=1, cutoff=0.0)
        raise context.error("head", f"no layer {wanted!r:.80}" + (f"; nearest known: {near[0]!r}" if near else ""))
    return wanted


def is_not_the_head(module: nn.Module, head: str | None, classes: int) -> bool:
    """Whether the linear layer that was found by itself does not give the scores: then its input is no embedding."""
    return head is not None and getattr(module.get_submodule(head), "out_features", classes) != classes
