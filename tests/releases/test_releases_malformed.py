"""What people do to tables, over all readers: one clear error with file, row and remedy, or accepted."""

import gc
import re

import pytest
from published_files import write_2018, write_2019, write_2020, write_archive, write_dataverse

from dermaflow import releases
from dermaflow.errors import DataError
from dermaflow.releases.notes import noting

TABLES = {
    "2018 truth": ("isic2018", write_2018, "ISIC2018_Task3_Training_GroundTruth.csv"),
    "2018 lesions": ("isic2018", write_2018, "ISIC2018_Task3_Training_LesionGroupings.csv"),
    "2018 metadata": ("isic2018", write_2018, "HAM10000_metadata.csv"),
    "dataverse": ("isic2018", write_dataverse, "HAM10000_metadata.csv"),
    "2019 truth": ("isic2019", write_2019, "ISIC_2019_Training_GroundTruth.csv"),
    "2019 metadata": ("isic2019", write_2019, "ISIC_2019_Training_Metadata.csv"),
    "2020": ("isic2020", write_2020, "train.csv"),
    "archive": ("mine", write_archive, "metadata.csv"),
}
AGE = {
    "2018 metadata": "50.0,male",
    "dataverse": "50.0,male",
    "2020": "45.0",
    "2019 metadata": ",55,",
    "archive": ",55,",
}
ONE_HOT = ["2018 truth", "2019 truth"]


@pytest.fixture(params=TABLES)
def table(request, tmp_path):
    """Release, its folder, and the path of one of its tables."""
    release, write, name = TABLES[request.param]
    return release, write(tmp_path), tmp_path / name


def lines(path):
    return path.read_text(encoding="utf-8").splitlines()


def save(path, rows, end="\n"):
    path.write_bytes((end.join(rows) + end).encode())


def refused(table, message):
    release, folder, path = table
    with pytest.raises(DataError, match=message) as caught:
        releases.read(release, folder)
    assert path.name in caught.value.where
    assert caught.value.remedy.endswith(".")
    assert "\n" not in str(caught.value)


def accepted(table, note, change):
    """Change a table; its rows stay the same, and `noting` says what was accepted."""
    release, folder, path = table
    before = releases.read(release, folder)
    change(path)
    with noting() as notes:
        assert releases.read(release, folder).equals(before)
    assert (f"{path.name}: {note}" in notes) if note else (notes == [])


