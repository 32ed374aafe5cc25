"""Preprocess: bytes to the smallest arrays that the models' inputs can be made of."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING

from alaas.config import Config
from alaas.errors import ModelError, SampleError
from alaas_workers.cache import join_packs, pack, unpack
from alaas_workers.ledger import FailedAt, Lease
from alaas_workers.models import transform_for
from alaas_workers.pipeline import Made, NotNow

if TYPE_CHECKING:
    from alaas_workers.transforms import Transform


class Preprocess:
    def __init__(self, config: Config) -> None:
        self._config = config
        self._transform = cache(self._make_transform)

    def _make_transform(self, model: str, planned: str) -> Transform:
        """Raises NotNow where the model's own files, such as a tokenizer, are not here as the job was planned for."""
        try:
            transform = transform_for(model, self._config.models[model])
        except ModelError as error:
            raise NotNow(f"the transform of {model} cannot be made here: {error.detail}") from error
        if transform.id != planned:
            raise NotNow(f"the transform of {model} is another here than that the job was planned for")
        return transform

    def __call__(self, lease: Lease, data: bytes, progress: Callable[[], None]) -> Made:
        # Of a committee, one model for each transform that differs.
        models = {member.transform: member.model for member in lease.spec.members}
        transforms = [self._transform(models[each], each) for each in lease.spec.transforms]
        ordinals, versions, raw = unpack(data)
        failed, kept, rows = [], [], []
        for place, (ordinal, sample_bytes) in enumerate(zip(ordinals, raw, strict=True)):
            progress()
            try:
                whole = sample_bytes.tobytes()
                rows.append([transform.preprocess(whole, self._config.sources) for transform in transforms])
                kept.append(place)
            except SampleError as error:
                failed.append(FailedAt(ordinal, error.sample_code, error.detail))
        if not kept:
            return Made(b"", 0, failed)
        names = [ordinals[i] for i in kept], [versions[i] for i in kept]
        packed = join_packs([pack(*names, arrays) for arrays in zip(*rows, strict=True)])
        return Made(packed, len(kept), failed)
