"""Where modules are looked for."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path


def put_standard_library_first() -> None:
    """A `queue.py` or `random.py` in a folder of PYTHONPATH must not hide the library's own."""
    sys.path[:] = standard_library_first(sys.path, Path(sysconfig.get_path("stdlib")))


def standard_library_first(entries: list[str], library: Path) -> list[str]:
    """The entries in their order, but those of the standard library in front.

    >>> standard_library_first(["/mine", "/usr/lib/python3.11", "/site"], Path("/usr/lib/python3.11"))
    ['/usr/lib/python3.11', '/mine', '/site']
    """
    own = [entry for entry in entries if Path(entry) in (library, library / "lib-dynload")]
    return own + [entry for entry in entries if entry not in own]
