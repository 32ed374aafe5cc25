from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from alaas.errors import ConfigError
from alaas_workers.sources.addresses import AddressRules, Reach, reach_of
from tests.support.source_configs import personal, public

GLOBAL, PRIVATE, SPECIAL, NEVER = Reach.GLOBAL, Reach.PRIVATE, Reach.SPECIAL, Reach.NEVER

TABLE = {
    # anybody's
    "8.8.8.8": GLOBAL,
    "1.1.1.1": GLOBAL,
    "172.32.0.1": GLOBAL,
    "2606:4700:4700::1111": GLOBAL,
    "64:ff9b::808:808": GLOBAL,  # NAT64 of 8.8.8.8
    "2002:808:808::1": GLOBAL,  # 6to4 of 8.8.8.8
    "::ffff:8.8.8.8": GLOBAL,
    # loopback and private
    "127.0.0.1": PRIVATE,
    "127.255.255.254": PRIVATE,
    "10.1.2.3": PRIVATE,
    "172.16.0.1": PRIVATE,
    "172.31.255.255": PRIVATE,
    "192.168.1.1": PRIVATE,
    "::1": PRIVATE,
    "fd00::1": PRIVATE,
    "::ffff:127.0.0.1": PRIVATE,
    "::ffff:7f00:1": PRIVATE,
    "::127.0.0.1": PRIVATE,  # IPv4-compatible
    "64:ff9b::7f00:1": PRIVATE,  # NAT64 of 127.0.0.1
    "64:ff9b::10.0.0.1": PRIVATE,
    "2002:7f00:1::": PRIVATE,  # 6to4 of 127.0.0.1
    "2002:c0a8:101::1": PRIVATE,  # 6to4 of 192.168.1.1
    "2001:0:808:808:0:0:80ff:fffe": PRIVATE,  # Teredo: server 8.8.8.8, client 127.0.0.1
    "2001:0:7f00:1:0:0:f7f7:f7f7": PRIVATE,  # Teredo: server 127.0.0.1, client 8.8.8.8
    # nobody's by default
    "100.64.0.1": SPECIAL,
    "192.0.2.1": SPECIAL,
    "198.18.0.1": SPECIAL,
    "198.51.100.1": SPECIAL,
    "203.0.113.1": SPECIAL,
    "192.88.99.1": SPECIAL,
    "2001:db8::1": SPECIAL,
    "2001:2::1": SPECIAL,
    "3fff::1": SPECIAL,
    "4000::1": SPECIAL,
    # never
    "0.0.0.0": NEVER,
    "0.1.2.3": NEVER,
    "::": NEVER,
    "169.254.169.254": NEVER,
    "169.254.1.1": NEVER,
    "::ffff:169.254.169.254": NEVER,
    "64:ff9b::a9fe:a9fe": NEVER,
    "2002:a9fe:a9fe::": NEVER,
    "2001:0:808:808:0:0:5601:5601": NEVER,  # Teredo: client 169.254.169.254
    "64:ff9b:1::7f00:1": NEVER,  # local-use NAT64
    "fd00:ec2::254": NEVER,
    "fd20:ce::254": NEVER,
    "100.100.100.200": NEVER,
    "168.63.129.16": NEVER,
    "192.0.0.192": NEVER,
    "224.0.0.1": NEVER,
    "239.255.255.250": NEVER,
    "255.255.255.255": NEVER,
    "240.0.0.1": NEVER,
    "ff02::1": NEVER,
    "ff0e::1": NEVER,
    "fe80::1": NEVER,
    "fe80::1%lo": NEVER,
    "fd00::1%lo": NEVER,
    "fec0::1": NEVER,
    "100::1": NEVER,
    # not canonical: whoever connects would read them in another way
    "2130706433": NEVER,
    "127.1": NEVER,
    "0x7f.1": NEVER,
    "0177.0.0.1": NEVER,
    "127.0.0.1.": NEVER,
    "localhost": NEVER,
    "": NEVER,
}


@pytest.mark.parametrize(("address", "expected"), TABLE.items(), ids=TABLE)
def test_an_address_reaches_what_its_packets_reach(address: str, expected: Reach) -> None:
    assert reach_of(address) is expected


@settings(deadline=None)  # a busy machine is no failure
@given(st.ip_addresses(v=4))
def test_wrapping_an_address_changes_nothing(address: IPv4Address) -> None:
    high, low = divmod(int(address), 65536)
    for wrapped in (f"::ffff:{address}", f"64:ff9b::{address}", f"2002:{high:x}:{low:x}::1"):
        assert reach_of(wrapped) is reach_of(str(address))


@settings(deadline=None)  # a busy machine is no failure
@given(st.text())
def test_any_text_is_judged(text: str) -> None:
    assert isinstance(reach_of(text), Reach)


def test_one_persons_machine_reaches_private_addresses_on_any_port_and_never_metadata(tmp_path: Path) -> None:
    rules = AddressRules.of(personal(tmp_path))
    assert rules.allow("localhost", "127.0.0.1", 8000)
    assert rules.allow("nas", "192.168.1.2", 1)
    assert rules.allow("example.org", "8.8.8.8", 80)
    assert not rules.allow("example.org", "169.254.169.254", 80)
    assert not rules.allow("example.org", "0.0.0.0", 80)
    assert not rules.allow("example.org", "100.64.0.1", 80)


def test_a_public_server_reaches_global_addresses_on_the_web_ports_only(tmp_path: Path) -> None:
    rules = AddressRules.of(public(tmp_path))
    assert rules.allow("example.org", "8.8.8.8", 80) and rules.allow("example.org", "8.8.8.8", 443)
    assert not rules.allow("example.org", "8.8.8.8", 8000)
    assert not rules.allow("localhost", "127.0.0.1", 80)
    assert not rules.allow("nas", "192.168.1.2", 80)


def test_what_the_operator_lists_is_reached_too(tmp_path: Path) -> None:
    rules = AddressRules.of(public(tmp_path, http={"allow_hosts": ["10.1.0.0/16", "Images.corp", "::1"]}))
    assert rules.allow("anything", "10.1.2.3", 80)
    assert rules.allow("anything", "::ffff:10.1.2.3", 80)
    assert rules.allow("anything", "::1", 80)
    assert not rules.allow("anything", "10.2.0.1", 80)
    assert rules.allow("images.corp", "192.168.7.7", 443)
    assert rules.allow("IMAGES.corp.", "192.168.7.7", 443)
    assert not rules.allow("192.168.7.7", "192.168.7.7", 443)
    assert not rules.allow("evil.images.corp", "192.168.7.7", 443)


def test_a_list_opens_no_metadata_address_and_no_port(tmp_path: Path) -> None:
    http = {"allow_hosts": ["169.254.0.0/16", "0.0.0.0/0", "images.corp"], "ports": [8080]}
    rules = AddressRules.of(public(tmp_path, http=http))
    assert not rules.allow("images.corp", "169.254.169.254", 8080)
    assert not rules.allow("images.corp", "10.0.0.1", 80)
    assert rules.allow("images.corp", "10.0.0.1", 8080)


def test_a_range_that_is_none_is_the_operators_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is not a range") as caught:
        AddressRules.of(public(tmp_path, http={"allow_hosts": ["10.0.0.0/33"]}))
    assert caught.value.field == "sources.http.allow_hosts"
