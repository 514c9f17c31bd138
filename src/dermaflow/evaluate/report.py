"""report.html: one file that can be read without a network. The headline first."""

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pandas as pd

from dermaflow.evaluate.intervals import FEW
from dermaflow.taxonomy import NAMES

HEADLINE: Final = {
    "balanced_accuracy": "Balanced accuracy",
    "melanoma_auc": "Melanoma AUC",
    "malignant_auc": "Malignant AUC",
    "macro_auc": "Macro AUC",
    "accuracy": "Accuracy",
    "log_loss": "Log loss",
    "brier": "Brier score",
    "ece": "Calibration error",
}
PICTURES: Final = {
    "roc": "ROC curves",
    "confusion": "Confusion matrix of the hold-out, by decision score",
    "reliability": "Reliability on the hold-out",
    "subgroups": "Subgroups of the hold-out, 95 % intervals",
}
STYLE: Final = """
:root{--ink:#1f2933;--soft:#52606d;--line:#e4e7eb;--blue:#1f6f8b;--paper:#fff}
*{box-sizing:border-box}
body{margin:0;background:#f5f7fa;color:var(--ink);font:15px/1.5 system-ui,sans-serif}
main{max-width:980px;margin:0 auto;padding:32px 20px 64px}
h1{margin:0 0 4px;font-size:28px}h2{margin:0 0 12px;font-size:18px}
h3{margin:18px 0 6px;font-size:14px;color:var(--soft)}
p{margin:6px 0;max-width:75ch}.soft{color:var(--soft)}
.warning{border-left:4px solid #d1603d;background:#fdf3ef;padding:10px 14px;border-radius:4px;margin:16px 0}
section{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:20px 22px}
section{margin:18px 0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:12px;margin:18px 0}
.card{background:var(--paper);border:1px solid var(--line);border-radius:10px;padding:14px 16px}
.card b{display:block;font-size:28px;line-height:1.2;color:var(--blue);font-variant-numeric:tabular-nums}
.card span{font-size:13px;color:var(--soft)}
.scroll{overflow-x:auto}
table{border-collapse:collapse;width:100%;font-size:13.5px}
th,td{text-align:right;padding:5px 10px;border-bottom:1px solid var(--line);font-variant-numeric:tabular-nums}
th{color:var(--soft);font-weight:600}td{white-space:nowrap}
th:first-child,td:first-child{text-align:left}
tr:last-child td{border-bottom:0}
img{max-width:100%;height:auto;display:block;margin:0 auto}
details summary{cursor:pointer;color:var(--soft)}
"""


@dataclass(frozen=True)
class Content:
    """All that a report says.

    Attributes:
        title: e.g. the model's name.
        notice: registry.notice.
        lead: what stands below the title.
        metrics: as metrics.json.
        plots: PNG bytes by the names of PICTURES.
        funnel: splits/funnel.csv.
        scored: a sentence: who scores the hold-out in a run of the pipeline.
        extra: further sections (heading, HTML), after the headline figures.
    """

    title: str
    notice: str
    lead: str
    metrics: Mapping[str, Any]
    plots: Mapping[str, bytes]
    funnel: pd.DataFrame
    scored: str
    extra: Sequence[tuple[str, str]] = field(default_factory=tuple)


def render(content: Content) -> str:
    """Return the whole page; nothing in it is loaded from elsewhere."""
    hold_out, out_of_fold = content.metrics["hold_out"], content.metrics["out_of_fold"]
    pictures = {name: picture(content.plots[name], head) for name, head in PICTURES.items()}
    sections = [
        ("Headline", _headline(hold_out, out_of_fold)),
        ("In the challenges' own classes", _views(hold_out)),
        *content.extra,
        (PICTURES["roc"], pictures["roc"]),
        ("Diagnoses", per_class(hold_out["per_class"])),
        (PICTURES["confusion"], pictures["confusion"]),
        (PICTURES["reliability"], pictures["reliability"] + reliability(hold_out)),
        (PICTURES["subgroups"], pictures["subgroups"] + subgroups(hold_out)),
        ("What the source alone gives away", _probe(hold_out)),
        ("From published rows to cases", _funnel(content.funnel)),
        ("How often the hold-out was opened", _scored(content.scored)),
    ]
    return page(content.title, content.lead, content.notice, cards(hold_out, "hold-out"), sections)


