"""The short form of `scripts/faults`: a few injected faults cost no result and name their cause."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import layerpar

ROOT = Path(layerpar.__file__).resolve().parents[1]


def test_a_short_campaign_finds_nothing() -> None:
    command = [sys.executable, str(ROOT / "scripts" / "faulting" / "main.py"), "--quick", "--seed", "1"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    campaign = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert campaign.returncode == 0, campaign.stdout + campaign.stderr
