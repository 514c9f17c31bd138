"""What is told of broken rules: in the report, in the error that stops a stage, and on the index page."""

import pandas as pd
import pytest

from dermaflow.errors import DataError
from dermaflow.quality import page, raise_if_critical, rules, running
from dermaflow.quality.report import Report, Result, describe


def found(suite, rule="r", severity=rules.CRITICAL, **other):
    return Result(suite, rule, severity, **{"success": False, "says": f"{rule} holds.", **other})


def check(suite, *of, ages):
    ids = [f"I{number:02}" for number in range(len(ages))]
    return rules.Check(suite, pd.DataFrame({"image_id": ids, "age": ages}), of)


def test_ten_of_more_rows_are_named_with_what_they_hold_and_all_are_counted():
    (result,) = running.run([check("s", rules.between("age", 0, 90), ages=[91.0] * 12 + [50.0])]).results
    assert (result.unexpected, result.rows, result.detail) == (12, 13, "")
    assert result.first == tuple(f"I{number:02} (91.0)" for number in range(10))
    assert describe(result).startswith("(12 of 13 rows: I00 (91.0), I01")
    assert describe(result).endswith("I09 (91.0), ...)")


def test_all_of_fewer_rows_are_named_and_no_more_are_hinted_at():
    (result,) = running.run([check("s", rules.between("age", 0, 90), ages=[91.0, 50.0])]).results
    assert describe(result) == "(1 of 2 rows: I00 (91.0))"


def test_what_holds_has_no_row_and_no_detail():
    (result,) = running.run([check("s", rules.between("age", 0, 90), ages=[50.0, None])]).results
    assert (result.success, result.unexpected, result.rows) == (True, 0, 2)
    assert (result.first, result.detail) == ((), "")


def test_where_no_row_is_at_fault_what_was_found_is_told_shortly_and_in_order():
    broken = [rules.known("age", 0.5), rules.columns(["image_id", "sex"])]
    known, columns = running.run([check("s", *broken, ages=[50.0, None, None])]).results
    assert describe(known) == "(found 0.3333)"
    assert describe(columns) == "(found ['age', 'image_id'])"


def test_results_are_sorted_and_nothing_is_drawn_in_the_terminal(capfd):
    broken = [rules.given("image_id"), rules.given("age")]
    report = running.run([check("two", *broken, ages=[1.0]), check("one", *broken, ages=[2.0])])
    names = [(item["suite"], item["rule"]) for item in report.to_json()["results"]]
    assert names == [(suite, f"{column} given") for suite in ("one", "two") for column in ("age", "image_id")]
    assert "Metrics" not in capfd.readouterr().err


def test_the_error_counts_all_broken_rules_shows_ten_and_names_each_table_once():
    many = [found("a", f"rule {number:02}", detail="found 0") for number in range(11)]
    with pytest.raises(DataError) as stopped:
        raise_if_critical(Report((*many, found("b", rules.WARNING, rules.WARNING))), "Mend them.")
    error = stopped.value
    assert error.what.startswith("11 critical expectations failed: rule 00 holds. (found 0) / rule 01 holds.")
    assert error.what.endswith("/ rule 09 holds. (found 0)")
    assert (error.where, error.remedy) == ("a", "Mend them.")


def test_the_index_shows_failures_first_and_each_table_apart():
    results = (
        found("a", "first", rows=3, unexpected=1, first=("<b>",)),
        found("a", "rows", rows=5, success=True),
        found("b", "late & wide", rules.WARNING, rows=2, detail="found 0"),
    )
    html = page.index(Report(results), {"a": "validations/a b/1.html"}, {}, unreadable=0)
    top, *suites = html.split("<h2>")[1:]
    assert top.startswith("Not as expected")
    assert top.index("<td>first holds.</td>") < top.index("<td>late &amp; wide holds.</td>")
    assert "(1 of 3 rows: &lt;b&gt;)" in top
    assert "<b>" not in html
    assert [suite.split("<")[0] for suite in suites] == ["a", "b"]
    assert "<p>5 rows. <a href='validations/a%20b/1.html'>details</a></p>" in suites[0]
    assert "<p>2 rows.</p>" in suites[1]
    assert [suite.count("<td>") for suite in suites] == [4, 2]
    assert "first" not in suites[1]
    assert "unreadable.csv" not in html
