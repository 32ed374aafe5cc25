"""A folder of images over HTTP on loopback, each answer after a delay: `python -m load_tests.image_server FOLDER MS`.

Its own process, so that its work is not the client's; prints its port.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from aiohttp import web


def make_app(folder: Path, delay_s: float) -> web.Application:
    images = {path.name: path.read_bytes() for path in folder.iterdir()}

    async def image(request: web.Request) -> web.Response:
        if delay_s:
            await asyncio.sleep(delay_s)
        data = images.get(request.match_info["name"])
        return web.Response(status=404) if data is None else web.Response(body=data, content_type="image/jpeg")

    app = web.Application()
    app.router.add_get("/{name}", image)
    return app


async def serve(folder: Path, delay_s: float) -> None:
    runner = web.AppRunner(make_app(folder, delay_s), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


@contextmanager
def image_server(folder: Path, delay_ms: float = 0.0) -> Iterator[str]:
    """The base URL of a running server; it stops at the end of the block."""
    command = [sys.executable, "-m", "load_tests.image_server", str(folder), str(delay_ms)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.terminate()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), float(sys.argv[2]) / 1000))
