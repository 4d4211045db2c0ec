"""Critical results that must not be missed: bounds, typed counts, what ended untold, what is in force again (C7)."""

import pytest
from django.utils import timezone

from leukoweb.cases.blood_counts import store_blood_count
from leukoweb.cases.services import reject_case
from leukoweb.review.cells.decisions import current_cells, relabel_cells
from leukoweb.review.criticals.calls import close_critical
from leukoweb.review.criticals.escalation import escalate
from leukoweb.review.criticals.models import Critical
from leukoweb.review.criticals.rules import defaults
from leukoweb.review.findings.marking import Mark, mark_findings, undo_findings
from leukoweb.review.models import Report
from leukoweb.review.reports.signing import amend_report
from leukoweb.review.reports.withdrawing import cancel_amendment
from leukoweb.review.tasks import store_flags
from tests.test_criticals import BLASTS, call, count, policy
from tests.test_reports import acknowledge, post_signature, reviewed  # noqa: F401  a fixture

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(
    ("key", "sent", "unit", "critical"),
    [("WBC", "++++", "", "wbc_high"), ("WBC", ">100", "10*9/L", "wbc_high"), ("PLT", "<20", "10*9/L", "platelets_low"),
     ("PLT", "++++", "", None), ("HGB", "----", "", None)],
)  # fmt: skip
def test_a_value_over_the_range_and_a_bound_at_the_limit_are_critical(
    make_case, technologist, key, sent, unit, critical
):
    case = make_case()
    store_blood_count(case, count(sent, key, unit), by=technologist)
    store_flags()
    assert [c.key for c in Critical.objects.filter(case=case)] == ([critical] if critical else [])


def test_a_white_cell_count_that_a_person_typed_is_critical_like_that_of_an_analyser(make_case):
    case = make_case(wbc="250", wbc_unit="10*9/L", wbc_source="XN", wbc_at=timezone.now())
    store_flags()
    critical = Critical.objects.get(case=case)
    assert (critical.key, critical.fact["sentence"]) == ("wbc_high", "White blood cells: 250 × 10⁹/L (analyser).")


@pytest.mark.parametrize("ended", ["closed untold", "no longer", "rejected", "told"])
def test_first_time_only_is_about_what_was_told_not_about_what_ended_untold(
    make_case, make_slide, technologist, pathologist, ended, django_capture_on_commit_callbacks
):
    first, second = make_case("A-1"), make_case("A-2")
    make_slide(first, BLASTS)
    store_flags()
    make_slide(second, BLASTS)
    store_flags()
    critical = Critical.objects.get()
    cells = [cell for cell in current_cells(first) if cell.code == "MYO"]
    with django_capture_on_commit_callbacks(execute=True):
        if ended == "closed untold":
            close_critical(critical, by=pathologist, reason="The tubes were mixed up.")
        elif ended == "no longer":
            relabel_cells(cells, to="LYT", by=technologist)
        elif ended == "rejected":
            reject_case(first, by=technologist, reason="clotted")
            escalate()
        else:
            relabel_cells(cells, to="MYO", by=technologist)
            call(critical, by=technologist)
            close_critical(critical, by=technologist)
    store_flags()
    assert Critical.objects.filter(case=second).exists() is (ended != "told")


def test_a_withdrawn_amendment_leaves_what_was_signed_as_critical_as_it_was(reviewed, sign_in, pathologist):  # noqa: F811
    case = reviewed(BLASTS)
    client = sign_in(pathologist)
    acknowledge(client, case)
    post_signature(client, case, comment="Blasts.")
    draft = amend_report(Report.objects.get(), by=pathologist, reason="Looked again.")
    relabel_cells([cell for cell in current_cells(case) if cell.code == "MYO"], to="LYT", by=pathologist)
    assert not Critical.objects.filter(case=case).open().exists()
    cancel_amendment(draft, by=pathologist, reason="Wrong case.")
    assert [c.key for c in Critical.objects.filter(case=case).open()] == ["blasts"]


def test_a_finding_is_critical_from_the_limit_and_no_longer_when_it_is_taken_back(
    make_case, make_slide, pathologist, laboratory, admin
):  # fmt: skip
    row = defaults()[0] | {"key": "parasites", "title": "Parasites", "subject": "finding.parasites"}
    policy(laboratory, admin, rules=[*defaults(), row])
    case = make_case()
    make_slide(case, {"NGS": 100})
    mark_findings(case, [Mark("parasites", "not_seen"), Mark("schistocytes", "3")], by=pathologist)
    assert not case.criticals.exists()
    mark_findings(case, [Mark("parasites", "seen")], by=pathologist)
    critical = case.criticals.get()
    assert (critical.title, critical.fact["sentence"], critical.fact["code"]) == ("Parasites", "Parasites: seen.", "AA")
    case.refresh_from_db()
    assert case.flags[0]["title"] == "Critical: Parasites"
    undo_findings(case, by=pathologist)
    assert case.criticals.get().no_longer.change_words == "finding parasites marked by Paul"
