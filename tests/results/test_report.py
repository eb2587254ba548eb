"""The command `report`, as a function."""

import csv
import io
import json
import os
import subprocess
import sys
import time

import pytest
from recorded import write_comparison, write_run

from layerpar.errors import UserError
from layerpar.results.report import report


def test_machine_formats_leave_standard_output_clean(tmp_path, capsys):
    write_comparison(tmp_path)
    (tmp_path / "serial-0" / "status.json").write_text("{")
    for form, parse in (("csv", lambda text: list(csv.DictReader(io.StringIO(text)))), ("json", json.loads)):
        report([tmp_path], format=form)
        out, err = capsys.readouterr()
        assert len(parse(out)) == 6
        assert err == f"skipped {tmp_path / 'serial-0'}: status.json is not whole JSON\n"


def test_csv_and_json_hold_the_same_numbers(tmp_path, capsys):
    write_comparison(tmp_path, seeds=2)
    report([tmp_path], format="csv")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    report([tmp_path], format="json")
    objects = json.loads(capsys.readouterr().out)
    assert [float(row["train_seconds"]) for row in rows] == [line["train_seconds"] for line in objects]
    sequential = [(row, line) for row, line in zip(rows, objects, strict=True) if row["mode"] == "sequential"]
    assert [(row["time_to_target_seconds"], line["time_to_target_seconds"]) for row, line in sequential] == [
        ("inf", None)
    ]


def test_the_table_is_printed(tmp_path, capsys):
    write_comparison(tmp_path)
    report([tmp_path])
    assert "layerwise delayed" in capsys.readouterr().out


def test_another_baseline(tmp_path, capsys):
    write_comparison(tmp_path)
    report([tmp_path], format="markdown", baseline="data")
    assert "of the data run" in capsys.readouterr().out


def test_an_unknown_format_is_refused(tmp_path):
    with pytest.raises(UserError, match="--format=xml is not known"):
        report([tmp_path], format="xml")


def test_a_thousand_runs_in_three_seconds(tmp_path, capsys):
    template = tmp_path / "template"
    texts = []
    for depth in (4, 8, 16, 32):
        for mode in ("serial", "data", "pipeline", "layerwise", "sequential"):
            root = write_run(template / f"{depth}-{mode}", mode, architecture__depth=depth, epochs=10)
            texts.append({file.name: file.read_text() for file in root.iterdir()})
    for seed in range(50):
        for number, files in enumerate(texts):
            root = tmp_path / "runs" / f"{seed}-{number}"
            root.mkdir(parents=True)
            for name, text in files.items():
                own = text.replace("seed: 0", f"seed: {seed}").replace('"seed": 0', f'"seed": {seed}')
                (root / name).write_text(own)
    started = time.process_time()
    report([tmp_path / "runs"], format="json")
    assert time.process_time() - started < 3
    lines = json.loads(capsys.readouterr().out)
    assert [line["num_done"] for line in lines] == [50] * 20


def test_scoring_needs_no_torch():
    code = (
        "import sys, layerpar.results.report, layerpar.results.plots.draw; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_an_output_without_infinity_loses_no_table(tmp_path):
    for seed in range(2):
        write_run(tmp_path / f"{seed}", seed=seed, measured={"time_to_target_seconds": None})
    for form in ("table", "markdown"):
        done = subprocess.run(
            [sys.executable, "-m", "layerpar.cli", "report", str(tmp_path), "--format", form],
            env=os.environ | {"PYTHONIOENCODING": "ascii"},
            capture_output=True,
            check=True,
        )
        text = done.stdout.decode("ascii")
        assert "inf" in text
        assert "+/-" in text
