"""From a model's settings to a model that has run once: build, place, try out, complete its card."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from alaas.config import Config
from alaas.errors import ModelError
from alaas.jobs import SCORES, Feature, ModelCard
from alaas_workers.models.abilities import lacking
from alaas_workers.models.built import BuildContext, Built
from alaas_workers.models.detector import Detector, check_detector, class_count
from alaas_workers.models.dropout import Masks
from alaas_workers.models.fingerprint import fingerprint, weights_digest
from alaas_workers.models.head import find_head, is_not_the_head
from alaas_workers.models.loaded import LoadedModel, WithEmbedding
from alaas_workers.models.registry import settings_of, source_module, transform_for

if TYPE_CHECKING:
    from alaas_workers.transforms import Batch, Transform

logger = logging.getLogger(__name__)

Features = dict[Feature, torch.Tensor]


def load(name: str, config: Config, device: torch.device | str) -> LoadedModel:
    """See `alaas_workers.models.load_model`."""
    settings = settings_of(name, config)
    context = BuildContext(name, settings, config)
    transform = transform_for(name, settings)
    built = _as_asked(source_module(settings.source).build(context), context, transform)
    if built.logits is not None:
        settings = settings.model_copy(update={"logits": built.logits})
        context = replace(context, settings=settings)
    if not built.is_program:  # a program was frozen when it was made, and an exported one refuses the call
        built.module.eval()
    for parameter in built.module.parameters():  # one by one, since TorchScript has no call for all
        parameter.requires_grad_(False)
    weights = "" if built.is_program else weights_digest(built.module)
    head = find_head(built, context)
    module = WithEmbedding(built.module, head)
    card = ModelCard(name=name, modality=settings.modality, transform=transform.id)
    masks = Masks(module)
    place = torch.device(device)
    model = LoadedModel(
        module, module, masks, head, settings, built.scores_of, transform, place, built.is_program, card
    )
    _place(model)
    features = _try_out(model, context)
    scores = features.get(SCORES[built.scores_of])
    if settings.head is None and scores is not None and is_not_the_head(built.module, head, scores.shape[1]):
        module.forget_head()
        model = replace(model, head=None)
        del features[Feature.EMBEDDINGS]
    digest = fingerprint(weights, built.architecture, settings, transform.id, model.head)
    return replace(model, card=_complete(model, features, digest, built.classes))


def _as_asked(built: Built, context: BuildContext, transform: Transform) -> Built:
    """With the scores that the configuration says, if it does; a detector's module gives rows like any other then."""
    settings = context.settings
    scores_of = settings.scores_of or built.scores_of
    if scores_of != "boxes":
        if built.scores_of == "boxes":
            raise context.error("scores_of", "this model is a detector; leave scores_of out")
        return replace(built, scores_of=scores_of)
    if built.is_program or settings.modality != "vision":
        raise context.error("scores_of", "boxes are found by a detector of torch's layers, in images")
    check_detector(built.module, transform.settings, context)
    return replace(
        built,
        module=Detector(built.module, settings.max_boxes),
        # Another number of boxes makes other rows of the same weights.
        architecture=json.dumps([built.architecture, "boxes", settings.max_boxes]),
        scores_of=scores_of,
        gives_embedding=True,
        classes=class_count(built.module),
    )


def example_batch(model: LoadedModel, rows: int) -> Batch:
    """`rows` samples without content, as the model's input."""
    arrays = [model.transform.example()] * rows
    return model.transform.to_input(arrays, model.device, channels_last=model.channels_last)


def _place(model: LoadedModel) -> None:
    model.module.to(model.device)
    if model.channels_last:
        model.module.to(memory_format=torch.channels_last)
    if model.device.type == "cuda":
        # By default convolutions round to TF32's 10 bits, and race for their kernel: neither is fp32, repeatably.
        torch.backends.cudnn.allow_tf32 = False
        torch.backends.cudnn.deterministic = True


def _try_out(model: LoadedModel, context: BuildContext) -> Features:
    section = context.settings.input_section
    try:
        batch = example_batch(model, model.row_multiple)
    except ModelError as error:  # of the transform, which does not know whose it is
        raise error if error.field is not None else context.error(section, error.detail) from None
    try:
        features = model.outputs(batch)
    except ModelError:
        raise
    except Exception as error:  # a network can fail on an input of the wrong size in any way
        logger.warning("model %r: its first forward pass failed", context.name, exc_info=True)
        if model.scores_of == "boxes":
            raise context.error(
                "scores_of",
                f"it fails with {type(error).__name__} on a list of images, or finds no scores in one, as a detector"
                " would; the worker's log has it",
            ) from None
        size = _size(batch)
        raise context.error(
            section, f"a batch of {size} fails with {type(error).__name__}; does {section} give its input size?"
        ) from None
    if SCORES[model.scores_of] in features:
        _check_scores(model, features[SCORES[model.scores_of]], context)
    if context.settings.head is not None and Feature.EMBEDDINGS not in features:
        raise context.error("head", f"the layer {context.settings.head!r:.80} gets no input in a forward pass")
    return features


def _size(batch: Batch) -> str:
    tensor = next(iter(batch.values())) if isinstance(batch, dict) else batch
    return " x ".join(map(str, tensor.shape))


def _check_scores(model: LoadedModel, scores: torch.Tensor, context: BuildContext) -> None:
    if model.scores_of == "boxes":
        return
    if scores.shape[1] < 2 and model.scores_of == "classes":
        raise context.error(
            "source",
            f"it gives {scores.shape[1]} value for a sample; a classifier gives 2 or more (one alone, of which the"
            " sigmoid is taken, with scores_of: labels)",
        )
    if not context.settings.logits and _are_no_probabilities(scores, sum_to_one=model.scores_of == "classes"):
        raise context.error("logits", "its outputs are no probabilities; set logits: true")


def _are_no_probabilities(scores: torch.Tensor, *, sum_to_one: bool) -> bool:
    wrong = (scores < 0) | (scores > 1)
    return bool(wrong.any()) or (sum_to_one and bool(((scores.sum(1) - 1).abs() > 1e-3).any()))


def _complete(model: LoadedModel, features: Features, digest: str, classes: int | None) -> ModelCard:
    widths = {feature: int(values.shape[1]) for feature, values in features.items()}
    is_detector = model.scores_of == "boxes"
    reasons = lacking(model, example_batch(model, 2), features)
    return model.card.model_copy(
        update={
            "fingerprint": digest,
            "classes": classes if is_detector else widths.get(SCORES[model.scores_of]),
            "boxes": widths[Feature.BOX_SCORES] if is_detector else None,
            "embedding_size": widths.get(Feature.EMBEDDINGS),
            "passes": model.settings.passes,
            "outputs": [feature for feature in Feature if feature not in reasons],
            "lacking": reasons,
            "input_size": list(model.transform.input_size) if model.transform.input_size else None,
            "device": str(model.device),
        }
    )
