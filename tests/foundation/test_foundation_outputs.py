"""Files between rooms: declared columns, whole or not at all, the same bytes for the same content."""

import subprocess
import sys

import pandas as pd
import pytest

from dermaflow import outputs
from dermaflow.errors import DataError


def test_what_is_written_is_read_again(project):
    frame = pd.DataFrame({"image_id": ["a", "b"], "diagnosis": ["MEL", "NV"]})
    outputs.holdout.write(frame)
    assert outputs.holdout.read().equals(outputs.holdout.check(frame))


def test_a_column_that_is_not_declared_is_refused(project):
    with pytest.raises(DataError, match=r"not declared: \['age'\]"):
        outputs.holdout.write(pd.DataFrame({"image_id": ["a"], "diagnosis": ["MEL"], "age": [3]}))


@pytest.mark.parametrize("at", [0, 60, -40, -4])
def test_a_damaged_table_is_told_with_its_remedy(project, at):
    table = outputs.facts.of("a")
    cell = {"str": "x", "object": bytes(range(256)), "bool": True}
    row = {name: cell.get(column.dtype, 1) for name, column in table.columns.items()}
    table.write(pd.DataFrame([row] * 500))
    file = table.path
    content = bytearray(file.read_bytes())
    content[at : at + 30] = b"x" * 30
    file.write_bytes(content)
    for read in (table.read, lambda: [*table.blocks("image_id")]):
        with pytest.raises(DataError, match=r"facts/a\.parquet: no Parquet table: .*Remove it; `make repro`"):
            read()


def test_an_absent_column_is_refused(project):
    with pytest.raises(DataError, match=r"absent: \['diagnosis'\]"):
        outputs.holdout.write(pd.DataFrame({"image_id": ["a"]}))


@pytest.mark.parametrize(
    ("table", "column", "cells"),
    [
        ("patients", "age_missing", ["no", "False"]),
        ("patients", "age_missing", [0, 1]),
        ("patients", "sex", [1, 2]),
        ("patients", "age_years", ["50", "60"]),
        ("patients", "age_years", [True, False]),
        ("cases", "group", [0.2, 1.0]),
        ("cases", "group", ["0", "1"]),
        ("cases", "group", [True, False]),
        ("cases", "fold", [0, 128]),
        ("cases", "width", [1e300, 600]),
    ],
)
def test_cells_of_another_type_are_refused_and_not_changed_to_the_declared_one(table, column, cells):
    declared = getattr(outputs, table)
    columns = {"str": "x", "float32": 1.5, "bool": True}
    good = pd.DataFrame({name: [columns.get(kind.dtype, 1)] * 2 for name, kind in declared.columns.items()})
    assert len(declared.check(good)) == 2
    with pytest.raises(DataError, match=rf"{column} is declared as {declared.columns[column].dtype}, but"):
        declared.check(good.assign(**{column: cells}))


@pytest.mark.parametrize("cells", [[1.0, 2.0], pd.Series([1, 2], dtype="object"), pd.array([1, 2], "Int64")])
def test_another_width_of_the_same_numbers_is_no_other_type(cells):
    table = outputs.Table("x.parquet", {"n": outputs.Column("int8", ""), "x": outputs.Column("float32", "")})
    checked = table.check(pd.DataFrame({"n": cells, "x": cells}))
    assert checked.dtypes.astype("str").to_dict() == {"n": "int8", "x": "float32"}
    assert checked.n.tolist() == checked.x.tolist() == [1, 2]


def test_a_forbidden_gap_names_its_row(project):
    with pytest.raises(DataError, match="1 rows have no diagnosis: rows 1"):
        outputs.holdout.write(pd.DataFrame({"image_id": ["a", "b"], "diagnosis": ["MEL", None]}))


def test_an_error_while_writing_leaves_the_old_file_and_no_scratch(project):
    target = outputs.path("x.json")
    outputs.write_json(target, {"a": 1})
    with pytest.raises(RuntimeError):
        _write_half(target)
    assert outputs.read_json(target) == {"a": 1}
    assert not list((project / ".tmp").iterdir())


