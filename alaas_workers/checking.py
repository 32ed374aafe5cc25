"""The process behind `alaas models check`: loads one model as an inference worker would, and prints its card."""

from __future__ import annotations

import argparse
import logging
import time

from alaas.config import load_config
from alaas_workers.logs import set_up_logs
from alaas_workers.one_answer import answering


def main() -> None:
    parser = argparse.ArgumentParser(prog="alaas models check")
    parser.add_argument("model")
    options = parser.parse_args()
    set_up_logs("check", logging.WARNING)
    logging.getLogger("alaas_workers").setLevel(logging.INFO)  # such as which outputs were taken for what
    with answering() as answer:
        from alaas_workers.backends import open_backend

        started = time.monotonic()
        backend = open_backend(options.model, load_config())
        answer["seconds"] = time.monotonic() - started
        answer["card"] = backend.card.model_dump(mode="json")
        backend.close()


if __name__ == "__main__":
    main()
