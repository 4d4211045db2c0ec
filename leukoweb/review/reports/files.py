"""A report as a file: CSV, JSON and the sealed bundle, and a bundle held against the report that is stored.

It writes bytes; who may have them, and that an export is recorded, is left to the views.
"""

import csv
import io
import json
from collections.abc import Mapping
from typing import Any

from leukoweb import given
from leukoweb.accounts.models import User
from leukoweb.refusals import Refused
from leukoweb.review.counting.table import lines_of
from leukoweb.review.models import Report
from leukoweb.review.reports.figures import sent_findings
from leukoweb.review.reports.notes import notes_of
from leukoweb.review.reports.page import page_of, verified
from leukoweb.review.reports.parts import Content, sealed_time
from leukoweb.review.reports.seal import bundle_of, differences
from leukoweb.spreadsheets import BYTE_ORDER_MARK, safe

CSV_HEAD = (
    "accession_number", "version", "status", "signed_by", "signed_at", "meaning", "code", "name", "count", "percent",
    "low", "high", "per_100_wbc", "absolute_10*9/L", "reference", "call", "loinc_percent", "loinc_absolute",
    "cells_counted", "cells_verified", "count_note", "interpretation", "comment", "finding", "loinc_finding",
    "value", "unit", "note",
)  # fmt: skip
MOST_DIFFERENCES = 50


def file_of(report: Report, content: Content, form: str) -> tuple[str, str, str]:
    """Return (text, content type, file name) of a report as "csv", "json" or "bundle"; another form is a KeyError."""
    name = f"report-{report.pk}-v{report.version}"
    kinds = {
        "csv": (csv_of, "text/csv; charset=utf-8", f"{name}.csv"),
        "json": (json_of, "application/json", f"{name}.json"),
        "bundle": (bundle_text, "application/json", f"{name}-sealed.json"),
    }
    write, kind, file_name = kinds[form]
    return write(report, content), kind, file_name


def without_cells(report: Report, content: Content) -> dict:
    """Return the report for other systems: every section but the single cells, with its status and seal."""
    kept = {name: section for name, section in content.items() if name != "cells"}
    page = page_of(report, content)
    withdrawal = page["withdrawal"]
    return {
        "status": page["status"],
        "state": "withdrawn" if withdrawal else report.state,
        "withdrawal": withdrawal
        and {
            "reason": withdrawal.reason,
            "by": withdrawal.withdrawn_by.printed_name,
            "at": sealed_time(withdrawal.withdrawn_at),
        },
        **kept,
        "verification": verified(content),
        "seal": report.seal,
    }


def json_of(report: Report, content: Content) -> str:
    """Return the report without the single cells as JSON text."""
    return json.dumps(without_cells(report, content), ensure_ascii=False, indent=1)


def bundle_text(report: Report, content: Content) -> str:
    """Return the sealed bundle of a signed report as JSON text."""
    return json.dumps(sealed_bundle(report), ensure_ascii=False, indent=1)


def sealed_bundle(report: Report) -> dict:
    """Return the bundle of a signed report."""
    return bundle_of(report.content, sequence=report.sequence, previous_seal=report.previous_seal, seal=report.seal)


def csv_of(report: Report, content: Content) -> str:
    """Return a line for each type, finding, value of the blood count and note, each with the report's identity."""
    out = io.StringIO()
    writer = csv.DictWriter(out, CSV_HEAD, restval="")
    writer.writeheader()
    signature: Mapping[str, Any] = content.get("signature") or {}
    cells, words = verified(content), content["report"]
    same = {
        "accession_number": content["specimen"]["accession_number"], "version": report.version,
        "status": page_of(report, content)["status"], "signed_by": signature.get("name", ""),
        "signed_at": signature.get("signed_at", ""), "meaning": signature.get("meaning", ""),
        "cells_counted": cells["counted"], "cells_verified": cells["verified"],
        "interpretation": words.get("interpretation", ""), "comment": words["comment"],
    }  # fmt: skip
    rows: list[dict[str, Any]] = [
        {
            "code": x["key"], "name": x["name"], "count": x["count"], "percent": x["percent"],
            "low": _rounded(x["low"]), "high": _rounded(x["high"]),
            "per_100_wbc": x["per_100"], "absolute_10*9/L": x["absolute"], "reference": x["range"], "call": x["call"],
            "loinc_percent": x["loinc_percent"], "loinc_absolute": x["loinc_absolute"], "count_note": x["count_note"],
        }
        for x in lines_of(content["differential"], content["policies"]["rules"], content["loinc"])
    ]  # fmt: skip
    rows += [
        {"code": one.key, "name": one.name, "finding": one.text, "loinc_finding": one.loinc}
        for one in sent_findings(content)
    ]
    rows += [
        {"code": one["key"], "name": one["name"], "value": one["sent"], "unit": one["unit"], "reference": one["range"],
         "call": one["call"], "note": one["note"]}
        for one in content.get("cbc", {}).get("values", [])
    ]  # fmt: skip
    rows += [{"code": "note", "note": text} for text in notes_of(content)]
    for row in rows:
        writer.writerow({name: safe(value) for name, value in (same | row).items()})
    return BYTE_ORDER_MARK + out.getvalue()


def held_against_stored(user: User, raw: bytes) -> tuple[dict, list[str]]:
    """Compare a bundle with the report that the user's laboratory keeps.

    Returns
    -------
    dict
        `stored` is that report; `is_unknown` is set where none is kept; empty where the bundle names none.
    list of str
        What differs, in sentences.
    """
    try:
        bundle: Any = given.json_of(raw, most_bytes=len(raw))
        seal, stored_pk = str(bundle["seal"]), int(bundle["content"]["report"]["id"])
    except (Refused, ValueError, TypeError, KeyError):
        return {}, []
    if not 0 < stored_pk <= given.LARGEST_KEY:
        return {}, []
    reports = Report.objects.visible_to(user).filter(state=Report.State.SIGNED)
    report = reports.filter(seal=seal).first() or reports.filter(pk=stored_pk).first()
    if report is None:
        return {"is_unknown": True}, []
    problems = []
    if seal != report.seal:
        problems.append(f"This laboratory keeps report {report.pk} under another seal: {report.seal}.")
    return {"stored": report}, problems + differences(sealed_bundle(report), bundle)[:MOST_DIFFERENCES]


def _rounded(end: float | None) -> float | str:
    return "" if end is None else round(end, 2)