@pytest.mark.parametrize(("sign", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_a_wrong_delimiter_is_named(table, sign, word):
    save(table[2], [line.replace(",", sign) for line in lines(table[2])])
    refused(table, rf"row 0 \(header\): the columns are separated by {word}\. Save it with commas")


@pytest.mark.parametrize("name", ["2018 lesions", "2018 metadata", "2019 metadata"])
def test_a_second_table_that_lacks_labelled_images_is_named_with_them(tmp_path, name):
    release, write, file = TABLES[name]
    table = release, write(tmp_path), tmp_path / file
    kept, gone = lines(table[2])[:-1], releases.read(*table[:2]).query("part == 'train'").image_id.iloc[-1]
    assert all(gone not in line for line in kept)
    save(table[2], kept)
    refused(table, rf"1 images of the ground truth are not in it: {gone}\. Take both files")


def test_an_empty_file_is_named(table):
    table[2].write_bytes(b"")
    refused(table, "the file is empty. Download it again")


def test_a_header_alone_is_named(table):
    save(table[2], lines(table[2])[:1])
    refused(table, "a header and no row")


def test_a_row_with_a_cell_too_many_or_too_few_is_named(table):
    head, first, *rest = lines(table[2])
    save(table[2], [head, f"{first},more", *rest])
    refused(table, r"row 1: \d+ cells where the header has \d+")
    save(table[2], [head, *rest, first.rpartition(",")[0]])
    refused(table, rf"row {len(rest) + 1}: \d+ cells where the header has \d+")


def test_a_missing_id_column_is_named_with_those_that_are_there(table):
    head, *rest = lines(table[2])
    name = next(word for word in head.split(",") if word in {"image", "image_id", "image_name", "isic_id"})
    save(table[2], [head.replace(name, "picture", 1), *rest])
    refused(table, r"row 0 \(header\): no column .*; it has .*picture")


def test_a_column_twice_is_named(table):
    save(table[2], [f"{line},{line.split(',')[1]}" for line in lines(table[2])])
    refused(table, rf"row 0 \(header\): columns stand twice: {lines(table[2])[0].split(',')[1]}\.")


def test_a_column_twice_in_another_case_is_named(table):
    head, *rest = lines(table[2])
    save(table[2], [f"{head},{head.split(',')[-1].swapcase()}", *(f"{line},1" for line in rest)])
    refused(table, r"row 0 \(header\): columns stand twice: ")


@pytest.mark.parametrize("case", [str.upper, str.lower, str.title])
def test_a_header_is_read_in_any_case(table, case):
    release, folder, path = table
    before = releases.read(release, folder)
    head, *rest = lines(path)
    save(path, [case(head), *rest])
    assert releases.read(release, folder).equals(before)


def test_a_refused_table_leaves_the_garbage_collector_on(table):
    table[2].write_bytes(b"")
    refused(table, "empty")
    assert gc.isenabled()


def test_a_row_twice_is_named_with_both_places(table):
    save(table[2], [*lines(table[2]), lines(table[2])[1]])
    refused(table, r"rows 1, \d+: 1 images are listed more than once: ISIC_0\d+\. Leave one row an image")


def test_another_encoding_is_named(table):
    table[2].write_bytes(table[2].read_text().encode("utf-16"))
    refused(table, "line 1: byte 0xff is not UTF-8. Save the table as CSV in UTF-8")


def test_a_cell_in_another_encoding_is_named_with_its_line(table):
    head, first, *rest = table[2].read_bytes().splitlines()
    for mark in (b"", b"\xef\xbb\xbf"):
        table[2].write_bytes(b"\r\n".join([mark + head, first, rest[0] + b"\xe9", *rest[1:]]))
        refused(table, "line 3: byte 0xe9 is not UTF-8")


@pytest.mark.parametrize("name", ONE_HOT)
@pytest.mark.parametrize(
    ("cells", "message"),
    [
        ("1.0,1.0", "two or more diagnoses set"),
        ("0.0,0.0", "no diagnosis set"),
        (",", "cells of MEL are no number"),
    ],
)
def test_two_diagnoses_none_and_empty_cells_are_named(tmp_path, name, cells, message):
    release, write, file = TABLES[name]
    path = write(tmp_path) / file
    path.write_text(path.read_text().replace("ISIC_0000003,1.0,0.0", f"ISIC_0000003,{cells}"))
    refused((release, tmp_path, path), f"row 3: 1 .*{message}")


@pytest.mark.parametrize("name", AGE)
@pytest.mark.parametrize("age", ["850", "-1", "old"])
def test_an_age_that_can_not_be_is_named(tmp_path, name, age):
    release, write, file = TABLES[name]
    path = write(tmp_path) / file
    head, first, *rest = lines(path)
    save(
        path,
        [
            head,
            first.replace(AGE[name], AGE[name].replace("50.0", age).replace("45.0", age).replace("55", age)),
            *rest,
        ],
    )
    refused((release, tmp_path, path), rf"row 1: 1 ages are (not 0 to 120 years|no number), first '?{age}")


@pytest.mark.parametrize(("name", "word"), [("dataverse", "nv"), ("2020", "nevus"), ("archive", "Benign,")])
def test_a_diagnosis_that_is_no_word_of_the_release_is_named(tmp_path, name, word):
    release, write, file = TABLES[name]
    path = write(tmp_path) / file
    head, first, *rest = lines(path)
    save(path, [head, first.replace(word, word.replace(word.rstrip(","), "wart"), 1), *rest])
    refused((release, tmp_path, path), r"row 1: 1 .*unknown .*: wart")


def test_a_quote_that_is_never_closed_is_named(table):
    head, first, *rest = lines(table[2])
    save(table[2], [head, first, f'"{rest[0]}', *rest * 2000])
    refused(table, r"never closed|cells where the header has")


def test_a_quote_open_to_the_end_is_named_with_its_row_and_never_hides_rows(table):
    """In the last column the row has as many cells as the header, and the rest of the file is one of them."""
    head, first, *rest = (line for line in lines(table[2]) if '"' not in line)
    start, _, last = first.rpartition(",")
    for end in ("\n", "\r\n"):
        save(table[2], [head, f'{start},"{last}', *rest], end)
        refused(
            table, rf"row 1: a quote is never closed: {len(rest)} more lines, to the end .*\. Close or remove"
        )
    start, _, last = head.rpartition(",")
    save(table[2], [f'{start},"{last}', first, *rest])
    refused(table, r"row 0 \(header\): a quote is never closed")


def test_two_stray_quotes_never_hide_the_rows_between(table):
    """In the last column: the row has as many cells as the header, and one of them holds whole rows."""
    head, *rest = (line for line in lines(table[2]) if '"' not in line)
    rest = [re.sub("00000", f"0{number}000", rest[0]) for number in range(4)]
    for stray in (1, 3):
        start, _, last = rest[stray].rpartition(",")
        rest[stray] = f'{start},"{last}'
    save(table[2], [head, *rest])
    refused(table, "row 2: a cell holds whole rows: a quote that is never closed")


# Accepted, and said so


def test_crlf_is_accepted_and_said(table):
    accepted(table, "lines that end in CRLF", lambda path: save(path, lines(path), "\r\n"))


def test_a_byte_order_mark_is_accepted_and_said(table):
    accepted(table, "a byte order mark", lambda path: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()))


@pytest.mark.parametrize("ending", [".jpg", ".JPG", ".jpeg", ".png"])
def test_endings_behind_ids_are_accepted_and_said(table, ending):
    def change(path):
        path.write_text(
            path.read_text()
            .replace("ISIC_0000001", f"ISIC_0000001{ending}")
            .replace("ISIC_0100001", f"ISIC_0100001{ending}")
        )

    accepted(table, "1 image ids with a folder or an extension, taken off", change)


def test_blank_rows_are_accepted_and_said(table):
    accepted(
        table, "2 blank rows, left out", lambda path: save(path, [lines(path)[0], "", *lines(path)[1:], ",,"])
    )


def test_a_line_break_within_a_quoted_cell_is_accepted_and_said(table):
    head, *rest = lines(table[2])
    for last in ("y", '"y\nz"'):
        rows = [f"{head},more", *(f'{row},"a\nb"' for row in rest[:-1]), f"{rest[-1]},{last}"]
        breaks = len(rest) - (last == "y")
        accepted(
            table,
            f"{breaks} line breaks within cells" if breaks else "",
            lambda path, rows=rows: save(path, rows),
        )


def test_further_columns_and_spaces_are_accepted(table):
    accepted(
        table, "", lambda path: save(path, [re.sub(r",(?! )", " , ", f"{line},more") for line in lines(path)])
    )


def test_what_is_as_published_is_not_spoken_of(table):
    accepted(table, "", lambda path: None)


def test_blank_rows_are_counted_where_a_row_is_named(table):
    release, folder, path = table
    head, *rest = lines(path)
    save(path, [head, "", ",,", *rest, rest[0]])  # an id that stands twice, or two rows that contradict
    with pytest.raises(DataError) as found:
        releases.read(release, folder)
    if "row" in str(found.value):
        assert str(len(rest) + 3) in str(found.value)
    save(path, [head, "", ",,", *rest, f"{rest[0]},x"])
    with pytest.raises(DataError, match=rf"row {len(rest) + 3}: \d+ cells where the header has"):
        releases.read(release, folder)
