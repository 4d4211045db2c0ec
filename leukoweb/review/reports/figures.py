"""The figures of a signed report as other systems get them: one list for messages and for FHIR; it computes nothing.

References
----------
LOINC: `review.counting.loinc`; the panel 24318-8 as in docs/domain.md.
"""

from collections.abc import Iterator, Set
from typing import Any

from leukoweb.review.counting.parts import CodesPart, RowPart
from leukoweb.review.findings.table import NOT_EXAMINED
from leukoweb.review.findings.words import finding_words, noted
from leukoweb.review.models import Report
from leukoweb.review.reports.parts import Content

PANEL = ("24318-8", "Leukocyte differential, manual", "LN")
ALWAYS_SENT = ("blasts",)  # a count of zero is a result of its own (24318-8, conditional items)


def earlier_versions(report: Report) -> list[Any]:
    """Return the contents of the signed versions that a report replaces, the last one first."""
    found = []
    while report.amends is not None:
        report = report.amends
        found.append(report.content)
    return found


def figures_of(report: Report) -> list[dict[str, Any]]:
    """Return the figures that are sent of a signed report; a type that an earlier version had is sent as 0 too."""
    return sent_figures(report.content, also={key.rstrip("#") for key in _sent_before(report)})


def _sent_before(report: Report) -> set[str]:
    """Return the keys of the figures that earlier versions sent."""
    return {figure["key"] for content in earlier_versions(report) for figure in sent_figures(content)}


def absent_figures(report: Report) -> list[dict[str, Any]]:
    """One entry for each absolute count that there is none of, although its percentage is sent; `absent` says why.

    One that an earlier version had is left out: it is taken back.
    """
    content, before = report.content, _sent_before(report)
    reason = content["differential"].get("absolute_refusal")
    return [
        {"key": f"{row['key']}#", "name": f"{row['name']}, absolute", "loinc": code["absolute"], "absent": reason}
        for row, code in _sent_rows(content, {key.rstrip("#") for key in before})
        if reason and code["absolute"] and row["percent"] is not None and f"{row['key']}#" not in before
    ]


def sent_figures(content: Content, *, also: Set[str] = frozenset()) -> list[dict[str, Any]]:
    """One entry for each figure that is sent: key, name, LOINC, value, unit, range, call and 95 % interval.

    The interval is (low, high) of a percentage; low is None where nothing was found: high is one-sided then (C2, C11).
    Types that were not found are left out, except blasts and those named in `also`.
    """
    found: list[dict[str, Any]] = []
    for row, code in _sent_rows(content, also):
        is_per_100 = row["per_100"] is not None
        share, absolute = row["per_100"] if is_per_100 else row["percent"], row["absolute"]
        by_absolute = absolute is not None and row["absolute_range"]
        if share is not None:
            found.append({
                "key": row["key"], "name": row["name"], "loinc": code["percent"], "value": share,
                "unit": ("/100{WBCs}", "per 100 WBC") if is_per_100 else ("%", "percent"),
                "range": row["percent_range"], "call": "" if by_absolute else row["call"],
                "interval": None if is_per_100 else _interval(row),
            })  # fmt: skip
        if absolute is not None:
            found.append({
                "key": f"{row['key']}#", "name": f"{row['name']}, absolute", "loinc": code["absolute"],
                "value": absolute, "unit": ("10*3/uL", "thousand per microlitre"), "range": row["absolute_range"],
                "call": row["call"] if by_absolute else "", "interval": None,
            })  # fmt: skip
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


def sent_findings(content: Content) -> list[dict[str, Any]]:
    """One entry for each finding that is sent, as text, and one for each part of the film that is said as a whole.

    A part that was not examined is sent as such. Reports that were signed before findings were kept have none.
    """
    found: list[dict[str, Any]] = []
    for group in content.get("findings", []):
        if group["value"]:
            found.append({
                "key": group["key"], "name": group["name"], "loinc": group["loinc"],
                "finding": f"{group['text']}{noted(group['note'])}", "is_examined": group["value"] != NOT_EXAMINED,
            })  # fmt: skip
        found += [
            {"key": item["key"], "name": item["name"], "loinc": item["loinc"], "finding": finding_words(item),
             "is_examined": True}
            for item in group["items"]
        ]  # fmt: skip
    return found
