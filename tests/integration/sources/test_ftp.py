"""ftp and ftps against a real server: logins, TLS, folders, and where it may connect to."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from alaas.config import Config, parse_config
from alaas.errors import ConfigError, SampleCode
from alaas_workers.sources import Fetched, Sources, ftp_source
from tests.support.ftp_server import PASSWORD, USER, FtpServer
from tests.support.scripted_ftp import ScriptedFtp
from tests.support.source_configs import personal, public


@pytest.fixture(scope="module")
def pool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pool")
    for name in ("images/a.jpg", "images/inner folder/café.jpg", "images-old/b.jpg"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(name.encode())
    (folder / "images" / "link").symlink_to("..")
    return folder


def outcome(config: Config, uri: str) -> bytes | SampleCode:
    sources = Sources(config)
    try:
        (result,) = sources.fetch_all([uri], "me")
    finally:
        sources.close()
    return result.data if isinstance(result, Fetched) else result.sample_code


def listed(config: Config, prefix: str) -> list[str]:
    sources = Sources(config)
    try:
        return [one.uri for page in sources.pages(prefix, "me") for one in page]
    finally:
        sources.close()


@pytest.fixture(scope="module")
def server(pool: Path) -> Iterator[FtpServer]:
    """One that wants a login."""
    with FtpServer(pool, has_login=True) as server:
        yield server


class TestLogin:
    def test_the_operators_opens_its_server(self, server: FtpServer, tmp_path: Path) -> None:
        assert outcome(personal(tmp_path, ftp=server.settings()), server.uri("images/a.jpg")) == b"images/a.jpg"

    def test_without_one_it_is_forbidden(self, server: FtpServer, tmp_path: Path) -> None:
        assert outcome(personal(tmp_path), server.uri("images/a.jpg")) is SampleCode.FORBIDDEN

    def test_a_wrong_password_is_forbidden(self, server: FtpServer, tmp_path: Path) -> None:
        logins = [{"server": server.uri().rstrip("/"), "user": USER, "password": "wrong"}]
        assert outcome(personal(tmp_path, ftp={"logins": logins}), server.uri("images/a.jpg")) is SampleCode.FORBIDDEN

    def test_it_opens_the_folders_that_are_named_with_it_and_no_others(self, server: FtpServer, tmp_path: Path) -> None:
        (login,) = server.settings()["logins"]
        config = personal(tmp_path, ftp={"logins": [login | {"prefixes": ["/images"]}]})
        assert outcome(config, server.uri("images/a.jpg")) == b"images/a.jpg"
        assert outcome(config, server.uri("images-old/b.jpg")) is SampleCode.NOT_ALLOWED
        assert outcome(config, server.uri("/images-old/b.jpg")) is SampleCode.NOT_ALLOWED
        assert outcome(config, server.uri("/images/a.jpg")) is SampleCode.NOT_ALLOWED
        assert outcome(config, server.uri("images/../images-old/b.jpg")) is SampleCode.BAD_URI

    @pytest.mark.parametrize("other", ["ftps://127.0.0.1:{0}", "ftp://127.0.0.1:1{0}", "ftp://localhost:{0}"])
    def test_it_goes_to_no_other_scheme_port_or_name(self, other: str, server: FtpServer, tmp_path: Path) -> None:
        login = {"server": other.format(server.port % 10000), "user": USER, "password": PASSWORD}
        assert outcome(personal(tmp_path, ftp={"logins": [login]}), server.uri("images/a.jpg")) is SampleCode.FORBIDDEN

    def test_the_password_is_in_no_printed_configuration(self, server: FtpServer, tmp_path: Path) -> None:
        assert PASSWORD not in repr(personal(tmp_path, ftp=server.settings()))

    @pytest.mark.parametrize(
        "wrong",
        [
            {"server": "ftp://user:pw@host"},
            {"server": "ftp://host/folder"},
            {"server": "http://host"},
            {"server": "ftp://host:99999"},
            {"user": "a\r\nDELE b"},
            {"user": ""},
            {"password": "a\nDELE b"},
            {"prefixes": ["images"]},
        ],
        ids=str,
    )
    def test_what_is_none_is_told_at_the_start(self, wrong: dict[str, Any]) -> None:
        login = {"server": "ftp://host", "user": "a", "password": "b"} | wrong
        with pytest.raises(ConfigError) as caught:
            parse_config({"sources": {"ftp": {"logins": [login]}}})
        assert caught.value.field == f"sources.ftp.logins.0.{next(iter(wrong))}"
        assert ":pw@" not in str(caught.value)


class TestTls:
    @pytest.fixture(autouse=True)
    def _trust(self, certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("SSL_CERT_FILE", str(certificate))

    def test_is_asked_for_before_the_login_and_holds_for_the_data(
        self, certificate: Path, pool: Path, tmp_path: Path
    ) -> None:
        with FtpServer(pool, has_login=True, certificate=certificate) as server:  # which refuses all without TLS
            config = personal(tmp_path, ftp=server.settings("localhost"))
            assert outcome(config, server.uri("images/a.jpg", "localhost")) == b"images/a.jpg"
            assert len(listed(config, server.uri("images/inner folder/", "localhost"))) == 1

    def test_is_there_from_the_start_on_the_port_for_it(
        self, certificate: Path, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with FtpServer(pool, certificate=certificate, is_implicit=True) as server:
            monkeypatch.setattr(ftp_source, "IMPLICIT_TLS_PORT", server.port)  # 990 is root's alone
            assert outcome(personal(tmp_path), server.uri("images/a.jpg", "localhost")) == b"images/a.jpg"

    def test_a_certificate_of_another_name_is_unreachable(self, certificate: Path, pool: Path, tmp_path: Path) -> None:
        with FtpServer(pool, certificate=certificate) as server:
            assert outcome(personal(tmp_path), server.uri("images/a.jpg")) is SampleCode.UNREACHABLE

    def test_a_certificate_that_nobody_signed_is_unreachable(
        self, certificate: Path, pool: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("SSL_CERT_FILE")
        with FtpServer(pool, certificate=certificate) as server:
            assert outcome(personal(tmp_path), server.uri("images/a.jpg", "localhost")) is SampleCode.UNREACHABLE

    def test_a_server_without_it_is_told_no_password(self, tmp_path: Path) -> None:
        with ScriptedFtp(files={"a.jpg": b"jpeg"}) as server:
            uri = server.uri().replace("ftp://", "ftps://")
            logins = [{"server": uri.removesuffix("/a.jpg"), "user": USER, "password": PASSWORD}]
            assert outcome(personal(tmp_path, ftp={"logins": logins}), uri) is SampleCode.REMOTE_ERROR
            assert server.commands == ["AUTH TLS"]


class TestFolders:
    @pytest.mark.parametrize("lacks", [[], ["MLSD"]], ids=["by facts", "by lines"])
    def test_are_listed_with_all_that_is_in_them(self, lacks: list[str], pool: Path, tmp_path: Path) -> None:
        with FtpServer(pool, lacks=lacks) as server:
            names = ["images/a.jpg", "images/inner folder/café.jpg"]
            found = listed(personal(tmp_path), server.uri("images/"))
            assert found[:2] == [server.uri(name) for name in names]
            assert outcome(personal(tmp_path), found[1]) == names[1].encode()

    def test_a_link_in_them_ends(self, pool: Path, tmp_path: Path) -> None:
        with FtpServer(pool) as server:
            found = listed(personal(tmp_path), server.uri("images/"))
            assert len(found) == len(set(found)) <= 8

    def test_the_root_is_one(self, pool: Path, tmp_path: Path) -> None:
        with FtpServer(pool) as server:
            found = listed(personal(tmp_path), server.uri())
            assert {server.uri("images-old/b.jpg"), server.uri("images/a.jpg")} <= set(found)
            assert outcome(personal(tmp_path), found[0]) in (b"images/a.jpg", b"images-old/b.jpg")

    def test_one_that_is_not_allowed_is_not_asked_for(self, tmp_path: Path) -> None:
        with ScriptedFtp() as server:
            login = {"server": server.uri("").rstrip("/"), "user": "a", "password": "b", "prefixes": ["/images"]}
            sources = Sources(personal(tmp_path, ftp={"logins": [login]}))
            with pytest.raises(Exception, match="not a regular file"):
                list(sources.pages(server.uri("other/"), "me"))
            sources.close()
            assert server.connections == 0


class TestAddresses:
    def test_a_public_server_reaches_no_loopback(self, tmp_path: Path) -> None:
        with ScriptedFtp(files={"a.jpg": b"jpeg"}) as canary:
            for name in ("127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]", "0"):
                uri = canary.uri().replace("127.0.0.1", name)
                for ports in (None, [canary.port]):
                    assert outcome(public(tmp_path, ftp={"ports": ports}), uri) is SampleCode.UNREACHABLE
            assert canary.connections == 0

    def test_the_operators_list_opens_it_at_the_listed_port(self, tmp_path: Path) -> None:
        with ScriptedFtp(files={"a.jpg": b"jpeg"}) as server:
            opened = {"allow_hosts": ["127.0.0.0/8"]}
            assert outcome(public(tmp_path, ftp=opened), server.uri()) is SampleCode.UNREACHABLE
            assert outcome(public(tmp_path, ftp=opened | {"ports": [server.port]}), server.uri()) == b"jpeg"

    def test_a_server_with_a_login_is_trusted_and_no_other_port_of_its_host(self, tmp_path: Path) -> None:
        with ScriptedFtp(files={"a.jpg": b"jpeg"}) as server, ScriptedFtp(files={"a.jpg": b"secret"}) as canary:
            login = {"server": server.uri("").rstrip("/"), "user": "a", "password": "b"}
            config = public(tmp_path, ftp={"logins": [login]})
            assert outcome(config, server.uri()) == b"jpeg"
            assert outcome(config, canary.uri()) is SampleCode.UNREACHABLE
            assert canary.connections == 0

    def test_a_metadata_address_is_never_asked_even_with_a_login(self, tmp_path: Path) -> None:
        login = {"server": "ftp://169.254.169.254", "user": "a", "password": "b"}
        config = personal(tmp_path, ftp={"logins": [login], "connect_timeout_s": 5.0})
        assert outcome(config, "ftp://169.254.169.254/latest") is SampleCode.UNREACHABLE

    def test_a_wrong_range_is_told_at_the_start(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="is not a range"):
            Sources(personal(tmp_path, ftp={"allow_hosts": ["10.0.0.0/33"]}))

    def test_a_source_that_is_switched_off_reads_nothing(self, tmp_path: Path) -> None:
        assert outcome(personal(tmp_path, ftp={"enabled": False}), "ftp://127.0.0.1/a") is SampleCode.UNKNOWN_SCHEME
