"""Compare layer-parallel training with serial, data-parallel and pipeline training, fairly.

`layerpar.api` says what the functions do. They are imported when they are first used.

Data flows one way: command line → Hydra composes `conf/` → typed `RunConfig` → run directory → workers →
records → tables and figures. Only the parent runs Hydra; a worker's whole input is `run.yaml`. Imports go
down only, which `tests/test_house.py` holds. The rooms:

  cli.py compose.py session.py    command line → commands; Hydra; what one command runs
  commands.py                     report, plot, predict, doctor: commands that train nothing
  app.py comparison.py members.py train and resume; compare; the runs of a sweep
  variants.py composer.py         the ways that compare compares; what their compositions share
  config.py spec.py typed.py      a composed configuration → typed settings, checked
  loggers/                        where the numbers of a run go beside metrics.jsonl
  optimized.py tune.py            what a search goes by; settings chosen with equal budgets
  check.py run.py resume.py       one run in the parent: check, directory, launch, record; resume
  launchers/                      how workers are started: on this machine, on hosts, by Slurm
  rendezvous/                     how workers find each other, who is gone, why one failed
  worker.py trainer.py loop.py    one worker: set up; phases, epochs, checkpoints; the loop of every mode
  scoring.py records.py work.py   accuracy between segments; what is written down; operations counted
  optimizers.py learning_rate.py  torch's own, by name
  datasets/ architectures/        what is trained on, what is trained
  modes/                          a file per way of training: its options and checks; base.py is the contract
  engine/                         what engines share: their contract, backpropagation, cuts, gathering
  partition/ transport/           where to cut, by measured times; links and groups between workers
  objectives/ aggregation/        what a block minimises; how results become the next common weights
  layerwise/ pipeline/ sequential/  schedule, executor and engine of each
  predict/                        the simulator over the same schedules
  measure/ summary/ results/      the clock and the records; summary.json; tables, figures, the page
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layerpar.api import compare, load, plot, summarise, train

__version__ = "0.2.0"
__all__ = ["compare", "load", "plot", "summarise", "train"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from layerpar import api

    return getattr(api, name)
