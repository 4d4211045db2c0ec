"""The seal of a signed report: canonical JSON, a digest for each section, and a chain of SHA-256.

A bundle is everything that is needed to verify one report offline. The seal covers the digests of all sections and the
seal before it, so a changed byte is found, and the section that holds it is named.

References
----------
21 CFR 11.70: signatures shall be linked to their records so that they cannot be excised, copied or transferred.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from typing import Any, cast

from leukoweb import __version__
from leukoweb.given import json_of
from leukoweb.refusals import Refused
from leukoweb.review.counting.differential import Differential
from leukoweb.review.counting.flags import flags_of, sentences_of
from leukoweb.review.counting.policies import rules_from
from leukoweb.review.counting.stored import counted_again, of_today, without_exact_shares
from leukoweb.review.reports.parts import Content
from leukoweb.review.reports.verification import verification_of

FORMAT = "leukoweb-report/1"
FIRST = "0" * 64
_PARTS = {"format", "content", "sections", "sequence", "previous_seal", "seal"}


def canonical(value: object) -> bytes:
    """Return the one byte string of a JSON value: sorted keys, no spaces, UTF-8; NaN raises ValueError."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def digest(value: object) -> str:
    """Return the SHA-256 of a JSON value as 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def seal_of(content: Content, *, sequence: int, previous_seal: str) -> str:
    """Return the seal of a report's content.

    Parameters
    ----------
    content : dict
        JSON values, section name to section.
    sequence : int
        The place in the laboratory's chain, from 1.
    previous_seal : str
        The seal at the place before; FIRST at place 1.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    return _seal({name: digest(section) for name, section in content.items()}, sequence, previous_seal)


def bundle_of(content: Content, *, sequence: int, previous_seal: str, seal: str) -> dict:
    """Return what is exported: the content, the digest of each section, and the seal with its place in the chain."""
    return {
        "format": FORMAT,
        "content": content,
        "sections": {name: digest(section) for name, section in content.items()},
        "sequence": sequence,
        "previous_seal": previous_seal,
        "seal": seal,
    }


def problems_of(raw: bytes, *, expected_seal: str | None = None) -> list[str]:
    """Verify an exported bundle without any database.

    Parameters
    ----------
    raw : bytes
        The file.
    expected_seal : str, optional
        The seal as it is printed on paper or kept elsewhere: only it unmasks a forger who made a new seal.

    Returns
    -------
    list of str
        What differs, in sentences; empty when the bundle is what was signed.
    """
    try:
        bundle = json_of(raw, most_bytes=len(raw))
    except Refused:
        return ["The file is not readable as JSON: it is no report bundle, or it was damaged."]
    if not isinstance(bundle, dict) or bundle.get("format") != FORMAT or set(bundle) != _PARTS:
        return [f"The file is no report bundle of the format {FORMAT}, or parts of it were removed, added or renamed."]
    content, sections = bundle["content"], bundle["sections"]
    if not isinstance(content, dict) or not isinstance(sections, dict):
        return ["The bundle has no readable content."]
    try:
        problems = _altered_sections(content, sections)
        if _seal(sections, bundle["sequence"], bundle["previous_seal"]) != bundle["seal"]:
            problems.append("The seal does not fit the sections, the place in the chain and the seal before it.")
    except (ValueError, RecursionError):
        return ["The bundle holds values that no report has."]
    problems += disagreements(cast(Content, content))
    if expected_seal and expected_seal.strip().lower() != bundle["seal"]:
        problems.append("The seal of the bundle is not the expected one.")
    return problems


def disagreements(content: Content) -> list[str]:
    """Replay a report's decisions and count again: say where labels, counts or figures do not follow from them (S4)."""
    try:
        return _replayed(content)
    except (KeyError, TypeError, AttributeError, ValueError, Refused, ZeroDivisionError) as error:
        return [f"The decisions cannot be replayed ({type(error).__name__})."]


def differences(before: object, after: object, path: str = "") -> list[str]:
    """Return where two JSON values differ, one line for each place, in the order of the first."""
    if isinstance(before, dict) and isinstance(after, dict):
        keys = [*before, *(key for key in after if key not in before)]
        return [
            line
            for key in keys
            for line in differences(before.get(key), after.get(key), f"{path}.{key}" if path else str(key))
        ]
    if isinstance(before, list) and isinstance(after, list) and len(before) == len(after):
        return [
            line
            for number, (one, other) in enumerate(zip(before, after), 1)
            for line in differences(one, other, f"{path}[{number}]")
        ]
    if isinstance(before, list) and isinstance(after, list):
        return [f"{path}: {len(before)} entries against {len(after)}"]
    return [] if canonical(before) == canonical(after) else [f"{path}: {_short(before)} against {_short(after)}"]


