"""The README's results: tables and verdicts made from `results.csv` of every part, never typed by hand."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
from parts import PARTS

BEGIN, END = "<!-- results: made by scripts/reproduce -->\n", "<!-- end of results -->\n"
DEPTHS = {"depth_mlp": "MLP", "depth_resnet": "residual CNN"}
ACCURACIES = {"mnist": "MNIST", "cifar10": "CIFAR-10, 20,000 images"}
POINTS = 0.5
"""Less than this many points of accuracy apart counts as equal."""


def fill(checkout: Path, outputs: Path) -> None:
    """Renew the README's results and the figures that it shows."""
    figures = checkout / "figures"
    for part in PARTS:
        for name in part.figures:
            picture = outputs / part.name / "figures" / f"{name}.png"
            if picture.exists():
                shutil.copy(picture, figures / f"{part.name}_{name}.png")
    readme = checkout / "README.md"
    before, _, rest = readme.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(before + BEGIN + results(outputs, figures="figures") + END + after)


def results(outputs: Path, *, figures: str) -> str:
    """Tables with spread, what they say, and the figures, as Markdown.

    Args:
        outputs: Where the parts are.
        figures: The folder that pictures are shown from.
    """
    found = {part.name: outputs / part.name / "results.csv" for part in PARTS}
    lines = {name: pd.read_csv(path) for name, path in found.items() if path.exists()}
    paragraphs = [
        *_speed({name: lines[name] for name in DEPTHS if name in lines}),
        *_accuracy({name: lines[name] for name in ACCURACIES if name in lines}),
        *(_aggregations(lines["aggregations"]) if "aggregations" in lines else ()),
        *(_blocks(lines["blocks"]) if "blocks" in lines else ()),
    ]
    missing = [part.title for part in PARTS if part.name not in lines]
    if missing:
        paragraphs.append(f"Not measured here: {', '.join(missing)}.")
    paragraphs += [
        f"![{part.title}]({figures}/{part.name}_{name}.png)"
        for part in PARTS
        for name in part.figures
        if part.name in lines
    ]
    return "\n\n".join(paragraphs) + "\n"


def _speed(parts: dict[str, pd.DataFrame]) -> Iterator[str]:
    if not parts:
        return
    rows, losses = [], []
    labels = list(dict.fromkeys(label for lines in parts.values() for label in lines["label"]))
    labels.remove("serial")
    for name, lines in parts.items():
        for depth, group in lines.groupby("depth"):
            by_label = group.set_index("label")
            seconds = _spread(by_label.loc["serial"], "train_seconds")
            cells = [_cell(by_label, label, "speed_up") for label in labels]
            rows.append([f"{DEPTHS[name]}, depth {depth}", seconds, *cells])
            losses += _slower(f"{DEPTHS[name]}, depth {depth}", by_label)
    yield f"Speed-up over serial training on one core, {_seeds(parts)}:"
    yield _table(["network", "serial, seconds", *labels], rows)
    yield _verdict("Where layerwise loses on speed", losses, "no rival was faster at any depth")


def _slower(work: str, by_label: pd.DataFrame) -> list[str]:
    """What was faster than each layerwise way."""
    layerwise = by_label[by_label["mode"] == "layerwise"]
    rivals = by_label[by_label["mode"] != "layerwise"]
    return [
        f"{work}: {label} ({own['speed_up']:.2f}) is slower than {rival} ({other['speed_up']:.2f})"
        for label, own in layerwise.iterrows()
        for rival, other in rivals.iterrows()
        if other["speed_up"] > own["speed_up"]
    ]


