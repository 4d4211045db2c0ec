"""The figures of a signed report as other systems get them: one list for messages and for FHIR; it computes nothing.

References
----------
LOINC: `review.counting.loinc`; the panel 24318-8 as in docs/domain.md.
"""

from collections.abc import Iterator, Set
from dataclasses import dataclass

from leukoweb.review.counting.parts import CodesPart, ReferenceRange, RowPart
from leukoweb.review.findings.table import NOT_EXAMINED
from leukoweb.review.findings.words import finding_words, noted
from leukoweb.review.models import Report
from leukoweb.review.reports.parts import Content

PANEL = ("24318-8", "Leukocyte differential, manual", "LN")
ALWAYS_SENT = ("blasts",)  # a count of zero is a result of its own (24318-8, conditional items)


@dataclass(frozen=True)
class Sent:
    """What is sent of a report under a code: LOINC, "" where there is none, and our own key."""

    key: str
    name: str
    loinc: str


@dataclass(frozen=True)
class Figure(Sent):
    """A number; `unit` is its code in UCUM and in words.

    The interval is (low, high) of a percentage; low is None where nothing was found: high is one-sided then (C2, C11).
    """

    value: float
    unit: tuple[str, str]
    range: ReferenceRange | None
    call: str
    interval: tuple[float | None, float] | None = None


@dataclass(frozen=True)
class AbsentFigure(Sent):
    """A figure that there is none of, and why."""

    reason: str


@dataclass(frozen=True)
class SentFinding(Sent):
    """A finding as text; a part of the film that nobody examined says so."""

    text: str
    is_examined: bool = True


def earlier_versions(report: Report) -> list[Content]:
    """Return the contents of the signed versions that a report replaces, the last one first."""
    found = []
    while report.amends is not None:
        report = report.amends
        found.append(report.content)
    return found


def figures_of(report: Report) -> list[Figure]:
    """Return the figures that are sent of a signed report; a type that an earlier version had is sent as 0 too."""
    return sent_figures(report.content, also={key.rstrip("#") for key in _sent_before(report)})


def _sent_before(report: Report) -> set[str]:
    """Return the keys of the figures that earlier versions sent."""
    return {figure.key for content in earlier_versions(report) for figure in sent_figures(content)}


def absent_figures(report: Report) -> list[AbsentFigure]:
    """One entry for each absolute count that there is none of, although its percentage is sent.

    One that an earlier version had is left out: it is taken back.
    """
    content, before = report.content, _sent_before(report)
    reason = content["differential"].get("absolute_refusal")
    return [
        AbsentFigure(f"{row['key']}#", f"{row['name']}, absolute", code["absolute"], reason)
        for row, code in _sent_rows(content, {key.rstrip("#") for key in before})
        if reason and code["absolute"] and row["percent"] is not None and f"{row['key']}#" not in before
    ]


def sent_figures(content: Content, *, also: Set[str] = frozenset()) -> list[Figure]:
    """Return each figure that is sent: types that were not found are left out, except blasts and those in `also`."""
    found = []
    for row, code in _sent_rows(content, also):
        is_per_100 = row["per_100"] is not None
        share, absolute = row["per_100"] if is_per_100 else row["percent"], row["absolute"]
        by_absolute = absolute is not None and row["absolute_range"]
        if share is not None:
            found.append(Figure(
                row["key"], row["name"], code["percent"], share,
                ("/100{WBCs}", "per 100 WBC") if is_per_100 else ("%", "percent"), row["percent_range"],
                "" if by_absolute else row["call"], None if is_per_100 else _interval(row),
            ))  # fmt: skip
        if absolute is not None:
            found.append(Figure(
                f"{row['key']}#", f"{row['name']}, absolute", code["absolute"], absolute,
                ("10*3/uL", "thousand per microlitre"), row["absolute_range"], row["call"] if by_absolute else "",
            ))  # fmt: skip
    return found


def _sent_rows(content: Content, also: Set[str]) -> Iterator[tuple[RowPart, CodesPart]]:
    """Give the lines of the differential that are sent, each with its codes."""
    differential, in_lymphocytes = content["differential"], content["report"].get("smudge_as_lymphocytes")
    for row in (*differential["rows"], *differential["groups"].values()):
        is_elsewhere = in_lymphocytes and row["key"] == "KSC"
        is_sent = row["count"] or row["counted"] or row["key"] in ALWAYS_SENT or row["key"] in also
        if is_sent and not is_elsewhere:
            yield row, content["loinc"].get(row["key"], {"percent": "", "absolute": ""})


def _interval(row: RowPart) -> tuple[float | None, float] | None:
    if (upper := row.get("zero_upper")) is not None:
        return None, upper
    return None if row["low"] is None or row["high"] is None else (row["low"], row["high"])


def sent_findings(content: Content) -> list[SentFinding]:
    """One entry for each finding that is sent, as text, and one for each part of the film that is said as a whole.

    A part that was not examined is sent as such. Reports that were signed before findings were kept have none.
    """
    found = []
    for group in content.get("findings", []):
        if group["value"]:
            text = f"{group['text']}{noted(group['note'])}"
            found.append(
                SentFinding(group["key"], group["name"], group["loinc"], text, group["value"] != NOT_EXAMINED)
            )  # fmt: skip
        found += [
            SentFinding(item["key"], item["name"], item["loinc"], finding_words(item)) for item in group["items"]
        ]  # fmt: skip
    return found
