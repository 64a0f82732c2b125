"""Which `Host` and `Origin` headers a listener answers to: DNS rebinding stops here."""

import ipaddress
from collections.abc import Mapping

import attrs

_LOCAL_NAMES = ("localhost", "127.0.0.1", "[::1]")


@attrs.frozen(kw_only=True)
class Origins:
    """The `Host` and `Origin` headers that are ours.

    Attributes:
        hosts: As in the header, in lower case, with the port unless it is 80.
        any_address: Accept every IP address as `Host`; nobody can rebind those.
        origins: Further origins of browsers that may call, such as
            ``https://console.example``.
    """

    hosts: frozenset[str]
    any_address: bool = False
    origins: frozenset[str] = frozenset()

    @classmethod
    def of_listener(
        cls, host: str, port: int, names: tuple[str, ...] = ()
    ) -> "Origins":
        """What a listener on ``host`` and ``port`` answers to.

        ``names`` are whole `Host` headers, in lower case.
        """
        known = {f"[{host}]" if ":" in host else host, *_LOCAL_NAMES}
        hosts = {f"{name.lower()}:{port}" for name in known} | {*names}
        if port == 80:
            hosts |= {name.lower() for name in known}
        wildcard = ipaddress.ip_address(host).is_unspecified
        return cls(hosts=frozenset(hosts), any_address=wildcard)

    def admit(self, headers: Mapping[str, str]) -> bool:
        """Whether a request with these headers was meant for us."""
        host = headers.get("host", "").lower()
        if host not in self.hosts and not (self.any_address and _is_address(host)):
            return False
        origin = headers.get("origin", "").lower()
        if not origin:
            return True
        scheme, _, caller = origin.partition("://")
        same = scheme in ("http", "https") and caller in (host, *self.hosts)
        return same or origin in self.origins


def _is_address(host: str) -> bool:
    """Whether a `Host` header names an IP address."""
    bare, colon, port = host.rpartition(":")
    if not colon or not port.isdigit():
        bare = host
    try:
        ipaddress.ip_address(bare.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True
