"""Why a person must look at what a detector found: by type, by score, and by what the card says of the type.

Pure. What a cell could change in a report is left to the review.
"""

from detection.cell_types import BLASTS, PROMYELOCYTES

LOW_SCORE = 0.6
GRAVE = (*BLASTS, *PROMYELOCYTES)  # one such cell sends the case to the pathologist (C7)
UNPROVEN = ("none", "weak")


def reasons_to_look_at(code: str, score: float | None, evidence: str) -> list[str]:
    """Say why a person must look at a finding of this type and score; [] when nothing speaks for it.

    `evidence` is what the card says of the type: none, weak, fair or good. The weightiest reason is first.
    """
    reasons = []
    if code in GRAVE:
        reasons.append("blast or promyelocyte")
    if evidence in UNPROVEN:
        reasons.append(f"{'no' if evidence == 'none' else evidence} evidence for this type")
    if score is not None and score < LOW_SCORE:
        reasons.append("low score")
    return reasons
