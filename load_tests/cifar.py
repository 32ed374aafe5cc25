"""CIFAR-10 JPEGs of ../shared/data, unpacked into a folder."""

from __future__ import annotations

import tarfile
from pathlib import Path

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"


def unpack(folder: Path, count: int, split: str = "test") -> list[Path]:
    """The first `count` images as `<class>-<number>.jpg`, classes in turn, so that any head of the list is balanced."""
    archive = DATA / f"cifar10-{split}-jpeg.tar.gz"
    if not archive.exists():
        raise SystemExit(f"this benchmark needs the real images of ../shared/data ({archive.name})")
    folder.mkdir(parents=True, exist_ok=True)
    with tarfile.open(archive) as tar:
        members = [member for member in tar.getmembers() if member.name.endswith(".jpg")]
        members.sort(key=lambda member: (Path(member.name).name, member.name))
        paths = {member.name: folder / "-".join(Path(member.name).parts[-2:]) for member in members[:count]}
        # In the archive's own order, since going back in a compressed file means reading it again from its start.
        for member in tar.getmembers():
            if member.name in paths:
                inner = tar.extractfile(member)
                assert inner is not None
                paths[member.name].write_bytes(inner.read())
    return list(paths.values())
