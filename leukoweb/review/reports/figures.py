"""The figures of a signed report as other systems get them: one list for messages and for FHIR; it computes nothing.

References
----------
LOINC: `review.counting.loinc`; the panel 24318-8 as in docs/domain.md.
"""

from collections.abc import Mapping
from typing import Any

from leukoweb.review.findings.table import NOT_EXAMINED
from leukoweb.review.findings.words import finding_words, noted

PANEL = ("24318-8", "Leukocyte differential, manual", "LN")
ALWAYS_SENT = ("blasts",)  # a count of zero is a result of its own (24318-8, conditional items)


def sent_figures(content: Mapping[str, Any]) -> list[dict[str, Any]]:
    """One entry for each figure that is sent: key, name, LOINC, value, unit, range and call."""
    differential, codes = content["differential"], content["loinc"]
    rows = [*differential["rows"], *differential["groups"].values()]
    found: list[dict[str, Any]] = []
    in_lymphocytes = content["report"].get("smudge_as_lymphocytes")
    for row in rows:
        is_elsewhere = in_lymphocytes and row["key"] == "KSC"
        if is_elsewhere or not (row["count"] or row["counted"] or row["key"] in ALWAYS_SENT):
            continue
        code = codes.get(row["key"], {"percent": "", "absolute": ""})
        is_per_100 = row["per_100"] is not None
        share, absolute = row["per_100"] if is_per_100 else row["percent"], row["absolute"]
        by_absolute = absolute is not None and row["absolute_range"]
        if share is not None:
            found.append({
                "key": row["key"], "name": row["name"], "loinc": code["percent"], "value": share,
                "unit": ("/100{WBCs}", "per 100 WBC") if is_per_100 else ("%", "percent"),
                "range": row["percent_range"], "call": "" if by_absolute else row["call"],
            })  # fmt: skip
        if absolute is not None:
            found.append({
                "key": f"{row['key']}#", "name": f"{row['name']}, absolute", "loinc": code["absolute"],
                "value": absolute, "unit": ("10*3/uL", "thousand per microlitre"), "range": row["absolute_range"],
                "call": row["call"] if by_absolute else "",
            })  # fmt: skip
    return found


def sent_findings(content: Mapping[str, Any]) -> list[dict[str, Any]]:
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
