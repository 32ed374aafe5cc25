"""Flower against the fleet: `python -P -m alaas_workers.monitoring`. Always a password; loopback unless configured."""

from __future__ import annotations

import secrets

from alaas.config import load_config
from alaas_workers.app import make_app
from alaas_workers.logs import set_up_logs


def main() -> None:
    set_up_logs("flower")
    config = load_config()
    flower = config.flower
    password = flower.password.get_secret_value() if flower.password else secrets.token_urlsafe(16)
    if flower.password is None:
        print(f"Flower: http://{flower.host}:{flower.port} user {flower.user} password {password}", flush=True)
    app = make_app(config)
    app.start(["flower", f"--address={flower.host}", f"--port={flower.port}", f"--basic-auth={flower.user}:{password}"])


if __name__ == "__main__":
    main()
