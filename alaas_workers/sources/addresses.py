"""Which addresses the http and ftp sources may connect to. Judges what a name resolved to, never the name.

The tables follow IANA's special-purpose registries rather than `ipaddress.is_global`, which takes multicast and the
NAT64 and 6to4 forms of 127.0.0.1 for global and changes with Python's version.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from alaas.config import Config
from alaas.errors import ConfigError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network


class Reach(Enum):
    GLOBAL = "global"  # anybody's: always allowed
    PRIVATE = "private"  # loopback and private networks: allowed on one person's machine
    SPECIAL = "special"  # documentation, benchmarks, carriers' networks: only if the operator lists it
    NEVER = "never"  # metadata services, link-local, multicast, unspecified, reserved


def _networks(text: str) -> tuple[Network, ...]:
    return tuple(ip_network(word) for word in text.split())


# 100.100.100.200, 168.63.129.16, 192.0.0.192, fd00:ec2::254 and fd20:ce::254 are clouds' metadata services.
_NEVER = _networks(
    "0.0.0.0/8 169.254.0.0/16 224.0.0.0/4 240.0.0.0/4 100.100.100.200/32 168.63.129.16/32 192.0.0.192/32"
    " ::/128 fe80::/10 fec0::/10 ff00::/8 fd00:ec2::254/128 fd20:ce::254/128 64:ff9b:1::/48 100::/64"
)
_PRIVATE = _networks("127.0.0.0/8 10.0.0.0/8 172.16.0.0/12 192.168.0.0/16 ::1/128 fc00::/7")
_SPECIAL = _networks(
    "100.64.0.0/10 192.0.0.0/24 192.0.2.0/24 192.88.99.0/24 198.18.0.0/15 198.51.100.0/24 203.0.113.0/24"
    " 2001::/23 2001:db8::/32 3fff::/20"
)
_GLOBAL_IPV6 = IPv6Network("2000::/3")
_NAT64 = IPv6Network("64:ff9b::/96")
_IPV4_COMPATIBLE = IPv6Network("::/96")


def inner_addresses(address: Address) -> tuple[Address, ...]:
    """The addresses that a packet to `address` may end at: those wrapped in it, else itself."""
    if isinstance(address, IPv4Address):
        return (address,)
    if address.ipv4_mapped is not None:
        return (address.ipv4_mapped,)
    if address.sixtofour is not None:
        return (address.sixtofour,)
    if address.teredo is not None:
        return address.teredo
    if address in _NAT64 or (address in _IPV4_COMPATIBLE and int(address) > 1):
        return (IPv4Address(int(address) & 0xFFFFFFFF),)
    return (address,)


@lru_cache(maxsize=4096)
def reach_of(text: str) -> Reach:
    """Judge one address in its canonical spelling; anything else, and any scoped address, is NEVER."""
    try:
        address = ip_address(text)
    except ValueError:
        return Reach.NEVER
    if isinstance(address, IPv6Address) and address.scope_id is not None:
        return Reach.NEVER
    reaches = {_reach(inner) for inner in inner_addresses(address)}
    return next(reach for reach in (Reach.NEVER, Reach.SPECIAL, Reach.PRIVATE, Reach.GLOBAL) if reach in reaches)


def _reach(address: Address) -> Reach:
    if _in(address, _NEVER):
        return Reach.NEVER
    if _in(address, _PRIVATE):
        return Reach.PRIVATE
    if _in(address, _SPECIAL) or (isinstance(address, IPv6Address) and address not in _GLOBAL_IPV6):
        return Reach.SPECIAL
    return Reach.GLOBAL


def _in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)


@dataclass(frozen=True)
class AddressRules:
    """Where a source may connect to under one configuration; `ports` None means any."""

    is_personal: bool
    ports: frozenset[int] | None
    networks: tuple[Network, ...] = ()
    hosts: frozenset[str] = frozenset()

    @classmethod
    def of(cls, config: Config) -> AddressRules:
        """Those of http. Raises ConfigError for a range in `allow_hosts` that is none."""
        http = config.sources.http
        return cls._of(config, http.ports, {80, 443}, http.allow_hosts, "sources.http.allow_hosts")

    @classmethod
    def of_ftp(cls, config: Config) -> AddressRules:
        """Those of ftp's control connections. Raises ConfigError as `of`."""
        ftp = config.sources.ftp
        return cls._of(config, ftp.ports, {21, 990}, ftp.allow_hosts, "sources.ftp.allow_hosts")

    @classmethod
    def _of(
        cls, config: Config, ports: list[int] | None, public_ports: set[int], allow_hosts: list[str], field: str
    ) -> AddressRules:
        allowed_ports = public_ports if ports is None and not config.is_personal else ports
        listed = [_range_or_host(entry, field) for entry in allow_hosts]
        return cls(
            is_personal=config.is_personal,
            ports=None if allowed_ports is None else frozenset(allowed_ports),
            networks=tuple(entry for entry in listed if not isinstance(entry, str)),
            hosts=frozenset(entry for entry in listed if isinstance(entry, str)),
        )

    def allow(self, host: str, address: str, port: int) -> bool:
        """Whether `host`, as the URI names it, may be reached at `address`, as it was resolved to."""
        reach = reach_of(address)
        if reach is Reach.NEVER or (self.ports is not None and port not in self.ports):
            return False
        if reach is Reach.GLOBAL or (reach is Reach.PRIVATE and self.is_personal):
            return True
        return _plain(host) in self.hosts or self._lists(address)

    def _lists(self, address: str) -> bool:
        return all(_in(inner, self.networks) for inner in inner_addresses(ip_address(address)))


def _range_or_host(entry: str, field: str) -> Network | str:
    try:
        return ip_network(entry, strict=False)
    except ValueError:
        if "/" in entry:
            raise ConfigError(f"{entry!r:.80} is not a range", field=field) from None
        return _plain(entry)


def _plain(host: str) -> str:
    return host.rstrip(".").lower()
