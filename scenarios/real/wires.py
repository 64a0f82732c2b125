"""Wires: for each node a network namespace with one TUN device, and nothing outside it.

A namespace lives as long as somebody holds it open, and a TUN device as long as
its file descriptor: both are held by this process (and the relay's copy) alone. So nothing has
a name, nothing is left behind however this process ends, and no tool is needed.
What a node sends are IP packets in our hands: `scenarios.real.relay` carries them.

Where namespaces are refused, nodes get loopback addresses of their own instead;
then packets cannot be touched.
"""

import ctypes
import fcntl
import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Final

import attrs

_NEW_NET: Final = 0x4000_0000
_NEW_USER: Final = 0x1000_0000
_TUNSETIFF: Final = 0x4004_54CA
_TUN_NO_INFO: Final = 0x0001 | 0x1000
_SET_ADDRESS: Final = 0x8916
_SET_NETMASK: Final = 0x891C
_SET_MTU: Final = 0x8922
_SET_FLAGS: Final = 0x8914
_UP_RUNNING: Final = 0x0001 | 0x0040
MTU: Final = 1_500
_DEVICE: Final = "wire0"
_NETMASK: Final = "255.255.255.0"

_libc: Final = ctypes.CDLL(None, use_errno=True)


@attrs.frozen
class Wire:
    """One end of the network: an address, and what stands behind it.

    Attributes:
        space: File descriptor of the namespace; None on loopback.
        tun: File descriptor whose packets are the node's; None on loopback.
    """

    address: str
    space: int | None = None
    tun: int | None = None


@attrs.frozen
class Wires:
    """All nodes' wires, and our own: from its address this process talks to nodes."""

    nodes: tuple[Wire, ...]
    desk: Wire | None
    """None on loopback."""


def on_loopback(count: int, net: int = 1) -> Wires:
    """Addresses 127.0.1.1, 127.0.1.2 and so on, in the machine's own namespace.

    Clusters that run at the same time take a ``net`` each, 1 to 255.
    """
    return Wires(tuple(Wire(f"127.0.{net}.{i + 1}") for i in range(count)), None)


def can_make_namespaces() -> bool:
    """Whether `in_namespaces` would succeed: a child tries, since there is no way back.

    Call it while the process has one thread.
    """
    child = os.fork()
    if child == 0:
        try:
            with in_namespaces(1):
                os._exit(0)
        except OSError:
            os._exit(1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


@contextmanager
def in_namespaces(count: int) -> Iterator[Wires]:
    """Leave the machine's network for good, and make a wire for each node.

    Call it while the process has one thread. Afterwards this process, too, is in
    a namespace of its own, and reaches nobody but the nodes.

    Raises:
        OSError: the kernel does not let us, as root or without.
    """
    with ExitStack() as held:
        _unshare_ourselves()
        desk = _wire(f"10.77.0.{count + 1}", held)
        nodes = [_in_another_space(f"10.77.0.{i + 1}", held) for i in range(count)]
        yield Wires(tuple(nodes), desk)


@contextmanager
def inside(wire: Wire, home: int | None) -> Iterator[None]:
    """Let this thread be in the wire's namespace; ``home`` is where it returns to.

    What is forked meanwhile stays there.
    """
    if wire.space is None or home is None:
        yield
        return
    _call("setns", wire.space, _NEW_NET)
    try:
        yield
    finally:
        _call("setns", home, _NEW_NET)


def _unshare_ourselves() -> None:
    """Into a fresh network namespace; as who may not, also into a user namespace."""
    try:
        _call("unshare", _NEW_NET)
    except OSError:
        uid, gid = os.geteuid(), os.getegid()
        _call("unshare", _NEW_USER | _NEW_NET)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {uid} 1"),
            ("gid_map", f"0 {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w") as file:
                file.write(text)


def _in_another_space(address: str, held: ExitStack) -> Wire:
    """A wire in a fresh namespace, made by a thread that went there and ended."""
    made: list[Wire] = []
    failed: list[OSError] = []

    def make() -> None:
        try:
            _call("unshare", _NEW_NET)
            made.append(_wire(address, held))
        except OSError as wrong:
            failed.append(wrong)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if failed:
        raise failed[0]
    return made[0]


def _wire(address: str, held: ExitStack) -> Wire:
    """Give this thread's namespace a device and an address."""
    space = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
    held.callback(os.close, space)
    tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
    held.callback(os.close, tun)
    fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", _DEVICE.encode(), _TUN_NO_INFO))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        _configure(asked, "lo", _SET_FLAGS, struct.pack("H", _UP_RUNNING))
        _configure(asked, _DEVICE, _SET_ADDRESS, _inet(address))
        _configure(asked, _DEVICE, _SET_NETMASK, _inet(_NETMASK))
        _configure(asked, _DEVICE, _SET_MTU, struct.pack("i", MTU))
        _configure(asked, _DEVICE, _SET_FLAGS, struct.pack("H", _UP_RUNNING))
    return Wire(address, space, tun)


def _configure(asked: socket.socket, device: str, what: int, value: bytes) -> None:
    fcntl.ioctl(asked, what, struct.pack("16s24s", device.encode(), value))


def _inet(address: str) -> bytes:
    return struct.pack("HH4s", socket.AF_INET, 0, socket.inet_aton(address))


def _call(name: str, *arguments: int) -> None:
    """A system call of libc that Python does not have everywhere.

    Raises:
        OSError: it failed.
    """
    if getattr(_libc, name)(*arguments):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
