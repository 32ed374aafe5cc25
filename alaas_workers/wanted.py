"""What a query's strategy wants of its models: judged at submission as far as known, and when a worker has told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from alaas.errors import InvalidRequest, ModelError
from alaas.jobs import OF_PASSES, Feature, ModelCard
from alaas_workers.catalog import JobRecord
from alaas_workers.choosing import policy_of, strategy_of
from alaas_workers.models.scores import FITTING, scores_of_card
from strategies import BatchPolicy, Strategy

LABELLED = "labelled_"
_OF_COMMITTEES = frozenset({"committee", *(feature.value for feature in OF_PASSES)})
"""What a pool makes of the probabilities of several models; of one model, passes are what is needed instead."""


@dataclass(frozen=True)
class Wanted:
    """Arrays of the pool by name: `needs` must be there, `uses` may be; the policy's are among them."""

    strategy: str
    needs: frozenset[str]
    uses: frozenset[str]
    of_policy: frozenset[str] = frozenset()

    @property
    def names(self) -> frozenset[str]:
        return self.needs | self.uses

    @property
    def looks_at_labelled(self) -> bool:
        """Whether the features of what is labelled already are wanted too."""
        return any(name.startswith(LABELLED) for name in self.names)

    def features(self, models: int) -> list[tuple[Feature, ...]]:
        """What inference must compute with each of the models, in a fixed order.

        Of a committee, probabilities with each; whatever else is wanted, with the first.
        """
        needed = {need.removeprefix(LABELLED) for need in self.needs}
        if models > 1:
            needed = needed - _OF_COMMITTEES | {Feature.PROBABILITIES.value}
        first = tuple(feature for feature in Feature if feature.value in needed)
        return [first, *[(Feature.PROBABILITIES,)] * (models - 1)]

    def check_names(self) -> None:
        """Raises InvalidRequest for an array that no fleet can make."""
        known = {*Feature, "committee", f"{LABELLED}embeddings", f"{LABELLED}classes"}
        for name in sorted(self.needs - known):
            raise InvalidRequest(f"{self.strategy} needs {name}, which no fleet computes", field="strategy")

    def check_count(self, models: int) -> None:
        """Raises InvalidRequest for one model where a committee is needed, and for a committee that is of no use."""
        if models == 1 and "committee" in self.needs:
            raise InvalidRequest(f"{self.strategy} needs a committee: name two models or more", field="model")
        if models > 1 and not self.names & _OF_COMMITTEES:
            raise InvalidRequest(f"{self.strategy} takes one model, not a committee of {models}", field="model")

    def check_cards(self, cards: Sequence[ModelCard]) -> None:
        """Raises ModelError for what a model does not give, as far as the cards tell."""
        for card, features in zip(cards, self.features(len(cards)), strict=True):
            missing = [feature for feature in features if card.outputs is not None and feature not in card.outputs]
            if missing:
                raise ModelError(self._lacks(card, missing), field="strategy")

    def _lacks(self, card: ModelCard, missing: Sequence[Feature]) -> str:
        who = "the policy" if missing[0] in self.of_policy else self.strategy
        said = f"{who} needs {' and '.join(missing)}, which the model {card.name!r} does not give"
        if missing[0] not in card.lacking:
            return said
        scores_of = scores_of_card(card.outputs)
        is_of_passes = scores_of == "classes" and missing[0] in OF_PASSES
        other = "a committee of models or another strategy" if is_of_passes else FITTING[scores_of]
        return f"{said}: {card.lacking[missing[0]]}; take {other}"


def wanted_by(strategy: Strategy, policy: BatchPolicy | None = None) -> Wanted:
    policy = policy or BatchPolicy()
    needs, uses = strategy.needs | policy.needs, strategy.uses | policy.uses
    return Wanted(type(strategy).__name__, needs, uses, of_policy=policy.needs - strategy.needs)


def wanted_of(record: JobRecord) -> Wanted | None:
    """None for a scan."""
    if record.kind == "scan" or record.strategy is None:
        return None
    return wanted_by(strategy_of(record), policy_of(record))


def needs_labelled(record: JobRecord) -> bool:
    """Whether the job's strategy or policy looks at what is labelled already."""
    wanted = wanted_of(record)
    return wanted is not None and wanted.looks_at_labelled


def check_same_classes(cards: Sequence[ModelCard]) -> None:
    """Raises ModelError for a committee whose models are known to give different numbers of classes."""
    known = [card for card in cards if card.classes is not None]
    for card in known[1:]:
        if card.classes != known[0].classes:
            raise ModelError(
                f"the models of a committee must tell the same classes apart: {known[0].name!r} gives"
                f" {known[0].classes} and {card.name!r} gives {card.classes}",
                field="model",
            )