def page(title: str, lead: str, notice: str, top: str, sections: Iterable[tuple[str, str]]) -> str:
    """Return a page of sections.

    Args:
        title: the heading.
        lead: what stands below it.
        notice: registry.notice.
        top: HTML before the sections.
        sections: heading and HTML each.
    """
    body = "".join(f"<section><h2>{html.escape(head)}</h2>{text}</section>" for head, text in sections)
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width,initial-scale=1'>"
        f"<title>{html.escape(title)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>{html.escape(title)}</h1>{paragraph(lead)}"
        f"<div class='warning'><b>Not a medical device.</b> {html.escape(notice)}</div>"
        f"{top}{body}</main></body></html>\n"
    )


def number(value: float | None) -> str:
    """Three digits, or that it is not defined."""
    return "not defined" if value is None else f"{value:.3f}"


def percent(share: float) -> str:
    """A share that was asked for, as it was asked: 0.995 is 99.5 %, not 100 %."""
    return f"{100 * share:.6g} %"


def interval(figure: Mapping[str, float | None]) -> str:
    """The figure with its interval in brackets."""
    if figure["value"] is None or figure["low"] is None:
        return number(figure["value"])
    return f"{number(figure['value'])} ({number(figure['low'])} to {number(figure['high'])})"


def table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """An HTML table; the first column is text, the others are numbers."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in heads)
    lines = "".join(
        "<tr>" + "".join(f"<td>{html.escape(str(cell))}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f"<div class='scroll'><table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table></div>"


def paragraph(text: str) -> str:
    """One escaped paragraph of explanation."""
    return f"<p class='soft'>{html.escape(text)}</p>"


def cards(found: Mapping[str, Any], of: str) -> str:
    """Four figures, large.

    Args:
        found: as `figures.headline`.
        of: stands below a figure without an interval.
    """
    shown = ""
    for key in ("balanced_accuracy", "melanoma_auc", "macro_auc", "ece"):
        one = found[key]
        span = "" if one["low"] is None else f"{number(one['low'])} to {number(one['high'])}"
        shown += f"<div class='card'><span>{HEADLINE[key]}</span><b>{number(one['value'])}</b>"
        shown += f"<span>{html.escape(span or of)}</span></div>"
    return f"<div class='cards'>{shown}</div>"


def headline(columns: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of the headline figures, one column a set of cases (see `figures.headline`)."""
    rows = [
        (name, *(interval(found[key]) for found in columns.values()))
        for key, name in HEADLINE.items()
        if all(key in found for found in columns.values())
    ]
    rows += [(key.capitalize(), *(found[key] for found in columns.values())) for key in ("cases", "groups")]
    return table(("", *columns), rows)


def _headline(hold_out: Mapping[str, Any], out_of_fold: Mapping[str, Any]) -> str:
    text = (
        "The hold-out is the headline. Out-of-fold figures flatter: each member's epoch was chosen on the "
        "same fold. Brackets: 95 % intervals over resampled groups of images that belong together "
        f"(patients, lesions, duplicates), {FEW}; that of balanced accuracy is too narrow where a diagnosis "
        "has a handful of cases. Balanced accuracy goes by decision score (probability divided by the "
        "diagnosis' frequency), accuracy by probability; a tie for the highest counts as wrong."
    )
    absent = hold_out["absent_classes"]
    if absent:
        text += f" No hold-out case has {', '.join(absent)}: balanced accuracy is over the classes present."
    if hold_out.get("outside_view"):
        text += f" {hold_out['outside_view']} hold-out cases have a diagnosis outside the model's view."
    return headline({"hold-out": hold_out, "out of fold": out_of_fold}) + paragraph(text)


def _views(hold_out: Mapping[str, Any]) -> str:
    names = {"isic2018_view": "Seven of 2018", "isic2019_view": "Eight of 2019"}
    rows = [
        (
            f"{name}, {said}",
            found["cases"],
            interval(figures["balanced_accuracy"]),
            interval(figures["melanoma_auc"]),
            ", ".join(found["absent_classes"]) or "none",
        )
        for key, name in names.items()
        if hold_out[key] is not None
        for centre, found in hold_out[key].items()
        for said, figures in ((centre, found), (f"{centre}, told", found.get("told")))
        if figures is not None
    ]
    text = (
        "Probabilities are summed into the coarser classes (AKIEC is AK and SCC), renormalised, and only "
        "then divided by the priors. Each figure is over the classes that the centre's cases hold; one "
        "without brackets is of too few cases, patients or lesions, or of too few melanomas, for an "
        "interval. "
        "HAM is where 2018's images come from, BCN is Barcelona. Told: in the knowledge that the image is "
        "from that centre, with the frequencies that training held there, as a challenge's entry may have "
        "it; the service is not told."
    )
    heads = ("classes and centre", "cases", "balanced accuracy", "melanoma AUC", "absent")
    return table(heads, rows) + paragraph(text)


