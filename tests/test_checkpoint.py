"""A run that was stopped and resumed is the run that was never stopped, to the last bit."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny import on_workers, tiny
from torch import Tensor, nn

from layerpar import checkpoint
from layerpar.config import RunConfig
from layerpar.engine import cuts
from layerpar.errors import UserError
from layerpar.loop import Progress
from layerpar.measure.stopwatch import Stopwatch
from layerpar.measure.writing import write_tensors
from layerpar.paths import RunDirectory
from layerpar.phases import assemble
from layerpar.rendezvous.ranks import Ranks
from layerpar.trainer import Trainer

Weights = dict[str, Tensor]
CUT = "mode.partition=[2]"
ROUNDS = "aggregation.every=4"
ONE_WORKER = {
    "serial": "mode=serial architecture.norm=batch",
    "adam, one cycle": "mode=serial optimizer=adamw optimizer.schedule.name=onecycle",
    "drops after a warm-up": "mode=serial optimizer.schedule.name=step optimizer.schedule.warmup=0.5",
    "sequential": "mode=sequential mode.partition=[1,3]",
    "phases": "experiment=hybrid phases.layerwise.epochs=1 workers=1",
}
DROPOUT = (
    "mode=serial",
    "dataset=synthetic",
    "dataset.train_limit=16",
    "dataset.test_limit=4",
    "batch_size=8",
    "architecture=vgg",
    "architecture.depth=11",
    "architecture.width=4",
    "architecture.dropout=0.5",
)
TWO_WORKERS = {
    "data": "mode=data architecture.norm=batch",
    "local SGD": f"mode=data aggregation=momentum {ROUNDS}",
    "pipeline": f"mode=pipeline architecture.norm=batch {CUT}",
    "local": f"mode=layerwise objective=local objective.overlap=1 architecture.norm=batch {CUT}",
    "delayed": f"mode=layerwise objective=delayed aggregation=anderson {ROUNDS} {CUT}",
    "recomputed": f"mode=layerwise objective=delayed objective.recompute=true aggregation=ema {CUT}",
    "frozen": f"mode=layerwise objective=frozen mode.exchange=weights aggregation=trust_region {CUT}",
    "replicas": f"mode=layerwise mode.replicas=2 architecture.norm=batch aggregation=momentum {ROUNDS}",
    "phases": "experiment=hybrid phases.layerwise.epochs=1 phases.layerwise.mode.partition=[2]",
}


class StoppedError(Exception):
    """Stands for whatever ends a worker."""


def trainer_of(config: RunConfig, root: Path) -> Trainer:
    directory = RunDirectory(root)
    root.mkdir(exist_ok=True, parents=True)
    return Trainer(config, directory, Stopwatch(torch.device("cpu")), Progress())


def followed(
    ranks: Ranks, ways: dict[str, RunConfig], root: Path, stop: int | None
) -> dict[str, tuple[Weights | None, Progress, float]]:
    """Each run, until after its checkpoint of epoch `stop` or to its end, one after the other."""
    plain, found = checkpoint.save, {}

    def save(directory: RunDirectory, content: dict[str, Any], *, epoch: int, **details: Any) -> None:
        plain(directory, content, epoch=epoch, **details)
        if epoch == stop:
            raise StoppedError

    checkpoint.save = save
    for name, config in ways.items():
        trainer = trainer_of(config, root / name)
        try:
            _, engine = trainer.run_phases(ranks, started=0.0)
            found[name] = (engine.full_state(), trainer.progress, trainer.stopwatch.seconds)
        except StoppedError:
            torch.manual_seed(5)  # what comes next finds no trace of this run
    return found


def loaded(folder: Path, rank: int, config: RunConfig) -> dict[str, Any]:
    of, device = checkpoint.identity(config), torch.device("cpu")
    return checkpoint.load(folder, rank, config.num_workers, of=of, device=device)


def check_resuming(ways: dict[str, RunConfig], root: Path, world_size: int) -> None:
    """Stopped after any of its epochs but the last."""
    whole = on_workers(followed, world_size, ways, root, None)
    stopped = root / "stopped"
    stopped.mkdir()
    for stop in (1, 2):
        assert on_workers(followed, world_size, ways, stopped, stop) == [{}] * world_size
    resumed = on_workers(followed, world_size, ways, stopped, None)
    for name in ways:
        for (expected, progress, _), (state, again, seconds) in zip(
            (rank[name] for rank in whole), (rank[name] for rank in resumed), strict=True
        ):
            assert (state is None) == (expected is None), name
            if expected is not None and state is not None:
                assert state.keys() == expected.keys()
                assert all(torch.equal(state[key], expected[key]) for key in expected), name
            assert (again.epoch, again.step) == (progress.epoch, progress.step)
            assert again.assignments == progress.assignments
            scores = [[score[1:] for score in each.evaluations] for each in (progress, again)]
            assert scores[0] == scores[1], name
            assert seconds == pytest.approx(again.train_seconds)
        lines = [json.loads(line) for line in (stopped / name / "metrics.jsonl").read_text().splitlines()]
        evaluated = [line["epoch"] for line in lines if line["event"] == "evaluate"]
        assert evaluated == [1, 2, 3], "metrics are those of one run"


def test_one_worker(tmp_path: Path) -> None:
    ways = {name: tiny("epochs=3", "warmup_steps=2", *way.split()) for name, way in ONE_WORKER.items()}
    check_resuming(ways, tmp_path, 1)


def test_two_workers(tmp_path: Path) -> None:
    ways = {name: tiny("epochs=3", "warmup_steps=2", *way.split()) for name, way in TWO_WORKERS.items()}
    check_resuming(ways, tmp_path, 2)


def followed_without_measuring(ranks: Ranks, ways: dict[str, RunConfig], root: Path) -> list[Any]:
    cuts.measure = None
    return followed(ranks, ways, root, None)["run"][1].assignments


def forget_layer_times(_: Ranks, folder: Path) -> None:
    """Make of a checkpoint one from before they were recorded."""
    about = json.loads((folder / checkpoint.ABOUT).read_text())
    del about["checksum"]
    for name in about["files"]:
        content = torch.load(folder / name, weights_only=True)
        del content["decisions"]["layer_times"]
        about["files"][name] = write_tensors(folder / name, content)
    about["checksum"] = checkpoint.digest_of(about)
    (folder / checkpoint.ABOUT).write_text(json.dumps(about))


def test_what_was_measured_once_is_not_measured_again(tmp_path: Path) -> None:
    """Another measuring could cut elsewhere, and another cut is another run."""
    ways = {"run": tiny("epochs=2", "mode=layerwise", "mode.blocks=3")}
    on_workers(followed, 2, ways, tmp_path, 1)
    folder = checkpoint.newest(RunDirectory(tmp_path / "run"))
    assert folder is not None
    before = [loaded(folder, rank, ways["run"])["progress"]["assignments"] for rank in range(2)]
    on_workers(forget_layer_times, 1, folder)
    assert on_workers(followed_without_measuring, 2, ways, tmp_path) == before


def test_dropout_draws_go_on(tmp_path: Path) -> None:
    check_resuming({"vgg": tiny(*DROPOUT, "epochs=3")}, tmp_path, 1)


def test_a_checkpoint_holds_plain_values_and_the_last_two_stay(tmp_path: Path) -> None:
    config = tiny("epochs=7", "checkpoint_every=2", "mode=serial")
    on_workers(followed, 1, {"run": config}, tmp_path, None)
    assert {folder.name for folder in (tmp_path / "run" / "checkpoint").iterdir()} == {"4", "6"}
    folder = checkpoint.newest(RunDirectory(tmp_path / "run"))
    assert folder is not None
    assert loaded(folder, 0, config)["progress"]["epoch"] == 6


def test_a_half_written_checkpoint_does_not_count(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path)
    assert checkpoint.newest(directory) is None
    for name in ("9", "10", "11.tmp"):
        (directory.checkpoints / name).mkdir(parents=True)
    found = checkpoint.newest(directory)
    assert found is not None
    assert found.name == "10"


def test_never_means_never(tmp_path: Path) -> None:
    config = tiny("epochs=3", "checkpoint_every=0", "mode=serial")
    on_workers(followed, 1, {"run": config}, tmp_path, None)
    assert not RunDirectory(tmp_path / "run").checkpoints.exists()


def test_the_last_one_of_a_finished_run_is_written_where_it_is_to_be_kept(tmp_path: Path) -> None:
    config = tiny("epochs=2", "keep_checkpoint=true", "mode=serial")
    on_workers(followed, 1, {"run": config}, tmp_path, None)
    assert {folder.name for folder in (tmp_path / "run" / "checkpoint").iterdir()} == {"1", "2"}


def written(root: Path, *, seed: int = 0, epochs: int = 3) -> tuple[RunConfig, Path]:
    """A run of two workers that left checkpoints of its first two epochs, and the folder of the last."""
    config = tiny(f"epochs={epochs}", f"seed={seed}", "mode=layerwise", CUT)
    on_workers(followed, 2, {"run": config}, root, 2)
    return config, root / "run" / "checkpoint" / "2"


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGE: dict[str, tuple[str, Callable[[Path], object], str]] = {
    "a flipped bit": ("1.pt", flip, "is damaged"),
    "a cut file": ("0.pt", lambda path: path.write_bytes(path.read_bytes()[:-1]), "is damaged"),
    "an empty file": ("0.pt", lambda path: path.write_bytes(b""), "is damaged"),
    "a missing part": ("1.pt", Path.unlink, "is missing"),
    "another length in the table of contents": (
        "about.json",
        lambda path: path.write_text(re.sub(r'("metrics_bytes": )\d', r"\g<1>9", path.read_text())),
        "is damaged",
    ),
    "another checksum in the table of contents": (
        "about.json",
        lambda path: path.write_text(re.sub(r'("0.pt": ").', r"\g<1>x", path.read_text())),
        "is damaged",
    ),
    "no table of contents": ("about.json", Path.unlink, "cannot be read"),
    "half a table of contents": ("about.json", lambda path: path.write_text('{"run": '), "cannot be read"),
    "another table of contents": ("about.json", lambda path: path.write_text("[]"), "cannot be read"),
}


def test_a_damaged_checkpoint_is_refused_naming_the_file_and_what_helps(tmp_path: Path) -> None:
    config, folder = written(tmp_path)
    whole = {path: path.read_bytes() for path in folder.iterdir()}
    for name, damage, reason in DAMAGE.values():
        damage(folder / name)
        with pytest.raises(UserError) as refused:
            checkpoint.verify(folder, of=checkpoint.identity(config))
        helps = f"to go on after epoch 1, try rm -r {folder}; layerpar resume {folder.parents[1]}"
        assert str(refused.value) == f"{folder / name} {reason}; {helps}"
        for path, content in whole.items():
            path.write_bytes(content)
    checkpoint.verify(folder, of=checkpoint.identity(config))


def test_files_of_another_run_are_refused_though_they_fit(tmp_path: Path) -> None:
    config, folder = written(tmp_path / "one")
    _, other = written(tmp_path / "other", seed=1)
    (folder / "0.pt").write_bytes((other / "0.pt").read_bytes())
    with pytest.raises(UserError, match=r"0\.pt is damaged"):
        checkpoint.verify(folder, of=checkpoint.identity(config))
    with pytest.raises(UserError, match="other settings than"):
        checkpoint.verify(other, of=checkpoint.identity(config))


def test_a_damaged_first_checkpoint_has_no_older_one(tmp_path: Path) -> None:
    config, folder = written(tmp_path)
    flip(folder.with_name("1") / "0.pt")
    with pytest.raises(UserError, match=r"there is no older checkpoint; try rm -r .*/checkpoint/"):
        checkpoint.verify(folder.with_name("1"), of=checkpoint.identity(config))


def test_identity_is_that_of_the_result_not_of_how_long_or_where() -> None:
    one = checkpoint.identity(tiny("mode=layerwise", CUT, "workers=2"))
    assert one == checkpoint.identity(tiny("mode=layerwise", CUT, "workers=1", "epochs=9"))
    assert one != checkpoint.identity(tiny("mode=layerwise", CUT, "workers=2", "optimizer.lr=0.01"))
    hybrid = [
        checkpoint.identity(tiny("experiment=hybrid", "epochs=10", f"workers={workers}"))
        for workers in (1, 2)
    ]
    assert hybrid[0] == hybrid[1]


MOVED = ("mode=layerwise objective=local", "mode=layerwise objective=delayed optimizer=adamw")
GREEDY_FIRST = (
    "+mode@phases.first.mode=sequential",
    "phases.first.mode.blocks=2",
    "+phases.first.epochs=2",
    "+mode@phases.then.mode=layerwise",
    "phases.then.mode.partition=[2]",
    "+phases.then.epochs=1",
)


@pytest.mark.parametrize("way", MOVED)
def test_blocks_go_on_on_other_workers_to_the_same_weights(tmp_path: Path, way: str) -> None:
    """Placement does not change the result, also in the middle of a run."""
    common = ("epochs=3", "mode.partition=[1,2,3]", *way.split())
    two, one, four = (tiny(*common, f"workers={workers}") for workers in (2, 1, 4))
    (whole, *_) = [rank["run"][0] for rank in on_workers(followed, 1, {"run": one}, tmp_path, None)]
    assert whole is not None
    for name, config in (("down", one), ("up", four)):
        on_workers(followed, 2, {"run": two}, tmp_path / name, 1)
        ranks = on_workers(followed, config.num_workers, {"run": config}, tmp_path / name, None)
        (state,) = [rank["run"][0] for rank in ranks if rank["run"][0] is not None]
        assert all(torch.equal(state[key], whole[key]) for key in whole), name


def test_phases_on_one_worker_go_on_beside_other_workers_than_before(tmp_path: Path) -> None:
    """Stopped in the phase in which one worker trains block after block."""
    one, two = (tiny("epochs=3", *GREEDY_FIRST, f"workers={workers}") for workers in (1, 2))
    assert one.parts[0].config.mode.cannot_move(one, two) is None
    (whole,) = [rank["run"][0] for rank in on_workers(followed, 1, {"run": one}, tmp_path, None)]
    on_workers(followed, 1, {"run": one}, tmp_path / "up", 1)
    (state,) = [
        rank["run"][0]
        for rank in on_workers(followed, 2, {"run": two}, tmp_path / "up", None)
        if rank["run"][0] is not None
    ]
    assert whole is not None
    assert all(torch.equal(state[key], whole[key]) for key in whole)


def test_a_worker_that_was_not_there_has_computed_nothing(tmp_path: Path) -> None:
    one, two = (tiny("epochs=2", "mode.partition=[2]", f"workers={workers}") for workers in (1, 2))
    on_workers(followed, 1, {"run": one}, tmp_path, 1)
    folder = next((tmp_path / "run" / "checkpoint").iterdir())
    before, new = (loaded(folder, rank, two)["progress"] for rank in (0, 1))
    assert before["flops"] > new["flops"] == 0
    assert before["peak_memory_bytes"] > new["peak_memory_bytes"] == 0


@pytest.mark.parametrize("schedule", ["constant", "cosine", "onecycle", "step"])
def test_more_epochs_than_planned_follow_the_longer_schedule(tmp_path: Path, schedule: str) -> None:
    short, long = (
        tiny(f"epochs={epochs}", "mode=serial", f"optimizer.schedule.name={schedule}") for epochs in (2, 4)
    )
    on_workers(followed, 1, {"run": short}, tmp_path, 1)
    ((state, progress, _),) = [rank["run"] for rank in on_workers(followed, 1, {"run": long}, tmp_path, None)]
    assert state is not None
    assert progress.epoch == 4
    rates = on_workers(rate_at_end, 1, long, tmp_path)
    assert rates[0] == pytest.approx(rate_of(long, 4 * (96 // 16)))


def rate_of(config: RunConfig, steps: int) -> float:
    optimizer = config.optimizer.build([nn.Parameter(torch.zeros(1))])
    optimizer.step()
    config.optimizer.schedule.build(optimizer, steps, first_step=steps - 1)
    return optimizer.param_groups[0]["lr"]


def rate_at_end(ranks: Ranks, config: RunConfig, root: Path) -> float:
    """What the checkpoint of the last epoch but one leads to, a step before the end."""
    folder = root / "run" / "checkpoint" / str(config.epochs - 1)
    _, engine, loader = assemble(config, ranks, Stopwatch(torch.device("cpu")))
    engine.load_state_dict(loaded(folder, 0, config)["engine"])
    batches = loader.train(config.epochs - 1)
    engine.start(loader.steps_per_epoch)
    for _ in range(loader.steps_per_epoch - 1):
        engine.step(next(batches))
    return engine.state_dict()["updater"]["optimizer"]["param_groups"][0]["lr"]


class Storage:
    """Stands for what `torch.load` has read, of which only the place counts."""

    device = torch.device("cpu")

    def to(self, *, device: torch.device) -> Storage:
        self.device = device
        return self


@pytest.mark.parametrize(
    ("location", "device", "placed"),
    [("cuda:1", "cuda:0", "cuda:0"), ("cuda:3", "cpu", "cpu"), ("cpu", "cuda:0", "cpu")],
)
def test_what_lay_on_any_gpu_goes_to_this_workers_device_and_the_rest_stays(
    location: str, device: str, placed: str
) -> None:
    assert checkpoint.place(torch.device(device), Storage(), location).device == torch.device(placed)
