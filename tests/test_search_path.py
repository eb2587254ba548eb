"""The standard library comes before the folders of a user."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path

from layerpar.search_path import standard_library_first


def test_the_library_first_all_else_in_its_order() -> None:
    library = Path("/usr/lib/python3.11")
    entries = ["/mine", "/zip", str(library), str(library / "lib-dynload"), "/site"]
    ordered = [str(library), str(library / "lib-dynload"), "/mine", "/zip", "/site"]
    assert standard_library_first(entries, library) == ordered


def test_this_interpreter_has_its_library_there() -> None:
    assert sysconfig.get_path("stdlib") in sys.path
