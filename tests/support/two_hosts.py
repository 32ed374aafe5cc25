"""Two "hosts" on one machine: network namespaces with names of their own, on a bridge that reaches this one."""

from __future__ import annotations

import os
import shutil
import subprocess
from contextlib import ExitStack

_IP, _UNSHARE = "ip", "unshare"


class CannotMakeHosts(Exception):
    """This machine cannot; the message says why."""


class TwoHosts:
    """`address` is this machine's on the bridge; `subnet` holds all three. Everything goes away at the end."""

    def __init__(self) -> None:
        number = os.getpid() % 250
        self.subnet = f"10.213.{number}.0/24"
        self.address = f"10.213.{number}.1"
        self.names = [f"alaas-{number}-a", f"alaas-{number}-b"]
        self._bridge = f"alaas-{number}"
        self._made = ExitStack()

    def command(self, name: str, *command: str) -> list[str]:
        """`command`, run on that host. It becomes the very process that is started, so that signals reach it."""
        renamed = ["sh", "-c", f'hostname {name} && exec "$@"', "sh", *command]
        return [_IP, "netns", "exec", name, _UNSHARE, "--uts", *renamed]

    def __enter__(self) -> TwoHosts:
        if os.geteuid() != 0:
            raise CannotMakeHosts("network namespaces need root")
        for program in (_IP, _UNSHARE, "hostname"):
            if shutil.which(program) is None:
                raise CannotMakeHosts(f"there is no program {program!r} here")
        try:
            self._make()
        except BaseException:
            self._made.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._made.close()

    def _make(self) -> None:
        self._run("link", "add", self._bridge, "type", "bridge", undo=("link", "del", self._bridge))
        self._run("address", "add", f"{self.address}/24", "dev", self._bridge)
        self._run("link", "set", self._bridge, "up")
        for place, name in enumerate(self.names):
            self._run("netns", "add", name, undo=("netns", "del", name))
            ours = f"{self._bridge}{'ab'[place]}"
            self._run("link", "add", ours, "type", "veth", "peer", "name", "eth0", "netns", name)
            self._run("link", "set", ours, "master", self._bridge, "up")
            self._run("-n", name, "link", "set", "lo", "up")
            self._run("-n", name, "address", "add", f"{self.address[:-1]}{place + 2}/24", "dev", "eth0")
            self._run("-n", name, "link", "set", "eth0", "up")
        self._check()

    def _check(self) -> None:
        done = subprocess.run(self.command(self.names[0], "hostname"), capture_output=True, text=True)
        if done.stdout.strip() != self.names[0]:
            raise CannotMakeHosts(f"a command cannot be run in a namespace here: {done.stderr.strip()[:200]}")

    def _run(self, *arguments: str, undo: tuple[str, ...] | None = None) -> None:
        done = subprocess.run([_IP, *arguments], capture_output=True, text=True)
        if done.returncode:
            raise CannotMakeHosts(f"ip {' '.join(arguments)}: {done.stderr.strip()[:200]}")
        if undo is not None:
            self._made.callback(subprocess.run, [_IP, *undo], capture_output=True)
