"""What a reader must know beside the figures of a signed report, in sentences: HL7, FHIR and CSV say the same ones."""

from collections.abc import Iterator

from leukoweb.review.criticals import part as criticals
from leukoweb.review.history.words import delta_sentence
from leukoweb.review.reports.parts import Content, ReferencePart
from leukoweb.review.reports.verification import is_reviewed, sentence_of, verification_of


def notes_of(content: Content) -> list[str]:
    """Return the sentences in the order of the page."""
    return [
        *_amendment(content),
        *(f"{'URGENT: ' if flag['urgency'] == 'urgent' else ''}{flag['title']}. {flag['sentence']}"
          for flag in content["flags"]),
        *(criticals.sentence_of(critical) for critical in content.get("criticals", [])),
        *(delta_sentence(delta) for delta in content.get("deltas", [])),
        *(str(warning) for warning in content.get("cbc", {}).get("warnings", [])),
        *(str(limit) for limit in content["limits"]),
        *_choices(content),
        *_reference(content.get("reference")),
        *_slides(content),
        *_verification(content),
        *_origin(content),
    ]  # fmt: skip


def _amendment(content: Content) -> Iterator[str]:
    """Say why it was amended, which version it replaces, and what changed: old and new value."""
    report, before = content["report"], content.get("amendment")
    if report["amends_version"]:
        yield f"Corrected report, version {report['version']}: {report['amendment_reason']}"
    if before:
        yield f"It replaces version {before['version']}, signed by {before['signed_by']} on {before['signed_at']}."
        for change in before["changes"]:
            yield f"Changed: {change['what']}: {change['before']}; now {change['now']}"


def _choices(content: Content) -> Iterator[str]:
    """Say what the signer chose for this report."""
    report, counts = content["report"], content["counts"]
    if counts.get("LYA") and report["lya_meaning"]:
        yield f"Atypical lymphocytes: {report['lya_meaning']}."
    if report.get("smudge_as_lymphocytes"):
        yield f"{counts.get('KSC', 0)} smudge cells counted as lymphocytes: {report['smudge_reason']}"
    if report["left_shift_comment"]:
        yield report["left_shift_comment"]


def _reference(count: ReferencePart | None) -> Iterator[str]:
    if count:
        first, second = count["readers"]
        kappa = "" if count["kappa"] is None else f", kappa {count['kappa']:.2f}"
        total = count["differential"]["total"]
        yield f"Reference count of {total} leukocytes by {first} and {second}, read blind{kappa}."


def _slides(content: Content) -> Iterator[str]:
    for slide in content.get("set_aside") or []:
        yield f"{slide['slide_label']} was set aside and is no part of any figure: {slide['reason']}"
    for image in content["images"]:
        if image["warning"]:
            yield f"{image['slide_label']}: {image['warning']}"


def _verification(content: Content) -> Iterator[str]:
    verification = content.get("verification") or verification_of(content["cells"], 100.0)
    if not is_reviewed(verification) and verification["counted"]:
        yield sentence_of(verification)
    if note := content.get("signature", {}).get("reset"):
        yield note


def _origin(content: Content) -> Iterator[str]:
    """Say who answers for the report."""
    own = content["laboratory"]
    parts = [own["name"], ", ".join(own["address"].split("\n"))]
    for words, said in (("telephone", own.get("telephone")), ("director", own.get("director"))):
        parts += [f"{words} {said}"] if said else []
    yield f"Performed by {', '.join(part for part in parts if part)}."
    if content["product"]["is_research_use"]:
        yield "Research use, not a medical device."
