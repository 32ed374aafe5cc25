"""The file source against links, pipes, devices and files that move under it."""

from __future__ import annotations

import errno
import io
import os
import time
from pathlib import Path
from typing import Any

import pytest

from alaas.errors import SampleCode, SampleError, Transient
from alaas_workers.sources import Fetched, Sources, beneath
from tests.support.source_configs import personal


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "outside.txt").write_bytes(b"secret")
    folder = tmp_path / "root"
    (folder / "a").mkdir(parents=True)
    (folder / "a" / "x.jpg").write_bytes(b"inside")
    return folder


def outcome(root: Path | str, uri: str, data_dir: Path | str = "/nowhere") -> bytes | SampleCode:
    sources = Sources(personal(Path(data_dir), file={"roots": [str(root)]}))
    try:
        (result,) = sources.fetch_all([uri], "me")
        version = sources.version(uri, "me")
    finally:
        sources.close()
    if isinstance(result, Fetched):
        assert version == result.version != ""
        return result.data
    assert isinstance(result, SampleError)
    if result.sample_code in (SampleCode.NOT_ALLOWED, SampleCode.NOT_FOUND):
        assert version == ""
    return result.sample_code


@pytest.mark.parametrize(
    "path",
    ["../outside.txt", "a/../../outside.txt", "%2e%2e/outside.txt", "a/%2e%2e%2f..%2foutside.txt", "../missing", ""],
)
def test_no_dots_lead_out_of_the_root(path: str, root: Path) -> None:
    assert outcome(root, f"file://{root}/{path}") is SampleCode.NOT_ALLOWED


def test_dots_within_the_root_are_fine(root: Path) -> None:
    assert outcome(root, f"file://{root}/a/../a/x.jpg") == b"inside"


@pytest.mark.parametrize("path", ["/etc/hostname", "/proc/self/environ", "/dev/zero", "/", "/root-and-more/x"])
def test_what_lies_elsewhere_is_not_allowed_whether_it_exists_or_not(path: str, root: Path) -> None:
    assert outcome(root, path) is SampleCode.NOT_ALLOWED
    assert outcome(root, f"file://{path}") is SampleCode.NOT_ALLOWED


def test_a_folder_whose_name_begins_like_the_root_is_not_the_root(root: Path) -> None:
    (root.parent / "root2").mkdir()
    (root.parent / "root2" / "x").write_bytes(b"x")
    assert outcome(root, str(root.parent / "root2" / "x")) is SampleCode.NOT_ALLOWED


def test_without_roots_no_file_is_read(root: Path) -> None:
    sources = Sources(personal(Path("/nowhere"), file={"roots": []}))
    (result,) = sources.fetch_all([str(root / "a/x.jpg")], "me")
    sources.close()
    assert isinstance(result, SampleError) and result.sample_code is SampleCode.NOT_ALLOWED


def test_links_that_stay_inside_are_followed(root: Path) -> None:
    (root / "file-link").symlink_to("a/x.jpg")
    (root / "folder-link").symlink_to(root / "a")
    assert outcome(root, str(root / "file-link")) == b"inside"
    assert outcome(root, str(root / "folder-link/x.jpg")) == b"inside"


def test_links_that_lead_out_are_not_followed(root: Path) -> None:
    (root / "file-link").symlink_to(root.parent / "outside.txt")
    (root / "folder-link").symlink_to("..")
    (root / "magic").symlink_to("/proc/self/root/etc")
    for path in ("file-link", "folder-link/outside.txt", "magic/hostname"):
        assert outcome(root, str(root / path)) is SampleCode.NOT_ALLOWED


def test_a_loop_of_links_or_a_path_through_a_file_is_no_file(root: Path) -> None:
    (root / "loop").symlink_to("loop")
    assert outcome(root, str(root / "loop")) is SampleCode.NOT_ALLOWED
    assert outcome(root, str(root / "a/x.jpg/y")) is SampleCode.NOT_FOUND


def test_a_root_may_be_named_through_a_link(root: Path) -> None:
    link = root.parent / "link-to-root"
    link.symlink_to(root)
    assert outcome(link, str(link / "a/x.jpg")) == b"inside"


def test_a_link_that_is_put_there_after_the_judgement_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.path.realpath", lambda path, **_: str(path))  # judged while it still was a plain file
    (root / "file-link").symlink_to(root.parent / "outside.txt")
    (root / "folder-link").symlink_to(root.parent)
    assert outcome(root, str(root / "file-link")) is SampleCode.NOT_ALLOWED
    sources = Sources(personal(Path("/nowhere"), file={"roots": [str(root)]}))
    (result,) = sources.fetch_all([str(root / "folder-link/outside.txt")], "me")
    sources.close()
    assert isinstance(result, SampleError) and result.sample_code is SampleCode.NOT_FOUND


