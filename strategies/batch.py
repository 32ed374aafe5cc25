"""A batch by a strategy under a policy: the strategy proposes, what the rules allow is taken, and it is asked again.

What the rules close is left out of the next question; see rules.py.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from strategies.base import Pool, Scores, ScoringStrategy, Selection, Strategy
from strategies.policy import BatchPolicy
from strategies.ranking import Indices, hash_keys, top_indices
from strategies.rules import Rules

Drawn = Literal["strategy", "random", "filled"]
STRATEGY: Final = "strategy"
RANDOM: Final = "random"
FILLED: Final = "filled"
MAX_ROUNDS = 32  # of a strategy that is no score for each sample
_MOST_ASKED = 4  # times what is wanted, in one of its rounds


@dataclass(frozen=True, eq=False)
class Batch(Selection):
    """A selection under a policy: the strategy's samples in its order, then those drawn at random.

    `drawn` (b,): "strategy"; "random", an unbiased sample of the pool, whose scores are the numbers in [0, 1) that they
    drew; or "filled", in the order of a hash with score 0, where MAX_ROUNDS were not enough. `parts` are NaN but for
    "strategy". `warnings`: sentences, where fewer came back than asked for or some were filled.
    """

    drawn: tuple[Drawn, ...] = ()
    warnings: tuple[str, ...] = ()


def select_batch(
    strategy: Strategy,
    pool: Pool,
    budget: int,
    policy: BatchPolicy | None = None,
    sources: Sequence[str] | None = None,
) -> Batch:
    """min(budget, what the policy allows) distinct samples in rank order, whatever the order of the pool.

    `sources` (N,): where each sample comes from, for `max_per_source`. Random draws come before the strategy's choice
    and rank after it. A strategy that scores each sample ranks the whole pool, and the ranking is walked. Any other
    gets what the policy leaves open, with all taken so far joined to `labelled_embeddings` (unless it looks at
    `labelled_classes`, which nobody knows of them), and is asked again for what lacks. Raises StrategyError.

    Cost: the strategy's, at most MAX_ROUNDS times and mostly once or twice; `min_distance` adds O((L + b) W d), where W
    is N, or for a ranking the samples walked. Memory O(N) beside the pool, and a copy of what is open from round 2 on.
    """
    wanted = strategy.count(pool, budget)
    rules = Rules(pool, policy or BatchPolicy(), sources)
    allowed = min(wanted, rules.left)
    random = _drawn(pool, rules, round((policy or BatchPolicy()).random_share * allowed))
    chosen = _chosen(strategy, pool, rules, allowed - len(random))
    filled = _filled(pool, rules, allowed - len(random) - len(chosen))
    counts: dict[Drawn, int] = {STRATEGY: len(chosen), FILLED: len(filled), RANDOM: len(random)}
    kinds = [kind for kind, count in counts.items() for _ in range(count)]
    joined = _concatenated([chosen, filled, random])
    return Batch(joined.indices, joined.scores, joined.parts, tuple(kinds), _warnings(wanted, kinds, rules))


def _drawn(pool: Pool, rules: Rules, count: int) -> Selection:
    """`count` of what is open, uniformly: the largest hashes, of another purpose than those of other draws and ties."""
    if count == 0:
        return _NOTHING
    candidates = np.flatnonzero(rules.open)
    keys = hash_keys((pool.ids[index] for index in candidates.tolist()), pool.seed, b"evaluation")
    first = np.argsort(~keys, kind="stable")[:count]
    for index in candidates[first].tolist():
        rules.take(index)
    return Selection(candidates[first], np.ldexp((keys[first] >> np.uint64(11)).astype(np.float64), -53))


def _chosen(strategy: Strategy, pool: Pool, rules: Rules, wanted: int) -> Selection:
    if isinstance(strategy, ScoringStrategy) and type(strategy).choose is ScoringStrategy.choose:
        return _walked(strategy, pool, rules, wanted)
    return _asked_again(strategy, pool, rules, wanted)


def _walked(strategy: ScoringStrategy, pool: Pool, rules: Rules, wanted: int) -> Selection:
    """Down the ranking of the whole pool, a piece at a time; pieces grow while the rules refuse most."""
    if wanted == 0:
        return _NOTHING
    scores = strategy.finite_scores(pool)
    taken, lacking, share = [np.empty(0, dtype=np.int64)], wanted, 1
    while lacking and (left := rules.left):
        ranked = top_indices(np.where(rules.open, scores, -np.inf), min(lacking * share, left), pool.ties)
        kept = ranked[rules.take_from(ranked, lacking)]
        share *= 1 if 2 * len(kept) > len(ranked) else 2
        taken.append(kept)
        lacking -= len(kept)
    indices = np.concatenate(taken)
    if not len(indices):
        return _NOTHING
    return strategy.checked(Selection(indices, scores[indices], strategy.parts(pool, indices)), len(indices), len(pool))


def _asked_again(strategy: Strategy, pool: Pool, rules: Rules, wanted: int) -> Selection:
    """In rounds. All that is open may be taken, so that each round takes one sample at least.

    Where most is refused, the next round asks for more than lacks.
    """
    rng = np.random.default_rng(pool.seed)
    taken, lacking, share = [_NOTHING], wanted, 1
    for _ in range(MAX_ROUNDS):
        rules.close_near()
        if not lacking or not (left := rules.left):
            break
        proposed = _asked(strategy, pool, rules, min(lacking * share, _MOST_ASKED * wanted, left), rng)
        kept = rules.take_from(proposed.indices, lacking)
        share *= 1 if 2 * len(kept) > len(proposed) else 2
        parts = {name: values[kept] for name, values in proposed.parts.items()}
        taken.append(Selection(proposed.indices[kept], proposed.scores[kept], parts))
        lacking -= len(kept)
    return _concatenated(taken)


def _asked(strategy: Strategy, pool: Pool, rules: Rules, count: int, rng: np.random.Generator) -> Selection:
    if rules.open.all():
        return strategy.select(pool, count, rng)
    rows = np.flatnonzero(rules.open)
    looked_at = (strategy.needs | strategy.uses) & pool.features.keys()
    labelled = {name: pool.features[name] for name in looked_at if name.startswith("labelled_")}
    features = {name: pool.features[name][rows] for name in looked_at - labelled.keys()}
    if "labelled_embeddings" in strategy.needs | strategy.uses and "labelled_classes" not in looked_at:
        labelled |= _with_taken(pool, rules.taken)
    part = Pool([pool.ids[row] for row in rows.tolist()], features | labelled, pool.seed)
    proposed = strategy.select(part, count, rng)
    return Selection(rows[proposed.indices], proposed.scores, proposed.parts)


def _with_taken(pool: Pool, taken: Sequence[int]) -> Mapping[str, NDArray[np.floating]]:
    rows = pool.features.get("embeddings")
    if rows is None or not taken:
        return {}
    known = [pool.features[name] for name in ("labelled_embeddings",) if len(pool.features.get(name, ()))]
    return {"labelled_embeddings": np.concatenate([*known, rows[np.array(taken, dtype=np.int64)]])}


def _filled(pool: Pool, rules: Rules, lacking: int) -> Selection:
    if lacking == 0 or not rules.left:
        return _NOTHING
    ordered = pool.ties.ordered(np.flatnonzero(rules.open))
    indices = ordered[rules.take_from(ordered, lacking)]
    return Selection(indices, np.zeros(len(indices)))


def _concatenated(parts: Sequence[Selection]) -> Selection:
    names = dict.fromkeys(name for part in parts for name in part.parts)

    def column(name: str) -> Scores:
        return np.concatenate([part.parts.get(name, np.full(len(part), np.nan)) for part in parts])

    indices: Indices = np.concatenate([part.indices for part in parts])
    return Selection(indices, np.concatenate([part.scores for part in parts]), {name: column(name) for name in names})


def _warnings(wanted: int, kinds: Sequence[Drawn], rules: Rules) -> tuple[str, ...]:
    said = []
    if len(kinds) < wanted:
        reasons = ", ".join(f"{rule} closed {count}" for rule, count in sorted(rules.refused.items()) if count)
        said.append(f"the policy left {len(kinds)} samples instead of {wanted}: {reasons}")
    if filled := kinds.count(FILLED):
        said.append(
            f"{filled} samples came in the order of a hash: {MAX_ROUNDS} rounds of the strategy were not enough"
        )
    return tuple(said)


_NOTHING = Selection(np.empty(0, dtype=np.int64), np.empty(0))
