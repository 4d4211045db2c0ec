"""What an amended report changed against the version before it: old and new values, as they are printed (S9, S13).

Pure functions of two contents; the amendment's reason and who reads it are left to others.
"""

from collections.abc import Mapping
from typing import Any

from leukoweb.cases.cbc import CbcValuePart
from leukoweb.review.counting.table import Line, lines_of
from leukoweb.review.findings.words import findings_words
from leukoweb.review.history.words import delta_sentence
from leukoweb.review.reports.parts import Change, Content, is_same
from leukoweb.review.reports.verification import sentence_of

PATIENT = {"name": "Patient", "mrn": "MRN", "sex": "Sex", "birth_date": "Birth date"}
SPECIMEN = {
    "accession_number": "Accession number", "priority": "Priority", "stain": "Stain", "collected_at": "Collected",
    "received_at": "Received", "clinical_note": "Clinical note", "wbc": "Analyser WBC",
    "requester": "Requested by", "ward": "Ward", "copy_to": "Copy to", "specimen_type": "Specimen",
    "collector": "Collector",
}  # fmt: skip
WORDS = {
    "interpretation": "Interpretation", "comment": "Comment", "lya_meaning": "Atypical lymphocytes",
    "left_shift_comment": "Left shift",
}  # fmt: skip
NOTHING = "(empty)"
Pair = tuple[str, str, str]  # what, before, now


def changes_between(before: Content, now: Content) -> list[Change]:
    """Return what differs between two contents of one case's report, in the order of the page."""
    pairs = [
        *_named(PATIENT, before["patient"], now["patient"]),
        *_named(SPECIMEN, before["specimen"], now["specimen"]),
        ("Leukocytes counted", str(before["differential"]["total"]), str(now["differential"]["total"])),
        *cbc_pairs(before, now),
        *_figures(before, now),
        ("Flags", _titles(before), _titles(now)),
        ("Critical results", _criticals(before), _criticals(now)),
        ("Changes against earlier results", _deltas(before), _deltas(now)),
        *_findings(before, now),
        *_named(WORDS, before["report"], now["report"]),
        ("Smudge cells", _smudge(before), _smudge(now)),
        ("Slides", _slides(before), _slides(now)),
        *_parts(before, now),
        ("Rules", _rules(before), _rules(now)),
    ]
    return [{"what": what, "before": old or NOTHING, "now": new or NOTHING} for what, old, new in pairs if old != new]


def _named(names: Mapping[str, str], before: Mapping[str, Any], now: Mapping[str, Any]) -> list[Pair]:
    """One pair for each field that the signed version has: one of an earlier product may have fewer."""
    return [
        (what, _text(before[name]), _text(now.get(name)))
        for name, what in names.items()
        if name in before and not is_same(before[name], now.get(name))
    ]


def cbc_pairs(before: Content, now: Content) -> list[Pair]:
    """Return the values of both blood counts, side by side."""
    old, new = _cbc_values(before), _cbc_values(now)
    return [((old | new)[key]["name"], _value(old.get(key)), _value(new.get(key))) for key in {**old, **new}]


def _cbc_values(content: Content) -> dict[str, CbcValuePart]:
    return {value["key"]: value for value in content["cbc"]["values"]} if "cbc" in content else {}


def _value(value: CbcValuePart | None) -> str:
    return " ".join(part for part in (value["sent"], value["unit"], value["note"]) if part) if value else ""


def _figures(before: Content, now: Content) -> list[Pair]:
    """One pair for each line of the table: count, percentage, absolute count and call."""
    old, new = ({line["key"]: line for line in _lines(content)} for content in (before, now))
    keys = [*old, *(key for key in new if key not in old)]
    named = old | new
    return [(_capital(named[key]["name"]), _figure(old.get(key)), _figure(new.get(key))) for key in keys]


def _capital(name: str) -> str:
    """A name as it begins a line; abbreviations in it stay."""
    return name[:1].upper() + name[1:]


def _lines(content: Content) -> list[Line]:
    return lines_of(content["differential"], content["policies"]["rules"])


def _figure(line: Line | None) -> str:
    if line is None:
        return ""
    share = f"{line['percent']} %" if line["percent"] else f"{line['per_100']} per 100 WBC" if line["per_100"] else ""
    absolute = f"{line['absolute']} × 10⁹/L" if line["absolute"] else ""
    return ", ".join(part for part in (str(line["count"]), share, absolute, line["call_text"]) if part)


def _titles(content: Content) -> str:
    return "; ".join(flag["title"] for flag in content["flags"])


def _criticals(content: Content) -> str:
    """What is critical; a value that is no longer so is not."""
    return "; ".join(critical["title"] for critical in content.get("criticals", []) if not critical["no_longer"])


def _deltas(content: Content) -> str:
    """Return what differs from an earlier result, with the answer."""
    return "; ".join(delta_sentence(delta) for delta in content.get("deltas", []))


def _smudge(content: Content) -> str:
    """How smudge cells are counted: the signer's choice, with its reason."""
    report = content["report"]
    return f"counted as lymphocytes: {report['smudge_reason']}" if report.get("smudge_as_lymphocytes") else ""


def _parts(before: Content, now: Content) -> list[Pair]:
    """One pair for each part that the signed version has: one of an earlier product may have fewer."""
    said = {"set_aside": ("Slides set aside", _set_aside), "detectors": ("Detector", _detectors),
            "reference": ("Reference count", _reference), "verification": ("Verified", _verified)}  # fmt: skip
    return [(what, words(before), words(now)) for name, (what, words) in said.items() if name in before]


def _set_aside(content: Content) -> str:
    return "; ".join(f"{slide['slide_label']}: {slide['reason']}" for slide in content["set_aside"])


def _detectors(content: Content) -> str:
    return ", ".join(dict.fromkeys(f"{run['name']} {run['version']}".strip() for run in content["detectors"]))


def _reference(content: Content) -> str:
    count = content["reference"]
    return " and ".join(count["readers"]) if count else ""


def _verified(content: Content) -> str:
    return sentence_of(content["verification"])


def _slides(content: Content) -> str:
    return ", ".join(dict.fromkeys(image["slide_label"] for image in content["images"]))


def _rules(content: Content) -> str:
    version = content["policies"]["version"]
    return f"version {version}" if version else "defaults"


def _text(value: Any) -> str:
    if isinstance(value, dict):  # the analyser's count
        return " ".join(str(part) for part in (value["value"], value["unit"], value["source"], value.get("at")) if part)
    return "" if value is None else str(value)


def _findings(before: Content, now: Content) -> list[Pair]:
    """One pair for each part of the film; a version that was signed before findings were kept said nothing of them."""
    if "findings" not in before:
        return []
    old, new = ({group["key"]: group for group in content.get("findings", [])} for content in (before, now))
    named = old | new
    return [(named[key]["name"], findings_words(old.get(key)), findings_words(new.get(key))) for key in named]
