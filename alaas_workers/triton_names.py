"""The words that an exported model and the Triton backend share: names of tensors, and parameters of config.pbtxt."""

from __future__ import annotations

INPUT = "input"
"""The one tensor of a vision or audio model. A text model's inputs have the names of its arguments: input_ids, ..."""

PROBABILITIES = "probabilities"  # (N, C) float32; of classes each row sums to 1
BOX_SCORES = "box_scores"  # (N, K) float32 in place of probabilities: of each image's boxes, falling, then 0
EMBEDDINGS = "embeddings"  # (N, d) float32, only where the model gives it

FINGERPRINT = "alaas_fingerprint"
"""Hexadecimal SHA-256, made of the model's own: another engine may round otherwise, so it shares no cached feature."""

TRANSFORM = "alaas_transform"  # the transform's id
TRANSFORM_SETTINGS = "alaas_transform_settings"  # its settings as JSON, as the configuration's section holds them
MODALITY = "alaas_modality"
SCORES_OF = "alaas_scores_of"  # classes, labels or boxes
CLASSES = "alaas_classes"  # absent where it gives embeddings only
EMBEDDING_SIZE = "alaas_embedding_size"  # absent where it gives no embeddings
INPUT_SIZE = "alaas_input_size"  # JSON list, or null
MODEL = "alaas_model"  # the name in the configuration that it was exported from

PROGRAM = "alaas_program"  # the file beside model.py
KEYWORDS = "alaas_keywords"  # "true": the program takes its inputs as keyword arguments, else as one mapping
BATCH_SIZE = "alaas_batch_size"  # rows that one forward pass takes
ROW_MULTIPLE = "alaas_row_multiple"  # model.py fills a batch up to a multiple of so many rows
LOGITS = "alaas_logits"  # "true": the program gives logits, of which model.py takes the softmax (of labels the sigmoid)
PRECISION = "alaas_precision"
CHANNELS_LAST = "alaas_channels_last"

TYPES = {"float32": "TYPE_FP32", "float16": "TYPE_FP16", "int64": "TYPE_INT64", "int32": "TYPE_INT32"}
"""NumPy's name of a type to that of config.pbtxt; on the wire it goes without TYPE_."""
