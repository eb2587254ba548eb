"""Which address and which interface of this host the others can reach."""

from __future__ import annotations

import fcntl
import socket
import struct

from layerpar.errors import UserError

SIOCGIFADDR = 0x8915
"""Linux: the address of an interface, as `struct ifreq`."""


def resolve(host: str) -> str:
    """The IPv4 address of a host.

    Raises:
        UserError: it has none here.
    """
    try:
        found = socket.getaddrinfo(host, None, socket.AF_INET, socket.SOCK_STREAM)
    except OSError as error:
        raise UserError(
            f"{socket.gethostname()} does not know the host {host} ({error.strerror or error}); "
            "name hosts as they know each other, or by address"
        ) from None
    return str(found[0][4][0])


def route_to(address: str) -> str:
    """The own address from which packets to another one leave."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((address, 9))  # sends nothing
        except OSError as error:
            raise UserError(
                f"{socket.gethostname()} has no way to {address} ({error.strerror}); "
                "try launcher.interface=NAME, or other names in launcher.hosts"
            ) from None
        return str(probe.getsockname()[0])


def address_of(interface: str) -> str:
    """The IPv4 address of an interface.

    Raises:
        UserError: there is no such interface, or it has no address.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        request = struct.pack("256s", interface.encode()[:15])
        try:
            return socket.inet_ntoa(fcntl.ioctl(probe.fileno(), SIOCGIFADDR, request)[20:24])
        except OSError as error:
            others = ", ".join(name for _, name in socket.if_nameindex())
            raise UserError(
                f"launcher.interface={interface} has no address on {socket.gethostname()} "
                f"({error.strerror}); its interfaces are {others}"
            ) from None


def interface_with(address: str) -> str:
    """The name of the interface that has an address.

    Raises:
        UserError: none has it as its first.
    """
    for _, name in socket.if_nameindex():
        try:
            if address_of(name) == address:
                return name
        except UserError:
            continue
    raise UserError(f"no interface of {socket.gethostname()} has {address}; try launcher.interface=NAME")