WRITES = """
import os, signal, sys
from dermaflow import outputs
with outputs.replacing(outputs.path("x"), folder=True) as scratch:
    (scratch / "half").write_text("")
    print("writing", flush=True)
    sys.stdin.read()
"""


def test_what_a_killed_process_left_is_removed_and_what_a_living_one_writes_is_not(project):
    def writer():
        process = subprocess.Popen(
            [sys.executable, "-c", WRITES], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert process.stdout.readline() == "writing\n"
        return process

    def boxes():
        return sorted(entry.name for entry in (project / ".tmp").iterdir())

    (project / ".tmp").mkdir()
    kept = [f"{2**22}-4026531836-{2**22}-abc", "champion.lock"]  # a host may be called so; no box at all
    (project / ".tmp" / kept[0]).mkdir()
    (project / ".tmp" / kept[1]).touch()
    killed, living = writer(), writer()
    with killed:
        killed.kill()
    assert len(boxes()) == 4
    outputs.write_json(outputs.path("x.json"), {})
    assert len(boxes()) == 3
    with living:
        living.communicate("")
    assert living.returncode == 0
    assert [entry.name for entry in outputs.path("x").iterdir()] == ["half"]
    assert boxes() == sorted(kept)
    with writer() as killed:
        killed.kill()
    outputs.require_space(1, "crop_resize")  # what it left does not count as taken
    assert boxes() == sorted(kept)


def _write_half(target):
    with outputs.replacing(target) as scratch:
        scratch.write_text("half")
        raise RuntimeError


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_a_figure_that_json_does_not_know_is_not_written(project, figure):
    with pytest.raises(ValueError, match="JSON compliant"):
        outputs.write_json(outputs.path("x.json"), {"a": figure})
    assert not outputs.path("x.json").exists()


def test_a_folder_is_replaced_whole(project):
    target = outputs.path("folder")
    for name in ("old", "new"):
        with outputs.replacing(target, folder=True) as scratch:
            (scratch / name).write_text("")
    assert [entry.name for entry in target.iterdir()] == ["new"]


def test_equal_tables_give_equal_bytes(project):
    frame = pd.DataFrame({"image_id": ["a", "b"], "diagnosis": ["MEL", "NV"]})
    outputs.holdout.write(frame)
    first = outputs.holdout.path.read_bytes()
    outputs.holdout.write(frame)
    assert outputs.holdout.path.read_bytes() == first


def test_too_little_space_is_said_before_the_work(project):
    with pytest.raises(DataError, match="are free"):
        outputs.require_space(10**18, "crop_resize")


def test_a_missing_output_names_the_command_that_makes_it(project):
    with pytest.raises(DataError, match="dvc repro"):
        outputs.cases.read()


@pytest.mark.parametrize("rows", [0, 3, 20_000])
def test_a_column_of_bytes_is_read_in_blocks_or_as_its_lengths_alone(project, rows):
    cells = [b"x" * (number % 7) for number in range(rows)]
    frame = pd.DataFrame(
        {
            name: pd.Series(["0" if column.dtype == "str" else 0] * rows, dtype=column.dtype)
            for name, column in outputs.facts.columns.items()
        }
    )
    frame = frame.assign(thumbnail=pd.Series(cells, dtype="object"), readable=True)
    outputs.facts.of("isic2018").write(frame)
    table = outputs.facts.of("isic2018")
    blocks = list(table.blocks("thumbnail"))
    assert [cell for block in blocks for cell in block] == cells
    assert max([0, *map(len, blocks)]) < 10_000
    light = table.read_without("thumbnail")
    assert light["thumbnail_bytes"].tolist() == [len(cell) for cell in cells]
    assert light.drop(columns="thumbnail_bytes").equals(table.read().drop(columns="thumbnail"))
