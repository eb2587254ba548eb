"""`layerpar predict` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf
from tiny import TINY, composed, launched, tiny

from layerpar import cli
from layerpar.errors import UserError
from layerpar.paths import RunDirectory, config_directory
from layerpar.predict import preparation, recorded
from layerpar.predict.links import BUSY_CORES, choose
from layerpar.predict.methods import is_predicted, method
from layerpar.predict.preparation import prepare
from layerpar.predict.ways import compose_ways

FEW = ("~variants.pipeline_4", "~variants.pipeline_16", "~variants.pipeline_64", "~variants.sequential")


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What an earlier prediction left."""
    folder = tmp_path_factory.mktemp("prediction")
    asked = [*TINY, *FEW, "workers=1,2,4", "link=1gbit,100mbit", f"--output={folder}", "--format=json"]
    assert cli.run(["predict", *asked], started=0.0) == 0
    return folder


def rows(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[dict[str, Any]]:
    capsys.readouterr()
    assert cli.run(["predict", *TINY, *arguments, "--format=json"], started=0.0) == 0
    return json.loads(capsys.readouterr().out)


def test_an_output_holds_table_figures_and_layer_times(output: Path) -> None:
    names = {path.name for path in output.iterdir()}
    figures = {f"predicted_{name}.{form}" for name in ("workers", "depth", "bandwidth", "winner", "overview")
               for form in ("png", "svg")}  # fmt: skip
    assert names == figures | {"prediction.json", recorded.FILE}
    found = json.loads((output / "prediction.json").read_text())
    assert all(row["predicted"] for row in found)
    assert {row["link"] for row in found} == {"1gbit", "100mbit"}
    for figure in output.glob("*.svg"):
        assert "Predicted" in figure.read_text() or "predicted" in figure.read_text()


def test_recorded_times_give_the_same_prediction_again(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = (*FEW, "workers=1,2,4", "link=1gbit", f"--from={output}")
    first, second = rows(capsys, *asked), rows(capsys, *asked)
    assert first == second
    serial = next(row for row in first if row["way"] == "serial")
    assert serial["speed_up"] == pytest.approx(1.0)
    faster = {row["workers"]: row["seconds"] for row in first if row["way"] == "layerwise local"}
    assert sorted(faster) == [1, 2, 4]


def test_a_run_that_cut_its_network_recorded_its_layers(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = RunDirectory(tmp_path / "run")
    directory.root.mkdir()
    overrides = [*TINY, "mode=layerwise", "objective=local", "workers=2"]
    with initialize_config_dir(version_base="1.3", config_dir=str(config_directory())):
        OmegaConf.save(compose("train", overrides=overrides), directory.run_yaml, resolve=True)
    launched(composed(*overrides).launcher, directory, workers=2, started=0.0)
    found = rows(capsys, *FEW, "workers=2", "link=1gbit", f"--from={directory.root}")
    local = next(row for row in found if row["way"] == "layerwise local")
    (line,) = [
        line
        for line in map(json.loads, directory.metrics.read_text().splitlines())
        if line["event"] == "engine"
    ]
    assert local["cuts"] == line["cuts"]
    assert local["seconds"] >= max(line["predicted_loads"]) * 0.99


def test_the_table_says_that_it_predicts_and_what_cannot_be(
    output: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = [*TINY, *FEW, "workers=1,2,5,16", "memory=0.00001", f"--from={output}", "--format=markdown"]
    assert cli.run(["predict", *asked], started=0.0) == 0
    shown = capsys.readouterr().out
    assert "## prediction: digits, mlp depth 4" in shown
    assert "prediction, not a measurement" in shown
    assert "does not fit" in shown
    assert "no layerwise local on 16 workers: layerwise: workers=16 is more than the 5 layers" in shown
    assert "no data on 5 workers: data: workers=5 does not divide batch_size=16; try batch_size=15" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["link=wlan"], "link=wlan is not known; try link=1gbit"),
        (["link="], "link= names no link; try link=1gbit"),
        (["bandwidth=0"], "bandwidth=0 is no bandwidth: nothing would ever arrive; try bandwidth=1"),
        (["workers=0"], "workers=0 is too small; try workers=1"),
        (["workers=two"], "workers=two is no list of numbers; try workers=1,2,4"),
        (["memory=0"], "memory=0.0 leaves no room; try memory=16"),
        (["memory=1,2"], "memory=1,2 is more than one number; try memory=1.0"),
        (["steps=0"], "steps=0 is too small; try steps=100"),
        (["mode.block=3"], "mode.block"),
        (["batch_size=4096"], "batch_size=4096 is larger than the 96 training samples of digits"),
        (
            ["~variants.data", *FEW, "workers=16"],
            "workers=16 is more than the 5 layers of mlp; try workers=5",
        ),
        (["--from=nowhere"], "nowhere holds neither layer_times.json nor a run"),
    ],
)
def test_a_mistake_is_one_line_with_its_repair(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(["predict", *TINY, *arguments], started=0.0) == 2
    said = capsys.readouterr().err
    assert message in said
    assert len(said.strip().splitlines()) == 1


def test_times_of_another_network_are_refused(output: Path, capsys: pytest.CaptureFixture[str]) -> None:
    asked = [*TINY, "architecture.width=13", f"--from={output}"]
    assert cli.run(["predict", *asked], started=0.0) == 2
    assert "leave out --from" in capsys.readouterr().err


@pytest.mark.parametrize("change", ["optimizer=adam", "dataset.shape=[3,8,8]"])
def test_times_depend_on_the_optimizer_and_the_images(change: str) -> None:
    one, other = (composed("dataset=synthetic", *more) for more in ((), (change,)))
    assert recorded.describe(one) != recorded.describe(other)


def test_the_latency_that_is_shown_is_the_one_that_is_simulated(output: Path) -> None:
    """On a CPU, that of the link and what busy cores add; one that was asked for is all there is."""
    study, _ = prepare(
        compose_ways([*TINY, *FEW]), [2], steps=10, memory_bytes=None, given=recorded.read(output)
    )
    for asked, latency in ((None, 50e-6 + BUSY_CORES), (50, 50e-6)):
        links = choose(["10gbit"], bandwidths=[], latency=asked)
        assert study.rows(links)["latency"].tolist() == [pytest.approx(latency)] * len(study.ways)


def test_depth_grows_with_workers_over_the_layers_that_were_measured(output: Path) -> None:
    study, _ = prepare(
        compose_ways([*TINY, *FEW]), [1], steps=10, memory_bytes=None, given=recorded.read(output)
    )
    grown = study.deeper(63, layers_per_worker=4)
    assert grown is not None
    assert (grown.num_layers, grown.workers) == (64, [16])


def test_a_mode_that_nothing_predicts_is_named() -> None:
    with pytest.raises(UserError, match=r"nothing predicts mode=mine; leave out its variant"):
        method(SimpleNamespace(name="mine"), tiny(), 10)
    assert not is_predicted(SimpleNamespace(name="mine"))
    assert is_predicted(tiny().mode)


def test_a_damaged_run_is_refused_in_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "run.yaml").write_text("a: [")
    (tmp_path / "metrics.jsonl").write_text("")
    assert cli.run(["predict", *TINY, f"--from={tmp_path}"], started=0.0) == 2
    assert "run.yaml is damaged" in capsys.readouterr().err


def test_memory_is_what_a_container_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("layerpar.measure.limits.memory_limit", lambda: 2**20)
    assert preparation._memory_bytes(torch.device("cpu")) == 2**20