def picture(png: bytes, alt: str) -> str:
    """A picture within the page."""
    encoded = base64.b64encode(png).decode()
    return f"<img alt='{html.escape(alt)}' src='data:image/png;base64,{encoded}'>"


def per_class(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Return a table of `figures.per_class`."""
    columns = ("sensitivity", "specificity", "auc", "average_precision")
    heads = ("diagnosis", "cases", "sensitivity", "specificity", "AUC", "average precision")
    return table(
        heads,
        [
            (f"{code}  {NAMES[code]}", row["cases"], *(number(row[column]) for column in columns))
            for code, row in rows.items()
        ],
    )


def reliability(found: Mapping[str, Any]) -> str:
    """What the picture of reliability says."""
    error = number(found["ece"]["value"])
    text = (
        f"Expected calibration error of the likeliest diagnosis: {error}. On the dotted line a stated "
        "probability is found to be right as often as it says."
    )
    return paragraph(text)


def subgroups(cases: Mapping[str, Any]) -> str:
    """What the picture of subgroups says, and its figures."""
    rows = [
        (
            f"{by.removeprefix('by_').replace('_', ' ')}: {name}",
            found["cases"],
            interval(found["balanced_accuracy"]),
            interval(found["melanoma_auc"]),
        )
        for by, groups in cases.items()
        if by.startswith("by_")
        for name, found in groups.items()
    ]
    text = (
        "Dotted: over all cases. Balanced accuracy is over the classes that a subgroup holds, so subgroups "
        "with other classes do not compare one to one. Those of too few cases, patients or lesions for "
        "figures are in the table only."
    )
    figures = table(("subgroup", "cases", "balanced accuracy", "melanoma AUC"), rows)
    return paragraph(text) + f"<details><summary>The same as a table</summary>{figures}</details>"


def _probe(hold_out: Mapping[str, Any]) -> str:
    names = {
        "size": "only image width and height",
        "centre": "only the centre",
        "patient_fields": "only age, sex, site",
        "all": "all of these",
    }
    rows = [("This model", interval(hold_out["balanced_accuracy"]), interval(hold_out["melanoma_auc"]))]
    if "without_patient_data" in hold_out:
        plain = hold_out["without_patient_data"]
        cells = interval(plain["balanced_accuracy"]), interval(plain["melanoma_auc"])
        rows.append(("This model without patient data", *cells))
        gain = hold_out["gain_of_patient_data"]
        rows.append(
            ("Gain of patient data", interval(gain["balanced_accuracy"]), interval(gain["melanoma_auc"]))
        )
    rows += [
        (
            f"No pixels, {names[name]}",
            interval(found["balanced_accuracy"]),
            interval(found["melanoma_auc"]),
        )
        for name, found in hold_out["source_probe"].items()
    ]
    text = (
        "A forest that never sees a pixel, trained on the same rows and scored on the same hold-out. "
        "What it gets from size and centre is no skill in dermatology: it is how the images were collected. "
        "Age and site carry some true risk."
    )
    return table(("", "balanced accuracy", "melanoma AUC"), rows) + paragraph(text)


def _funnel(funnel: pd.DataFrame) -> str:
    """Images at each step by release, and folded away the same by diagnosis."""
    whole = _steps(funnel, "release")
    parts = "".join(
        f"<h3>{html.escape(str(release))}</h3>{_steps(own, 'diagnosis')}"
        for release, own in funnel.groupby("release", sort=False)
    )
    return f"{whole}<details><summary>The same by diagnosis</summary>{parts}</details>"


def _steps(funnel: pd.DataFrame, by: str) -> str:
    counts = funnel.pivot_table(
        index="step", columns=by, values="images", aggfunc="sum", fill_value=0, sort=False
    )
    rows = [(step, *counts.loc[step], int(counts.loc[step].sum())) for step in counts.index]
    return table(("", *counts.columns, "all"), rows)


def _scored(scored: str) -> str:
    return paragraph(
        f"{scored} Nothing is chosen on it: epochs, weights, temperature and thresholds come from "
        "out-of-fold predictions, and the gate holds one candidate against fixed limits. How often it was "
        "scored over all runs in this folder is counted in reports/hold_out/openings.json and printed by "
        "`dermaflow evaluate`; each scoring is a run in MLflow (tag hold_out_scored)."
    )
