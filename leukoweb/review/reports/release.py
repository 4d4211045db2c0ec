"""Who may release a report: the role and the laboratory's conditions, and the second pair of eyes it asks for.

A technologist releases only where the laboratory says so, and only a first report that meets every condition below.
"""

from collections.abc import Iterator
from typing import Any

from django.db import models
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from detection.cell_types import BY_CODE, NOT_A_CELL
from leukoweb.accounts.models import User
from leukoweb.cases.cbc import PARAMETERS
from leukoweb.cases.models import Case
from leukoweb.review.cells.decisions import evidence_of
from leukoweb.review.counting.differential import is_changed
from leukoweb.review.counting.flag_rules import NOTE
from leukoweb.review.counting.policies import FOUR_EYES_NEVER, FOUR_EYES_NOT_FLAGGED, RELEASE_TECHNOLOGIST, Rules
from leukoweb.review.reports.parts import CellPart, Content
from leukoweb.review.urgency import GRAVEST

CBC_NEEDED = ("WBC", "HGB", "PLT")


class Condition(models.TextChoices):
    """What a technologist's release needs; each that is not met is said."""

    FIRST = "first", gettext_lazy("a first report, no amendment")
    NO_FLAG = "no_flag", gettext_lazy("no flag and no critical result")
    NO_GRAVE = "no_grave", gettext_lazy("no cell of a grave type")
    EVIDENCE = "evidence", gettext_lazy("good evidence for every counted type")
    COUNT = "count", gettext_lazy("enough leukocytes")
    NO_DELTA = "no_delta", gettext_lazy("no change against the previous result")
    CBC = "cbc", gettext_lazy("a complete blood count")


def may_release(by: User, rules: Rules) -> bool:
    """Say whether a person's role may release reports at all under the laboratory's rules."""
    return by.can("sign_report") or (rules.release == RELEASE_TECHNOLOGIST and by.can("release_report"))


def unmet_conditions(case: Case, content: Content, rules: Rules) -> dict[Condition, str]:
    """Return which conditions of a technologist's release are not met, each with what is wrong."""
    return dict(_unmet(case, content, rules))


def _unmet(case: Case, content: Content, rules: Rules) -> Iterator[tuple[Any, str]]:
    if content["report"]["amends_version"] is not None:
        yield Condition.FIRST, _("an amendment is released by a pathologist")
    raised = [*[flag["title"] for flag in content["flags"]], *[c["title"] for c in content.get("criticals", [])]]
    if raised:
        yield Condition.NO_FLAG, ", ".join(dict.fromkeys(raised))
    counted = [code for code, count in content["counts"].items() if count and code != NOT_A_CELL]
    if grave := [code for code in counted if code in GRAVEST and code in BY_CODE]:
        yield Condition.NO_GRAVE, ", ".join(BY_CODE[code].name for code in grave)
    evidence = evidence_of(case)
    if weak := [code for code in counted if code in BY_CODE and evidence.levels.get(code) != "good"]:
        yield Condition.EVIDENCE, ", ".join(BY_CODE[code].name for code in weak)
    total = content["differential"]["total"]
    if total < rules.release_least_count:
        yield Condition.COUNT, _("%(total)d of %(needed)d") % {"total": total, "needed": rules.release_least_count}
    if changed := _changed(content):
        yield Condition.NO_DELTA, ", ".join(changed)
    if rules.release_needs_cbc:
        values = {value["key"]: value["amount"] for value in content["cbc"]["values"]} if "cbc" in content else {}
        if missing := [PARAMETERS[key].name for key in CBC_NEEDED if values.get(key) is None]:
            yield Condition.CBC, ", ".join(missing)


def _changed(content: Content) -> list[str]:
    """Return the figures whose 95 % interval does not overlap the one of the previous result (C2), and the alarms."""
    previous = content.get("previous")
    figures = previous["figures"] if previous else {}
    rows = [*content["differential"]["rows"], *content["differential"]["groups"].values()]
    changed = [row["name"] for row in rows if row["key"] in figures and is_changed(figures[row["key"]], row)]
    return changed + [alarm["title"] for alarm in content.get("deltas", [])]


def cells_seen_alone(content: Content, by: User, rules: Rules) -> int:
    """Return how many counted cells nobody but this person verified, where the rules ask for a second pair of eyes."""
    is_flagged = any(flag["urgency"] != NOTE for flag in content["flags"]) or "criticals" in content
    if rules.four_eyes != FOUR_EYES_NEVER and not (rules.four_eyes == FOUR_EYES_NOT_FLAGGED and is_flagged):
        return 0
    return sum(_is_seen_alone(cell, by.username) for cell in content["cells"] if cell["code"] not in ("", NOT_A_CELL))


def _is_seen_alone(cell: CellPart, username: str) -> bool:
    return bool(cell["decisions"]) and all(d["by"] == username for d in cell["decisions"] if d["to"])
