"""The process behind `alaas export`: prints what it wrote as JSON, or the problem with exit status 1."""

from __future__ import annotations

import argparse
from pathlib import Path

from alaas.config import load_config
from alaas_workers.logs import set_up_logs
from alaas_workers.one_answer import answering


def main() -> None:
    parser = argparse.ArgumentParser(prog="alaas export triton")
    parser.add_argument("model")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--format", choices=["python", "onnx"], default="python")
    options = parser.parse_args()
    set_up_logs("export")
    with answering() as answer:
        from alaas_workers.export.triton import export

        written = export(options.model, load_config(), options.folder, options.format)
        answer["folder"] = str(written.folder)
        answer["name"] = written.name
        answer["fingerprint"] = written.fingerprint
        answer["runs_own_code"] = written.runs_own_code
        answer["card"] = written.card.model_dump(mode="json")


if __name__ == "__main__":
    main()
