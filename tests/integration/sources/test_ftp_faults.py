"""The ftp source against servers that misbehave, on real sockets."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import CancelledError, ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from alaas.config import Config
from alaas.errors import SampleCode, SampleError
from alaas_workers.sources import Fetched, Sources, ftp_folders, ftp_listing, ftp_pool, ftp_source
from alaas_workers.sources.base import Listed
from alaas_workers.sources.failures import DETAILS
from tests.support.scripted_ftp import ScriptedFtp, Session, Step, reset
from tests.support.source_configs import QUICK, personal

MAX_BYTES = 100_000


def config_of(tmp_path: Path, **ftp: Any) -> Config:
    return personal(tmp_path, max_sample_bytes=MAX_BYTES, ftp=ftp)


def fetch_all(config: Config, uris: list[str]) -> list[Any]:
    sources = Sources(config)
    try:
        return sources.fetch_all(uris, "me")
    finally:
        sources.close()


def listing(config: Config, prefix: str) -> list[Listed]:
    sources = Sources(config)
    try:
        return [listed for page in sources.pages(prefix, "me") for listed in page]
    finally:
        sources.close()


def silence(session: Session, argument: str) -> None:
    session.stopping.wait()


def hang_up(session: Session, argument: str) -> None:
    session.is_over = True


def drip(session: Session, argument: str) -> None:
    session.send(b"220-")
    while not session.stopping.wait(0.05):
        session.send(b"x")


def endless_line(session: Session, argument: str) -> None:
    while not session.stopping.is_set():
        session.send(b"220 " + b"x" * 65536)


def endless_lines(session: Session, argument: str) -> None:
    while not session.stopping.is_set():
        session.send(b"220-Welcome to the longest greeting\r\n" * 1000)


def sends(data: bytes, **how: str) -> Step:
    return lambda session, argument: session.transfer(data, **how)


def data_stalls(session: Session, argument: str) -> None:
    session.reply("150 Here it comes.")
    with session.accept() as sock:
        sock.sendall(b"x" * 1000)
        session.stopping.wait()


def data_drips(session: Session, argument: str) -> None:
    session.reply("150 Here it comes.")
    with session.accept() as sock:
        while not session.stopping.wait(0.05):
            sock.sendall(b"x")


def data_never_ends(session: Session, argument: str) -> None:
    session.reply("150 Here it comes.")
    with session.accept() as sock:
        while not session.stopping.is_set():
            sock.sendall(b"x" * 65536)


def data_is_reset(session: Session, argument: str) -> None:
    session.reply("150 Here it comes.")
    sock = session.accept()
    sock.sendall(b"x" * 1000)
    reset(sock)
    session.reply("226 Done.")


def hangs_up_in_the_middle(session: Session, argument: str) -> None:
    session.transfer(b"x" * 1000, after="")
    session.is_over = True


def nobody_listens(session: Session, argument: str) -> None:
    port = session.listen()
    assert session.listener is not None
    session.listener.close()
    session.reply(f"227 Entering Passive Mode (127,0,0,1,{port >> 8},{port & 255}).")


# What a server does, at which command; what comes of it, and how often it is tried.
FAULTS: dict[str, tuple[str, Step, SampleCode, int]] = {
    "says nothing": ("", silence, SampleCode.UNREACHABLE, 2),
    "hangs up": ("", hang_up, SampleCode.REMOTE_ERROR, 2),
    "drips its greeting": ("", drip, SampleCode.UNREACHABLE, 1),
    "speaks something else": ("", b"SSH-2.0-OpenSSH_9.2\r\n", SampleCode.REMOTE_ERROR, 1),
    "speaks HTTP": ("", b"HTTP/1.1 400 Bad Request\r\n\r\n", SampleCode.REMOTE_ERROR, 1),
    "greets in bytes": ("", b"\xff\xfe\x00\r\n", SampleCode.REMOTE_ERROR, 1),
    "greets with an empty line": ("", b"\r\n", SampleCode.REMOTE_ERROR, 1),
    "greets in a line without end": ("", endless_line, SampleCode.REMOTE_ERROR, 1),
    "greets in lines without end": ("", endless_lines, SampleCode.REMOTE_ERROR, 1),
    "is full": ("", b"421 Too many users.\r\n", SampleCode.REMOTE_ERROR, 2),
    "is full and says so at the login": ("PASS", b"530 Too many users.\r\n", SampleCode.REMOTE_ERROR, 2),
    "refuses the login": ("PASS", b"530 Login incorrect.\r\n", SampleCode.FORBIDDEN, 1),
    "wants TLS": ("USER", b"550 TLS required.\r\n", SampleCode.FORBIDDEN, 1),
    "wants an account": ("PASS", b"332 Need account.\r\n", SampleCode.REMOTE_ERROR, 1),
    "refuses binary": ("TYPE", b"504 Text only.\r\n", SampleCode.REMOTE_ERROR, 1),
    "opens no data port": ("PASV", b"425 Not now.\r\n", SampleCode.REMOTE_ERROR, 2),
    "names nonsense for a data port": ("PASV", b"227 =)\r\n", SampleCode.REMOTE_ERROR, 1),
    "names a service's port": ("PASV", b"227 (127,0,0,1,0,22)\r\n", SampleCode.REMOTE_ERROR, 1),
    "names a port that is none": ("PASV", b"227 (127,0,0,1,999,99999999)\r\n", SampleCode.REMOTE_ERROR, 1),
    "names a port of too many digits": (
        "PASV",
        b"227 (127,0,0,1,%s,1)\r\n" % (b"9" * 5000),
        SampleCode.REMOTE_ERROR,
        1,
    ),
    "does not listen for data": ("PASV", nobody_listens, SampleCode.UNREACHABLE, 2),
    "never answers to RETR": ("RETR", silence, SampleCode.UNREACHABLE, 2),
    "has no such file": ("RETR", b"550 No such file.\r\n", SampleCode.NOT_FOUND, 1),
    "has no file of a name like a reason": ("RETR", b"550 denied: No such file.\r\n", SampleCode.NOT_FOUND, 1),
    "says who gets no right to it": ("RETR", b"550 a.jpg: Permission denied.\r\n", SampleCode.FORBIDDEN, 1),
    "gives no right to it": ("RETR", b"550 Permission denied.\r\n", SampleCode.FORBIDDEN, 1),
    "is busy": ("RETR", b"450 File busy.\r\n", SampleCode.REMOTE_ERROR, 2),
    "logs us out": ("RETR", b"530 Please login.\r\n", SampleCode.FORBIDDEN, 1),
    "closes down": ("RETR", b"421 Closing.\r\n", SampleCode.REMOTE_ERROR, 2),
    "answers with another word": ("RETR", b"331 And the password?\r\n", SampleCode.REMOTE_ERROR, 1),
    "stalls in the file": ("RETR", data_stalls, SampleCode.UNREACHABLE, 2),
    "drips the file": ("RETR", data_drips, SampleCode.UNREACHABLE, 1),
    "never ends the file": ("RETR", data_never_ends, SampleCode.TOO_LARGE, 1),
    "resets in the file": ("RETR", data_is_reset, SampleCode.REMOTE_ERROR, 2),
    "hangs up in the file": ("RETR", hangs_up_in_the_middle, SampleCode.REMOTE_ERROR, 2),
    "breaks off and says so": ("RETR", sends(b"x" * 9, after="426 Broken."), SampleCode.REMOTE_ERROR, 2),
    "never says that it is done": ("RETR", sends(b"x" * 9, after=""), SampleCode.UNREACHABLE, 2),
    "promises too much": ("RETR", sends(b"x", before="150 a.jpg (100001 bytes)."), SampleCode.TOO_LARGE, 1),
    "sends less than it promised": ("RETR", sends(b"x" * 9, before="150 a (10 bytes)."), SampleCode.REMOTE_ERROR, 2),
    "sends nothing of what it promised": ("RETR", sends(b"", before="150 a (10 bytes)."), SampleCode.REMOTE_ERROR, 2),
    "sends less than SIZE says": ("SIZE", b"213 1000000\r\n", SampleCode.REMOTE_ERROR, 2),
    "sends more than SIZE says": ("SIZE", b"213 2\r\n", SampleCode.REMOTE_ERROR, 2),
    "never answers to SIZE": ("SIZE", silence, SampleCode.UNREACHABLE, 2),
}
SLOW = (silence, drip, data_stalls, data_drips)


@pytest.mark.parametrize(("command", "step", "expected", "tries"), FAULTS.values(), ids=FAULTS)
def test_a_server_that(command: str, step: Step, expected: SampleCode, tries: int, tmp_path: Path) -> None:
    is_slow = step in (*SLOW, FAULTS["never says that it is done"][1])
    with ScriptedFtp({command: step}, {"a.jpg": b"jpeg"}) as server:
        started = time.monotonic()
        (result,) = fetch_all(config_of(tmp_path, **(QUICK if is_slow else {})), [server.uri()])
        assert time.monotonic() - started < 4
        assert isinstance(result, SampleError) and result.sample_code is expected
        assert result.detail == DETAILS[expected]
        assert (server.count(command) if command else server.connections) == tries


def test_a_size_that_the_server_cannot_tell_is_no_error(tmp_path: Path) -> None:
    for answer in (b"502 No SIZE here.\r\n", b"550 Not in text mode.\r\n", b"213 many\r\n"):
        with ScriptedFtp({"SIZE": answer}, {"a.jpg": b"jpeg"}) as server:
            assert fetch_all(config_of(tmp_path), [server.uri()]) == [Fetched(b"jpeg", "")]


def test_a_name_that_looks_like_a_size_is_no_error(tmp_path: Path) -> None:
    with ScriptedFtp({"RETR": sends(b"jpeg", before="150 Sending a (9 bytes).jpg")}, {"a.jpg": b"jpeg"}) as server:
        assert fetch_all(config_of(tmp_path), [server.uri()]) == [Fetched(b"jpeg", "")]


def test_the_size_is_not_asked_for_where_the_server_told_it(tmp_path: Path) -> None:
    with ScriptedFtp({"RETR": sends(b"jpeg", before="150 Sending a.jpg (4 bytes).")}) as server:
        assert fetch_all(config_of(tmp_path), [server.uri()]) == [Fetched(b"jpeg", "")]
        assert server.count("SIZE") == 0


def test_the_address_in_the_answer_to_pasv_is_never_connected_to(tmp_path: Path) -> None:
    def elsewhere(session: Session, argument: str) -> None:
        port = session.listen()
        session.reply(f"227 Entering Passive Mode (127,0,0,2,{port >> 8},{port & 255}).")

    with ScriptedFtp({"PASV": elsewhere}, {"a.jpg": b"jpeg"}) as server:  # it listens on 127.0.0.1 alone
        assert fetch_all(config_of(tmp_path), [server.uri()]) == [Fetched(b"jpeg", "")]


@pytest.mark.parametrize("path", ["a%0d%0aDELE%20b", "a%0Ab", "a%00", "../a", "a/../b", "a/%2e%2e/b", "..%5ca", "a//b"])
def test_no_path_can_end_its_command_or_leave_its_folder(path: str, tmp_path: Path) -> None:
    with ScriptedFtp() as server:
        (result,) = fetch_all(config_of(tmp_path), [server.uri(path)])
        assert isinstance(result, SampleError) and result.sample_code is SampleCode.BAD_URI
        assert server.connections == 0


def test_a_name_that_is_not_utf_8_goes_out_and_comes_back_byte_for_byte(tmp_path: Path) -> None:
    facts = b"type=file;size=4;modify=20260101; caf\xe9 1.jpg\r\n"
    with ScriptedFtp({"MLSD": sends(facts)}, {"pool/caf\xe9 1.jpg": b"jpeg"}) as server:
        (listed,) = listing(config_of(tmp_path), server.uri("pool/"))
        assert listed == Listed(server.uri("pool/caf%E9%201.jpg"), "4-20260101")
        assert fetch_all(config_of(tmp_path), [listed.uri]) == [Fetched(b"jpeg", "")]


class TestConnections:
    def test_are_kept_between_samples_and_chunks(self, tmp_path: Path) -> None:
        with ScriptedFtp(files={"a.jpg": b"jpeg"}) as server:
            sources = Sources(config_of(tmp_path, connections=3))
            for owner in ("me", "you"):
                results = sources.fetch_all([server.uri()] * 30 + [server.uri("missing")] * 3, owner)
                assert sum(isinstance(result, Fetched) for result in results) == 30
            sources.close()
            assert server.connections == server.count("USER") <= 3

    def test_one_that_the_server_closed_meanwhile_is_opened_again(self, tmp_path: Path) -> None:
        def last(session: Session, argument: str) -> None:
            session.transfer(b"jpeg")
            session.is_over = True

        with ScriptedFtp({"RETR": last, "SIZE": b"502\r\n"}) as server:
            sources = Sources(config_of(tmp_path, connections=1))
            for _ in range(4):
                result = sources.fetch_all([server.uri()], "me")[0]
                assert not isinstance(result, Fetched) or result.data == b"jpeg"
                time.sleep(0.05)
            sources.close()

    @pytest.mark.parametrize("word", [b"421 Timeout.\r\n", b""], ids=["told", "silently"])
    def test_one_that_is_closed_at_its_next_use_costs_no_try(self, word: bytes, tmp_path: Path) -> None:
        used: list[Session] = []

        def once(session: Session, argument: str) -> None:
            if session in used:
                session.send(word)
                session.is_over = True
            else:
                used.append(session)
                ScriptedFtp._PASV(server, session, argument)

        with ScriptedFtp({"PASV": once}, {"a.jpg": b"jpeg"}) as server:
            results = fetch_all(personal(tmp_path, attempts=1, ftp={"connections": 1}), [server.uri()] * 3)
            assert results == [Fetched(b"jpeg", "")] * 3
            assert server.connections == 3 and server.count("PASV") == 5

    def test_a_server_that_takes_few_users_is_used_by_few(self, tmp_path: Path) -> None:
        inside: list[Session] = []

        def two_at_most(session: Session, argument: str) -> None:
            if len(inside) < 2:
                inside.append(session)
                session.reply("220 Ready.")
            else:
                session.reply("421 Too many users.")
                session.is_over = True

        with ScriptedFtp({"": two_at_most}, {"a.jpg": b"jpeg"}) as server:
            results = fetch_all(personal(tmp_path, attempts=2, retry_delay_s=0.2), [server.uri()] * 60)
            assert results == [Fetched(b"jpeg", "")] * 60
            assert server.connections < 20

    def test_a_refused_login_is_not_tried_again_and_again(self, tmp_path: Path) -> None:
        with ScriptedFtp({"PASS": b"530 Login incorrect.\r\n"}) as server:
            results = fetch_all(config_of(tmp_path, connections=2), [server.uri()] * 50)
            assert {result.sample_code for result in results} == {SampleCode.FORBIDDEN}
            assert server.count("PASS") <= 2

    def test_a_sample_that_waits_for_one_tells_that_it_does(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Else a chunk that waits behind another's samples would be taken for hanging, and lose its lease."""
        monkeypatch.setattr(ftp_pool, "TURN_S", 0.1)
        words = [time.monotonic()]

        def note(*_: object) -> None:
            words.append(time.monotonic())

        with ScriptedFtp({"RETR": data_drips}, {"a.jpg": b"jpeg"}) as server:
            sources = Sources(config_of(tmp_path, connections=1, total_timeout_s=0.5))
            with ThreadPoolExecutor() as threads:
                before = threads.submit(sources.fetch_all, [server.uri()] * 4, "me")
                wait_for(lambda: server.count("RETR") == 1)
                waiting = threads.submit(sources.fetch_all, [server.uri()], "you", note)
                results = before.result() + waiting.result()
            assert {getattr(result, "sample_code", None) for result in results} == {SampleCode.UNREACHABLE}
            sources.close()
        assert len(words) > 10 and max(later - one for one, later in pairwise(words)) < 1.0

    def test_those_in_use_are_let_go_without_a_word_when_all_ends(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        with ScriptedFtp({"RETR": silence}) as server, ThreadPoolExecutor() as threads:
            sources = Sources(config_of(tmp_path))
            under_way = threads.submit(sources.fetch_all, [server.uri()] * 3, "me")
            wait_for(lambda: server.count("RETR") == 3)
            sources.close()
            with pytest.raises(CancelledError):
                under_way.result(timeout=5)
        assert caplog.text == ""

    def test_idle_ones_are_closed_after_a_while(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ftp_pool, "IDLE_S", 0.1)
        ended: list[str] = []

        def note_the_end(session: Session, argument: str) -> None:
            session.connection.settimeout(5)
            session.reply("213 4")
            ended.append("open")
            assert session.connection.recv(1) == b""
            ended.append("closed")
            session.is_over = True

        with ScriptedFtp({"SIZE": note_the_end}, {"a.jpg": b"jpeg"}) as server:
            sources = Sources(config_of(tmp_path))
            assert sources.fetch_all([server.uri()], "me") == [Fetched(b"jpeg", "")]
            wait_for(lambda: ended == ["open", "closed"])
            sources.close()

    def test_those_to_many_servers_are_few(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ftp_source, "MAX_SERVERS", 2)
        with ScriptedFtp(files={"a.jpg": b"jpeg"}) as server:
            sources = Sources(config_of(tmp_path))
            names = ["127.0.0.1", "127.1", "0x7f.1", "2130706433"]
            uris = [server.uri().replace("127.0.0.1", name) for name in names]
            assert [sources.fetch_all([uri], "me") for uri in uris] == [[Fetched(b"jpeg", "")]] * 4
            source: Any = next(iter(sources._opened.values()))
            assert len(source._servers) == 2
            sources.close()

    def test_naming_other_servers_lifts_no_servers_limit(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ftp_source, "MAX_SERVERS", 1)
        with ScriptedFtp({"RETR": silence}) as held, ScriptedFtp(files={"a.jpg": b"jpeg"}) as other:
            sources = Sources(config_of(tmp_path, connections=1))
            with ThreadPoolExecutor() as threads:
                under_way = [threads.submit(sources.fetch_all, [held.uri()], "me")]
                wait_for(lambda: held.count("RETR") == 1)
                assert sources.fetch_all([other.uri()], "you") == [Fetched(b"jpeg", "")]
                under_way.append(threads.submit(sources.fetch_all, [held.uri()], "me"))
                time.sleep(0.3)
                assert held.connections == 1
                sources.close()
                for one in under_way:
                    with pytest.raises(CancelledError):
                        one.result(timeout=5)

    def test_a_refused_login_stays_known_while_others_are_asked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(ftp_source, "MAX_SERVERS", 1)
        with ScriptedFtp({"PASS": b"530 No.\r\n"}) as strict, ScriptedFtp(files={"a.jpg": b"jpeg"}) as other:
            login = {"server": f"ftp://127.0.0.1:{strict.port}", "user": "reader", "password": "old"}
            sources = Sources(config_of(tmp_path, logins=[login]))
            for _ in range(3):
                sources.fetch_all([strict.uri()], "me")
                sources.fetch_all([other.uri()], "me")
            sources.close()
            assert strict.count("PASS") == 1


def wait_for(claim: Callable[[], bool]) -> None:
    until = time.monotonic() + 5
    while not claim():
        assert time.monotonic() < until
        time.sleep(0.01)


FILE = "type=file;size=4;modify=20260101;"


def folders(**contents: list[str]) -> Step:
    """MLSD of each folder: its lines."""

    def tell(session: Session, argument: str) -> None:
        lines = contents.get(argument.replace("/", "_"))
        if lines is None:
            session.reply("550 No such folder.")
        else:
            session.transfer("".join(f"{line}\r\n" for line in lines).encode("latin-1"))

    return tell


class TestListing:
    def paths(self, tmp_path: Path, step: Step, command: str = "MLSD") -> list[str]:
        with ScriptedFtp({command: step}) as server:
            return [one.uri.removeprefix(server.uri("")) for one in listing(config_of(tmp_path), server.uri("pool/"))]

    def code(self, tmp_path: Path, step: Step, command: str = "MLSD") -> SampleCode:
        with pytest.raises(SampleError) as caught:
            self.paths(tmp_path, step, command)
        assert caught.value.detail == DETAILS[caught.value.sample_code]
        return caught.value.sample_code

    def test_goes_into_folders_in_an_order_that_stays(self, tmp_path: Path) -> None:
        tree = folders(
            pool=["type=dir;unique=2; b", f"{FILE} 2.jpg", "type=cdir; .", "type=dir; a", f"{FILE} 10.jpg"],
            pool_a=[f"{FILE} x.jpg"],
            pool_b=[f"{FILE} y.jpg"],
        )
        assert self.paths(tmp_path, tree) == ["pool/10.jpg", "pool/2.jpg", "pool/a/x.jpg", "pool/b/y.jpg"]

    def test_leaves_out_names_that_lead_elsewhere(self, tmp_path: Path) -> None:
        bad = ["../x", "/etc/passwd", "..", ".", "", "a\x07b", "a/b", "a\\..\\b", "\x7f", "x" * 4096]
        tree = folders(pool=[*(f"{FILE} {name}" for name in bad), *(f"type=dir; {name}" for name in bad), f"{FILE} a"])
        assert self.paths(tmp_path, tree) == ["pool/a"]

    def test_names_with_letters_of_uris_are_encoded(self, tmp_path: Path) -> None:
        assert self.paths(tmp_path, folders(pool=[f"{FILE} a b;c?d#e%41.jpg"])) == ["pool/a%20b%3Bc%3Fd%23e%2541.jpg"]

    def test_a_folder_that_holds_itself_is_entered_once(self, tmp_path: Path) -> None:
        here = [f"{FILE} a", "type=dir;unique=7; loop"]
        assert self.paths(tmp_path, folders(pool=here, pool_loop=here)) == ["pool/a", "pool/loop/a"]

    def test_folders_without_end_are_an_error(self, tmp_path: Path) -> None:
        def deeper(session: Session, argument: str) -> None:
            session.transfer(f"{FILE} a\r\ntype=dir; loop\r\n".encode())

        assert self.code(tmp_path, deeper) is SampleCode.REMOTE_ERROR

    def test_a_list_without_end_is_too_large(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ftp_folders, "MAX_LISTING_BYTES", 100_000)
        assert self.code(tmp_path, data_never_ends) is SampleCode.TOO_LARGE

    def test_too_many_files_in_a_folder_are_too_large(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ftp_listing, "MAX_ENTRIES", 10)
        tree = folders(pool=[f"{FILE} {number}" for number in range(11)])
        assert self.code(tmp_path, tree) is SampleCode.TOO_LARGE

    def test_too_many_folders_are_an_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(ftp_folders, "MAX_FOLDERS", 10)
        tree = folders(pool=[f"type=dir; {number}" for number in range(11)])
        assert self.code(tmp_path, tree) is SampleCode.REMOTE_ERROR

    @pytest.mark.parametrize(
        "text", [b"<html>\r\n", b"type=file;a\r\n", b"\xff" * 50, b"a=b;" * 9999, b"-rw-r--r-- 1 a a 4 Jan 1 a\r\n"]
    )
    def test_what_is_no_list_is_an_error(self, text: bytes, tmp_path: Path) -> None:
        assert self.code(tmp_path, sends(text)) is SampleCode.REMOTE_ERROR

    def test_a_missing_or_empty_folder_is_not_found(self, tmp_path: Path) -> None:
        assert self.code(tmp_path, folders()) is SampleCode.NOT_FOUND
        assert self.code(tmp_path, folders(pool=["type=dir; a"], pool_a=[])) is SampleCode.NOT_FOUND

    def test_tells_at_each_folder_without_files_that_it_goes_on(self, tmp_path: Path) -> None:
        tree = folders(pool=["type=dir; a", "type=dir; b"], pool_a=[], pool_b=[f"{FILE} c"])
        with ScriptedFtp({"MLSD": tree}) as server:
            sources = Sources(config_of(tmp_path))
            pages = list(sources.pages(server.uri("pool/"), "me"))
            sources.close()
        assert [len(page) for page in pages] == [0, 0, 1]

    def test_one_that_breaks_off_is_an_error(self, tmp_path: Path) -> None:
        assert self.code(tmp_path, sends(f"{FILE} a\r\n".encode(), after="426 Broken.")) is SampleCode.REMOTE_ERROR

    def test_is_read_from_unix_lines_where_there_are_no_facts(self, tmp_path: Path) -> None:
        lines = (
            "total 3\r\n"
            "drwxr-xr-x    2 ftp      ftp          4096 Nov 22 20:38 .\r\n"
            "drwxr-xr-x    2 ftp      ftp          4096 Nov 22 20:38 ..\r\n"
            "-rw-r--r--    1 ftp      ftp             4 Nov 22 20:38 b c.jpg\r\n"
            "-rw-r--r--@   1 1001     staff  1234567890 Jan  3  1994  leading.jpg\r\n"
            "lrwxrwxrwx    1 ftp      ftp             2 Nov 22 20:38 link -> ..\r\n"
            "srwxrwxrwx    1 ftp      ftp             0 Nov 22 20:38 socket\r\n"
        )
        assert self.paths(tmp_path, sends(lines.encode()), "LIST") == ["pool/%20leading.jpg", "pool/b%20c.jpg"]

    def test_is_read_from_dos_lines_where_there_are_no_facts(self, tmp_path: Path) -> None:
        lines = b"11-22-26  08:38PM                    4 a b.jpg\r\n11-22-2026  20:38         1234 c.jpg\r\n"
        assert self.paths(tmp_path, sends(lines), "LIST") == ["pool/a%20b.jpg", "pool/c.jpg"]

    def test_lines_that_are_neither_are_an_error(self, tmp_path: Path) -> None:
        assert self.code(tmp_path, sends(b"a.jpg\r\n"), "LIST") is SampleCode.REMOTE_ERROR

    def test_in_lines_never_names_a_path_that_the_server_could_expand(self, tmp_path: Path) -> None:
        with ScriptedFtp({"LIST": sends(b"-rw-r--r-- 1 a a 4 Jan 01 2026 a\r\n")}, {"a": b"jpeg"}) as server:
            sources = Sources(config_of(tmp_path, connections=1))
            assert len(list(sources.pages(server.uri("-R *.jpg/"), "me"))) == 1
            assert sources.fetch_all([server.uri("a")], "me") == [Fetched(b"jpeg", "")]
            sources.close()
            words = [word for word in server.commands if word.split(" ")[0] in ("LIST", "CWD", "PWD", "RETR")]
            assert words == ["PWD", "CWD -R *.jpg", "LIST", "CWD /home", "RETR a"]

    def test_in_lines_that_break_off_leaves_no_connection_in_another_folder(self, tmp_path: Path) -> None:
        with ScriptedFtp({"LIST": b"550 Permission denied.\r\n"}, {"a": b"jpeg"}) as server:
            sources = Sources(config_of(tmp_path, connections=1))
            with pytest.raises(SampleError):
                list(sources.pages(server.uri("private/"), "me"))
            assert sources.fetch_all([server.uri("a")], "me") == [Fetched(b"jpeg", "")]
            sources.close()
            assert server.connections == 2