def _accuracy(parts: dict[str, pd.DataFrame]) -> Iterator[str]:
    if not parts:
        return
    rows, losses = [], []
    for name, lines in parts.items():
        serial = lines[lines["label"] == "serial"].iloc[0]
        for _, line in lines.iterrows():
            points = 100 * (line["test_accuracy"] - serial["test_accuracy"])
            apart = "" if line["label"] == "serial" else f"{points:+.2f}"
            cells = [_spread(line, "test_accuracy", scale=100), apart]
            rows.append([ACCURACIES[name], line["label"], *cells, *_pace(line)])
            if points < -POINTS:
                losses.append(f"{ACCURACIES[name]}: {line['label']} by {-points:.2f} points")
    heads = ["data", "mode", "test accuracy %", "points to serial", "speed-up", "seconds to target"]
    yield f"Accuracy after the same epochs, {_seeds(parts)}:"
    yield _table(heads, rows)
    yield _verdict(f"More than {POINTS} points below serial", losses, "none")


def _pace(line: pd.Series) -> list[str]:
    target = _spread(line, "time_to_target_seconds") if line["num_reached"] == line["num_runs"] else "∞"
    return [_spread(line, "speed_up"), target]


def _aggregations(lines: pd.DataFrame) -> Iterator[str]:
    kinds = ["layerwise frozen", "layerwise local", "data"]
    serial = lines[lines["label"] == "serial"].iloc[0]
    rows = []
    for rule, group in lines[lines["label"].isin(kinds)].groupby("aggregation", sort=False):
        by_label = group.set_index("label")
        accuracies = [_cell(by_label, kind, "test_accuracy", scale=100) for kind in kinds]
        rows.append([str(rule), *accuracies, _cell(by_label, kinds[0], "speed_up")])
    yield (
        f"Aggregations on {serial['dataset']}, test accuracy %, {_seeds({'': lines})}; serial training "
        f"reaches {_spread(serial, 'test_accuracy', scale=100)}:"
    )
    yield _table(["rule", *kinds, "speed-up of frozen"], rows)


def _blocks(lines: pd.DataFrame) -> Iterator[str]:
    serial = lines[lines["label"] == "serial"].iloc[0]
    layerwise = lines[lines["mode"] == "layerwise"]
    counts = layerwise["settings"].str.extract(r"blocks=(\d+)")[0].astype(int)
    labels = list(dict.fromkeys(layerwise["label"]))
    accuracy = _spread(serial, "test_accuracy", scale=100)
    rows = [["1 (serial)", *[accuracy] * len(labels)]]
    for count, group in layerwise.groupby(counts):
        by_label = group.set_index("label")
        rows.append([str(count), *(_cell(by_label, label, "test_accuracy", scale=100) for label in labels)])
    yield f"Finer blocks on {serial['dataset']}, test accuracy %, {_seeds({'': lines})}:"
    yield _table(["blocks", *labels], rows)


def _seeds(parts: dict[str, pd.DataFrame]) -> str:
    counts = sorted({int(count) for lines in parts.values() for count in lines["num_done"]})
    seeds = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    machines = sorted({str(machine) for lines in parts.values() for machine in lines["hardware"].dropna()})
    spread = "one seed" if counts == [1] else f"mean ± deviation over {seeds} seeds"
    return f"{spread}, {', '.join(machines)}"


def _cell(by_label: pd.DataFrame, label: str, measure: str, *, scale: float = 1.0) -> str:
    """The label's measure, a dash where it was not run."""
    return _spread(by_label.loc[label], measure, scale=scale) if label in by_label.index else "-"


def _spread(line: pd.Series, measure: str, *, scale: float = 1.0) -> str:
    mean, deviation = line[measure] * scale, line[f"{measure}_std"] * scale
    if pd.isna(mean):
        return "-"
    return f"{mean:.2f}" + ("" if pd.isna(deviation) else f" ± {deviation:.2f}")


def _verdict(title: str, lines: list[str], otherwise: str) -> str:
    return (
        f"{title}: {otherwise}."
        if not lines
        else "\n".join([f"{title}:\n", *(f"- {line}" for line in lines)])
    )


def _table(heads: list[str], rows: list[list[str]]) -> str:
    rules = [":--", *["--:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [heads, rules, *rows])
