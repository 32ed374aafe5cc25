"""`alaas demo`: the main job on real images, from an empty folder to a picture of what to label and what it was worth.

Needs `alaas[server]`, two minutes and no network; leaves nothing running.
"""

from alaas.demo.tour import run

__all__ = ["run"]
