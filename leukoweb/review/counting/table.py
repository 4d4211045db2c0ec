"""The lines of a differential as a laboratory reads them: order, groups, rounding and words; it counts nothing.

One list of lines serves the case page, the report, the PDF, CSV and the clipboard, so that they can never disagree.
"""

from collections.abc import Mapping
from typing import Any, TypedDict

from detection.cell_types import BY_CODE
from leukoweb.review.counting.differential import is_changed
from leukoweb.review.counting.parts import (
    CodesPart,
    DifferentialPart,
    FigurePart,
    IntervalPart,
    PreviousPart,
    ReferenceRange,
    RowPart,
)
from leukoweb.review.counting.words import printed

_NO_CODES: CodesPart = {"percent": "", "absolute": ""}
GRAVE = ("blasts", "promyelocytes", "PMO", "PMB")  # said first in a result
# Neutrophils in order of maturation from the ripe end, then the others, the grave ones together.
_AFTER_NEUTROPHILS = ("LYT", "LYA", "MON", "EOS", "BAS", "MMZ", "MYB", "PMO", "PMB")


class Band(TypedDict):
    """Where a reference range begins, how wide it is and where the value is, in hundredths of a small scale."""

    start: float
    width: float
    value: float


class Line(TypedDict):
    """One line of the table, in the words and digits that are printed.

    `kind` is "group" (a sum), "type", "within" (part of the group above it) or "beside" (per 100 WBC, outside the
    differential). `count` is what enters the percentage; `count_note` says what is among it. Texts are "" where there
    is nothing to say.
    """

    key: str
    code: str
    name: str
    kind: str
    count: int
    count_note: str
    percent: str
    low: float | None
    high: float | None
    value: float | None
    interval: str
    zero: str
    per_100: str
    absolute: str
    is_seen: bool
    range: str
    band: Band | None
    range_source: str
    call: str
    call_text: str
    loinc_percent: str
    loinc_absolute: str
    before: str
    changed: str
    before_absolute: str
    changed_absolute: str


def lines_of(
    differential: DifferentialPart,
    rules: Mapping[str, Any],
    loinc: Mapping[str, CodesPart] | None = None,
    previous: PreviousPart | None = None,
) -> list[Line]:
    """Return the lines of a differential.

    Parameters
    ----------
    differential : DifferentialPart
    rules : dict
        `Rules.as_dict()` of the same report.
    loinc : mapping of str to CodesPart, optional
    previous : PreviousPart, optional
        The person's last result.

    Returns
    -------
    list of Line
        All 15 types, the unidentified where there are any, and the groups.
    """
    rows = {row["key"]: row for row in differential["rows"]}
    groups, separate = differential["groups"], rules["bands"] == "separate"
    within = "type" if separate else "within"
    neutrophils = [(groups["neutrophils"], "group"), (rows["NGS"], within), (rows["NGB"], within)]
    order = neutrophils + [(rows[code], "type") for code in _AFTER_NEUTROPHILS]
    if rows["PMB"]["count"]:
        order.insert(-2, (groups["promyelocytes"], "group"))
    order += [(groups["blasts"], "group"), (rows["MYO"], "within"), (rows["MOB"], "within")]
    if differential["unidentified"]["count"]:
        order.append((differential["unidentified"], "type"))
    order += [(rows["EBO"], "beside"), (rows["KSC"], "beside")]
    figures, wbc_before = (previous["figures"], previous.get("wbc")) if previous else ({}, None)
    wbc, decimals = (differential["corrected_wbc"], wbc_before), rules["decimals"]
    smudge, codes = _smudge_among_lymphocytes(differential, rules), loinc or {}
    return [
        _line(row, kind, decimals, codes.get(row["key"], _NO_CODES), smudge, figures.get(row["key"]), wbc)
        for row, kind in order
    ]


def _smudge_among_lymphocytes(differential: DifferentialPart, rules: Mapping[str, Any]) -> bool:
    """Say whether the smudge cells are counted as lymphocytes: the signer's choice, before version 1.3 a rule."""
    return bool(differential.get("smudge_as_lymphocytes", rules.get("smudge_cells") == "as_lymphocytes"))


def figures_of(lines: list[Line]) -> str:
    """Return the lines as tab-separated text for the clipboard: name, count, percent or per 100 WBC, absolute, call."""
    heading = "Cell type\tCount\t%\tper 100 WBC\t10*9/L\tCall"
    return "\n".join(
        [heading] + ["\t".join([_named(x), str(x["count"]), x["percent"], x["per_100"], x["absolute"], x["call"]])
                     for x in lines]
    )  # fmt: skip


def _named(line: Line) -> str:
    return f"{line['name']} ({line['count_note']})" if line["count_note"] else line["name"]