def test_a_link_that_takes_the_files_place_before_it_is_opened_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real_open = os.open

    def swapping(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if path == "x.jpg":
            (root / "a/x.jpg").unlink()
            (root / "a/x.jpg").symlink_to(root.parent / "outside.txt")
        return real_open(path, flags, *rest, **options)

    monkeypatch.setattr("os.open", swapping)
    with pytest.raises(SampleError) as caught:
        beneath.read_beneath(beneath.Roots((root,)), str(root / "a/x.jpg"), 1000)
    assert caught.value.sample_code is SampleCode.NOT_FOUND


def test_a_pipe_that_takes_the_files_place_holds_nobody(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real_open = os.open

    def swapping(path: Any, flags: int, *rest: Any, **options: Any) -> int:
        if path == "x.jpg":
            (root / "a/x.jpg").unlink()
            os.mkfifo(root / "a/x.jpg")
        return real_open(path, flags, *rest, **options)

    monkeypatch.setattr("os.open", swapping)
    with pytest.raises(SampleError) as caught:
        beneath.read_beneath(beneath.Roots((root,)), str(root / "a/x.jpg"), 1000)
    assert caught.value.sample_code is SampleCode.NOT_ALLOWED


def test_a_pipe_is_refused_at_once(root: Path) -> None:
    os.mkfifo(root / "pipe")
    started = time.monotonic()
    assert outcome(root, str(root / "pipe")) is SampleCode.NOT_ALLOWED
    assert time.monotonic() - started < 5


def test_a_device_is_refused_even_beneath_a_root() -> None:
    assert outcome("/dev", "/dev/zero") is SampleCode.NOT_ALLOWED


def test_a_file_of_proc_gives_nothing_even_beneath_a_root() -> None:
    assert outcome("/proc", f"/proc/{os.getpid()}/environ") is SampleCode.EMPTY


def test_odd_names_are_read_by_path_and_by_uri(root: Path) -> None:
    for name in ("a b.jpg", "50%20?#.jpg", "ä.jpg", "@:;\\"):
        path = root / name
        path.write_bytes(b"odd")
        assert outcome(root, str(path)) == b"odd"
        assert outcome(root, path.as_uri()) == b"odd"


@pytest.mark.parametrize(
    ("number", "expected", "is_transient"),
    [
        (errno.EACCES, SampleCode.FORBIDDEN, False),
        (errno.ENAMETOOLONG, SampleCode.NOT_FOUND, False),
        (errno.EIO, SampleCode.REMOTE_ERROR, True),
        (errno.EMFILE, SampleCode.REMOTE_ERROR, True),
        (errno.ESTALE, SampleCode.REMOTE_ERROR, True),
    ],
    ids=errno.errorcode.get,
)
def test_an_error_of_the_disk_is_one_code(
    number: int, expected: SampleCode, is_transient: bool, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(*_: Any, **__: Any) -> int:
        raise OSError(number, "at a secret path")

    roots = beneath.Roots((root,))
    monkeypatch.setattr("os.open", failing)
    with pytest.raises(SampleError) as caught:
        beneath.read_beneath(roots, str(root / "a/x.jpg"), 1000)
    monkeypatch.undo()
    assert caught.value.sample_code is expected and "secret" not in str(caught.value)
    assert isinstance(caught.value, Transient) is is_transient


def test_the_data_folder_stays_closed_beneath_a_root(root: Path) -> None:
    (root / ".alaas").mkdir()
    (root / ".alaas/catalog.sqlite").write_bytes(b"secret")
    uri = str(root / ".alaas/catalog.sqlite")
    assert outcome(root, uri, data_dir=root / ".alaas") is SampleCode.NOT_ALLOWED
    assert outcome(root / ".alaas", uri, data_dir=root / ".alaas") == b"secret"


class Growing(io.FileIO):
    """A file to which somebody else writes whenever it is read."""

    def read(self, size: int | None = -1) -> Any:
        with open(self.name, "ab") as writer:
            writer.write(b"more")
        return super().read(-1 if size is None else size)


def test_a_file_that_changes_while_it_is_read_is_unstable(root: Path) -> None:
    with Growing(str(root / "a/x.jpg")) as file, pytest.raises(SampleError) as caught:
        beneath._read(file, 1000)
    assert caught.value.sample_code is SampleCode.UNSTABLE
