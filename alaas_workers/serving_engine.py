"""Whether a Triton server serves models as the configuration needs them: asked by `alaas serve`, answered as JSON."""

from __future__ import annotations

import argparse
import logging

from alaas.config import Config, load_config
from alaas.config.schema import TritonConfig
from alaas.errors import AlaasError, Transient
from alaas_workers.logs import set_up_logs
from alaas_workers.one_answer import answering


def why_not(name: str, config: Config) -> str:
    """Why the server does not serve the model; "" where it does."""
    from alaas_workers.backends.triton_backend import TritonBackend

    try:
        TritonBackend(name, config).close()
    except (AlaasError, Transient) as error:
        return error.detail
    return ""


def answering_server(config: Config) -> TritonConfig | None:
    """With the address as it answers: without a prefix it may be that of gRPC or of HTTP. None where nothing does."""
    asked = config.triton
    if asked is None:
        return None
    urls = [asked.url] if "://" in asked.url else [asked.url, f"http://{asked.url}"]
    servers = [asked.model_copy(update={"url": url}) for url in urls]
    return next((server for server in servers if _answers(server)), None)


def _answers(server: TritonConfig) -> bool:
    from alaas_workers.backends.protocol import EngineAway
    from alaas_workers.backends.triton_wire import open_wire

    wire = open_wire(server)
    try:
        return wire.is_ready()
    except EngineAway:
        return False
    finally:
        wire.close()


def main() -> None:
    parser = argparse.ArgumentParser(prog="alaas serving engine")
    parser.add_argument("models", nargs="*")
    models = parser.parse_args().models
    set_up_logs("triton", logging.ERROR)  # that no server is there is no news
    config = load_config()
    with answering() as answer:
        if server := answering_server(config):
            config = config.model_copy(update={"triton": server})
            answer["url"] = server.url
            answer["models"] = {name: why_not(name, config) for name in models}


if __name__ == "__main__":
    main()