def _line(
    row: RowPart,
    kind: str,
    decimals: int,
    loinc: CodesPart,
    smudge_as_lymphocytes: bool,
    figure: FigurePart | None,
    wbc: tuple[float | None, float | None],
) -> Line:
    """Return one line; `figure` is the one of the last result, `wbc` what absolute counts are taken from, now and then.

    Only a report of version 1.6 or later has the latter.
    """
    range_ = row["absolute_range"] if row["absolute"] is not None and row["absolute_range"] else row["percent_range"]
    is_zero = row["zero_upper"] is not None
    count, note, per_100, absolute = row["count"], "", printed(row["per_100"], 1), printed(row["absolute"], 2)
    if smudge_as_lymphocytes and row["key"] == "LYT" and row["counted"] > count:
        count, note = row["counted"], f"{row['counted'] - count} of them smudge cells"
    if smudge_as_lymphocytes and row["key"] == "KSC" and count:
        note, per_100, absolute = "counted as lymphocytes", "", ""
    (before, changed), (before_absolute, changed_absolute) = (
        _before(row, figure, decimals), _before_absolute(row, figure, *wbc)
    )  # fmt: skip
    return {
        "key": row["key"],
        "code": row["key"] if row["key"] in BY_CODE else "",
        "name": BY_CODE[row["key"]].plural if row["key"] in BY_CODE else row["name"],
        "kind": kind,
        "count": count,
        "count_note": note,
        "percent": printed(row["percent"], decimals) if row["percent"] or not row["counted"] else _least(decimals),
        "low": row["low"],
        "high": row["high"],
        "value": row["percent"],
        "interval": "" if row["low"] is None or is_zero else f"{row['low']:.1f} – {row['high']:.1f}",
        "zero": f"under {row['zero_upper']:.2f}" if is_zero else "",
        "per_100": per_100,
        "absolute": absolute,
        "is_seen": bool(count or row["call"] or kind == "group"),
        "range": _range_text(range_),
        "band": _band(range_, row["absolute"] if range_ is row["absolute_range"] else row["per_100"] or row["percent"]),
        "range_source": range_["source"] if range_ else "",
        "call": row["call"],
        "call_text": _call_text(row),
        "loinc_percent": loinc["percent"],
        "loinc_absolute": loinc["absolute"],
        "before": before,
        "changed": changed,
        "before_absolute": before_absolute,
        "changed_absolute": changed_absolute,
    }


def _least(decimals: int) -> str:
    """The percentage of a counted cell in a report of before version 1.3, which stored it as 0."""
    return printed(1e-6, decimals)


def _before(row: RowPart, figure: FigurePart | None, decimals: int) -> tuple[str, str]:
    """What stood in the last result, and whether this one differs beyond both intervals (C2)."""
    if figure is None or figure["percent"] is None or row["percent"] is None:
        return "", ""
    direction = "up" if row["percent"] > figure["percent"] else "down"
    return printed(figure["percent"], decimals), direction if is_changed(figure, row) else ""


def _before_absolute(
    row: RowPart, figure: FigurePart | None, wbc: float | None, wbc_before: float | None
) -> tuple[str, str]:
    """What the absolute count was, and whether it changed beyond the intervals of both shares, times their WBC (C2)."""
    if figure is None or figure.get("absolute") is None or wbc_before is None:
        return "", ""
    said = printed(figure["absolute"], 2)
    if row["absolute"] is None or figure["absolute"] is None or wbc is None:
        return said, ""
    if not is_changed(_times(figure, wbc_before), _times(row, wbc)):
        return said, ""
    return said, "up" if row["absolute"] > figure["absolute"] else "down"


def _times(share: IntervalPart, wbc: float) -> IntervalPart:
    low, high = (None if end is None else end * wbc for end in (share["low"], share["high"]))
    return {"low": low, "high": high}


def _range_text(range_: ReferenceRange | None) -> str:
    """A range in words of a laboratory, with its unit."""
    if not range_:
        return ""
    low, high, unit = range_["low"], range_["high"], range_["unit"].replace("10*9/L", "× 10⁹/L").replace("per", "/")
    unit = unit.replace("/ 100 WBC", "/100 WBC")
    if low is None or (low == 0 and high):
        return f"up to {high:g} {unit}"
    if high is None:
        return f"from {low:g} {unit}"
    return f"none ({high:g} {unit})" if high == 0 else f"{low:g} – {high:g} {unit}"


def _band(range_: ReferenceRange | None, value: float | None) -> Band | None:
    """Return the place of a value beside its range; None where either is missing."""
    if not range_ or value is None:
        return None
    low, high = range_["low"] or 0.0, range_["high"]
    end = 1.25 * max(value, 2 * low if high is None else high) or 1.0
    end_of_range = end if high is None else high
    start, width, place = (round(100 * part / end, 1) for part in (low, end_of_range - low, value))
    return {"start": start, "width": width, "value": place}


def unseen_of(lines: list[Line]) -> list[str]:
    """Return the names of the types that were not seen and whose absence is remarkable in no way, as on the paper."""
    return [line["name"].lower() for line in lines if not line["is_seen"]]


def result_of(lines: list[Line], differential: DifferentialPart) -> str:
    """Return the result in one line: blasts and promyelocytes, then what is surely outside its reference range.

    Where the interval reaches the limit the call stands in the table only, with its "?".

    Parameters
    ----------
    lines : list of Line
    differential : DifferentialPart

    Returns
    -------
    str
        "" where no leukocyte was counted.
    """
    total = differential["total"]
    if not total:
        return ""
    grave = sorted((x for x in lines if x["key"] in GRAVE and x["count"]), key=lambda x: GRAVE.index(x["key"]))
    if any(x["key"] == "promyelocytes" for x in grave):  # their sum is said: the table has its parts
        grave = [x for x in grave if x["key"] not in ("PMO", "PMB")]
    parts = [f"{x['name'].lower()} {x['percent']}% ({x['count']} of {total})" for x in grave]
    if not grave:
        parts.append("no blasts or promyelocytes")
    called = [x for x in lines if x["call"] and x["key"] not in GRAVE and x["kind"] != "within"]
    parts += [f"{x['name'].lower()} {x['call']}" for x in called if x["call"] == x["call_text"]]
    if called and len(parts) == 1 and not grave:
        parts.append("no type surely outside its reference range")
    # A report of before version 1.3 does not say whether its ranges were those of the patient's age.
    if not any(x["call"] for x in lines) and not grave and differential.get("range_refusal") == "":
        parts.append("all types within their reference ranges")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def _call_text(row: RowPart) -> str:
    """The call with what the interval thinks of it (C2)."""
    if not row["call"]:
        return ""
    return row["call"] if row["is_call_certain"] else f"{row['call']}?"
