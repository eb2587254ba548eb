"""Predictions as tables for people, and for programs."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd

from layerpar.measure.writing import strict
from layerpar.results.columns import Column
from layerpar.results.tables import Table
from layerpar.results.words import MEBIBYTE, number

GIBIBYTE = 2**30
PREDICTED = "prediction, not a measurement: layers were measured one by one, the rest is arithmetic"
PARTLY = "sequential: a step trains one block only, mean over the blocks' turns"
SHOWN_CUTS = 8

WAY = Column("mode", lambda row: str(row["way"]), is_text=True)
COLUMNS = [
    WAY,
    Column("workers", lambda row: "1" if row["one_worker"] else str(row["workers"])),
    Column("predicted\nms/step", lambda row: number(1000 * row["seconds"])),
    Column("speed-up", lambda row: number(row["speed_up"])),
    Column("waiting\n%", lambda row: number(100 * row["waiting"])),
    Column("MiB sent\n/step", lambda row: number(row["sent_bytes"] / MEBIBYTE)),
    Column("MiB\n/worker", lambda row: number(row["memory_bytes"] / MEBIBYTE)),
    Column("cuts", lambda row: _cuts(row["cuts"]), is_text=True),
    Column("memory", lambda row: "" if row["fits"] else "does not fit", is_text=True, hidden="empty"),
]


def tables(rows: pd.DataFrame, *, title: str, memory_bytes: float, warnings: list[str]) -> list[Table]:
    """A table per link; ways that cannot be are named under it.

    Args:
        rows: As `Study.rows` gives them.
        title: What is predicted, on what.
        memory_bytes: Of a worker.
        warnings: What speaks against it.
    """
    found = []
    places = {way: place for place, way in enumerate(dict.fromkeys(rows["way"]))}
    for link, members in rows.groupby("link", sort=False):
        possible = members[members["refused"].isna()]
        repeated = possible["one_worker"] & possible.duplicated(["way", "seconds"])
        possible = possible[~repeated].sort_values("way", key=lambda ways: ways.map(places), kind="stable")
        records = possible.to_dict("records")
        columns = [column for column in COLUMNS if column.hidden == "never" or not possible["fits"].all()]
        first = members.iloc[0]
        speed = f"{8 * first['bandwidth'] / 1e9:.3g} Gbit/s, {1e6 * first['latency']:.3g} µs"
        notes = [PREDICTED, *warnings, *refusals(members)]
        if not possible["trains_all"].all():
            notes.append(PARTLY)
        if not possible["fits"].all():
            notes.append(
                f"does not fit: more than the {memory_bytes / GIBIBYTE:.3g} GiB of a worker (memory=GIB)"
            )
        found.append(
            Table(
                f"prediction: {title}; {link} ({speed})",
                columns,
                [[column.cell(record) for column in columns] for record in records],
                notes=notes,
            )
        )
    return found


def refusals(rows: pd.DataFrame) -> list[str]:
    """A line for each way that cannot have some numbers of workers, with the reason of the largest."""
    lines = []
    refused = rows[rows["refused"].notna()].drop_duplicates(["way", "workers"])
    for way, members in refused.groupby("way", sort=False):
        counts = ", ".join(map(str, members["workers"]))
        lines.append(f"no {way} on {counts} workers: {members.iloc[-1]['refused']}")
    return lines


def as_records(rows: pd.DataFrame) -> list[dict[str, Any]]:
    """For programs: what is missing is null, and every row says that it is a prediction."""
    return [
        {"predicted": True, **{str(key): strict(value) for key, value in row.items()}}
        for row in rows.to_dict("records")
    ]


def as_json(rows: pd.DataFrame) -> str:
    """A list of objects."""
    return json.dumps(as_records(rows), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def as_csv(rows: pd.DataFrame) -> str:
    """A row per prediction; missing values are empty, cuts are separated by spaces."""
    listed = rows["cuts"].map(lambda cuts: " ".join(map(str, cuts)))
    table = rows.assign(cuts=listed)
    table.insert(0, "predicted", True)
    return table.to_csv(index=False, lineterminator="\n")


def _cuts(cuts: list[int]) -> str:
    if len(cuts) > SHOWN_CUTS:
        return f"{len(cuts)} cuts"
    return f"[{','.join(map(str, cuts))}]" if cuts else ""
