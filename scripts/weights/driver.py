"""Train with the checkout that PYTHONPATH names: a command line a line, in JSON; answers exit codes."""

import json
import os
import sys
import time
from pathlib import Path

import layerpar
from layerpar.cli import run

assert Path(os.environ["PYTHONPATH"]) in Path(layerpar.__file__).parents, layerpar.__file__
answers = os.fdopen(os.dup(1), "w", buffering=1)
os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
for line in sys.stdin:
    print(run(json.loads(line), started=time.time()), file=answers)