def _seal(sections: Mapping[str, Any], sequence: int, previous_seal: str) -> str:
    return digest({"format": FORMAT, "sections": sections, "sequence": sequence, "previous_seal": previous_seal})


def _altered_sections(content: Mapping[str, Any], sections: Mapping[str, Any]) -> list[str]:
    """Name the sections that are not what their digests say."""
    problems = [f"The section “{name}” was removed." for name in sections if name not in content]
    for name, section in content.items():
        if name not in sections:
            problems.append(f"The section “{name}” was added.")
        elif digest(section) != sections[name]:
            problems.append(f"The section “{name}” was changed after signing.")
    return problems


def _replayed(content: Content) -> list[str]:
    """Compare the label of each cell with its last decision, and the counts with the labels."""
    problems: list[str] = []
    counts: Counter[str] = Counter()
    for cell in content["cells"]:
        label = cell["detector_code"]
        for decision in cell["decisions"]:
            label = decision["to"] or cell["detector_code"]
        if label != cell["code"]:
            problems.append(f"Cell {cell['id']} is labelled {cell['code']}, but its decisions end at {label}.")
        if cell["code"]:
            counts[cell["code"]] += 1
    stored = {code: count for code, count in content["counts"].items() if count}
    for code in sorted(set(counts) | set(stored)):
        if counts[code] != stored.get(code, 0):
            problems.append(f"{code}: the report counts {stored.get(code, 0)}, its cells are {counts[code]}.")
    if problems:
        return problems
    recounted = counted_again(content, counts, rules_from(content["policies"]["rules"]))
    again = recounted.as_dict()
    problems = _verification_disagrees(content) + _calls_disagree(content, recounted)
    # A newer version of the product may say more about a row, never something else.
    stored = of_today(content["differential"])
    if "age" not in content["patient"]:  # signed before version 1.3
        again = without_exact_shares(again, stored)
    stored, again = _without_names(stored), _without_names(again)
    found = differences(_as_far_as(stored, again), stored, "differential")
    return problems + [f"Counted again: {line}." for line in found]


def _calls_disagree(content: Content, recounted: Differential) -> list[str]:
    """Raise the flags and limits again; only of a report of this version, as another one may word them otherwise."""
    if content["product"]["version"] != __version__:
        return []
    confirmed = Counter(cell["code"] for cell in content["cells"] if cell["decisions"] and cell["decisions"][-1]["to"])
    flags = [
        {"title": f.title, "sentence": f.report, "urgency": f.urgency, "codes": list(f.codes)}
        for f in flags_of(recounted, confirmed=confirmed, lya_meaning=content["report"]["lya_meaning"])
    ]
    stored = [{name: flag[name] for name in ("title", "sentence", "urgency", "codes")} for flag in content["flags"]]
    limits = [said.report for said in sentences_of(recounted) if said.report]
    # Warnings about the analyser's count follow the limits: they look at times that a count does not have.
    found = differences(flags, stored, "flags") + differences(limits, content["limits"][: len(limits)], "limits")
    return [f"Raised again: {line}." for line in found]


def _verification_disagrees(content: Content) -> list[str]:
    """Count the verified cells again; a report of version 1.2 and before does not have the section."""
    if "verification" not in content:
        return []
    stored, least = content["verification"], content["policies"]["rules"]["least_verified"]
    again = verification_of(content["cells"], least)
    numbers = [
        ("counted", stored["counted"], again["counted"]),
        ("verified", stored["verified"], again["verified"]),
        ("needed", stored["needed"], again["needed"]),
    ]
    return [
        f"The report says {said} cells {name}, its decisions say {number}."
        for name, said, number in numbers
        if said != number
    ]


def _without_names(value: Any) -> Any:
    """Return figures without the names of their rows: a version may word a cell type otherwise, never count it so."""
    if isinstance(value, dict):
        return {key: _without_names(inner) for key, inner in value.items() if key != "name"}
    return [_without_names(inner) for inner in value] if isinstance(value, list) else value


def _as_far_as(stored: Any, again: Any) -> Any:
    """Return the second value without the keys that the first one does not have."""
    if isinstance(stored, dict) and isinstance(again, dict):
        return {key: _as_far_as(stored[key], again.get(key)) for key in stored}
    if isinstance(stored, list) and isinstance(again, list) and len(stored) == len(again):
        return [_as_far_as(one, other) for one, other in zip(stored, again)]
    return again


def _short(value: object) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 80 else f"{text[:77]}…"
