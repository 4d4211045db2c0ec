"""Who finds which case where, in what order; hand over and return (states of a case, C7)."""

import re
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from leukoweb.analysis.detectors import active_detector
from leukoweb.analysis.models import Run
from leukoweb.analysis.services import claim_run, store_result
from leukoweb.cases.models import Case, Slide
from leukoweb.review.cells.decisions import current_cells, relabel_cell, undo_last
from leukoweb.review.counting.policies import Rules, rules_from
from leukoweb.review.criticals.calls import close_critical
from leukoweb.review.criticals.models import Critical
from leukoweb.review.criticals.policies import save_critical_policy
from leukoweb.review.models import Acknowledgement, HandOver
from leukoweb.review.reports.signing import draft_of, edit_draft
from leukoweb.review.services import save_policy
from leukoweb.review.tasks import store_flags
from leukoweb.review.urgency import cases_that_differ, work_out_flags
from leukoweb.review.worklist import FIRST, FURTHER, MOST


def listed(client, tab="open", **query):
    """Return the accession numbers of a tab in the order of the page."""
    page = client.get(reverse("worklist"), {"tab": tab, **query})
    return [row.case.accession_number for row in page.context["rows"]]


def tabs(client):
    """Return the number of cases of each tab that has any, without the tab of all."""
    page = client.get(reverse("worklist"))
    return {key: count for key, _, count, *_ in page.context["tabs"] if count and key != "open"}


def test_urgent_comes_first_then_stat_then_the_oldest(make_case, make_slide, sign_in, pathologist):
    """C7."""
    ago = timezone.now() - timedelta(hours=1)
    for number, cells, fields in (
        ("NEW", {"NGS": 5}, {}),
        ("OLD", {"NGS": 5}, {"received_at": ago}),
        ("STAT", {"NGS": 5}, {"priority": "stat"}),
        ("BLAST", {"NGS": 5, "MYO": 1}, {}),
    ):
        make_slide(make_case(number, **fields), cells)
    assert listed(sign_in(pathologist), "to_review") == ["BLAST", "STAT", "OLD", "NEW"]


@pytest.mark.slow
def test_only_the_receipt_of_a_pathologist_ends_the_urgency(make_case, make_slide, sign_in, technologist, pathologist):
    """C7: two receipts; the bench's is shown and changes no order."""
    case = make_case("BLAST")
    make_slide(case, {"NGS": 99, "MYO": 1})
    make_slide(make_case("STAT", priority="stat"), {"NGS": 5})
    client = sign_in(technologist)
    for _ in range(2):
        client.post(reverse("flag_acknowledge", args=[case.pk]), {"flag": "blasts"})
    assert Acknowledgement.objects.get().receipt == "bench"
    assert listed(client, "to_review") == ["BLAST", "STAT"]
    client = sign_in(pathologist)
    page = client.get(reverse("case_detail", args=[case.pk])).content.decode()
    assert "Bench: Tess" in page
    assert "Urgent until a pathologist acknowledges it" in page
    client.post(reverse("flag_acknowledge", args=[case.pk]), {"flag": "blasts"})
    assert {a.receipt: a.acknowledged_by for a in Acknowledgement.objects.all()} == {
        "bench": technologist, "pathologist": pathologist,
    }  # fmt: skip
    assert not any(flag["is_open"] for flag in Case.objects.get(pk=case.pk).flags if flag["key"] != "critical")
    critical = Critical.objects.get(case=case)
    close_critical(critical, by=pathologist, reason="Known to the ward.")
    assert listed(client, "to_review") == ["STAT", "BLAST"]


def test_a_flag_that_does_not_stand_cannot_be_acknowledged(make_case, make_slide, sign_in, pathologist):
    case = make_case()
    make_slide(case, {"NGS": 100})
    answer = sign_in(pathologist).post(reverse("flag_acknowledge", args=[case.pk]), {"flag": "blasts"}, follow=True)
    assert "no longer raised" in answer.content.decode()
    assert not Acknowledgement.objects.exists()


@pytest.mark.slow
def test_handing_over_and_returning_goes_back_to_who_handed_over(
    make_case, make_slide, sign_in, technologist, pathologist
):
    case = make_case("A-1")
    make_slide(case, {"NGS": 100})
    client = sign_in(technologist)
    client.post(reverse("case_hand_over", args=[case.pk]), {"confirmed": "yes"})
    assert (tabs(client), listed(client, "to_sign")) == ({"to_sign": 1}, ["A-1"])
    client = sign_in(pathologist)
    assert (tabs(client), listed(client, "to_sign")) == ({"to_sign": 1}, ["A-1"])
    client.post(reverse("case_return", args=[case.pk]), {"reason": " "})
    assert HandOver.objects.get().returned_at is None
    client.post(reverse("case_return", args=[case.pk]), {"reason": "Count 100 more."})
    client = sign_in(technologist)
    assert (tabs(client), listed(client, "mine")) == ({"mine": 1, "returned": 1}, ["A-1"])
    assert "Count 100 more." in client.get(reverse("worklist")).content.decode()
    assert "Count 100 more." in client.get(reverse("case_detail", args=[case.pk])).content.decode()
    client.post(reverse("case_hand_over", args=[case.pk]), {"confirmed": "yes"})
    assert HandOver.objects.filter(returned_at=None).count() == 1


@pytest.mark.parametrize("times", [1, 2])
def test_handing_over_twice_hands_over_once(make_case, make_slide, sign_in, technologist, times):
    case = make_case()
    make_slide(case, {"NGS": 100})
    client = sign_in(technologist)
    for _ in range(times):
        client.post(reverse("case_hand_over", args=[case.pk]), {"confirmed": "yes"})
    assert HandOver.objects.count() == 1


def test_a_case_of_which_nothing_was_reviewed_is_handed_over_only_when_that_is_confirmed(
    make_case, make_slide, sign_in, technologist
):
    """H11."""
    case, client = make_case(), sign_in(technologist)
    make_slide(case, {"NGS": 100})
    assert "none of the 100 cells is verified" in client.get(reverse("case_detail", args=[case.pk])).content.decode()
    answer = client.post(reverse("case_hand_over", args=[case.pk]), follow=True)
    assert "None of the 100 cells is verified" in answer.content.decode()
    assert not HandOver.objects.exists()
    answer = client.post(reverse("case_hand_over", args=[case.pk]), {"confirmed": "yes"}, follow=True)
    assert "Handed over with 0 of 100 cells verified" in answer.content.decode()


@pytest.mark.slow
def test_the_sender_takes_a_case_back_and_nobody_else_does(make_case, make_slide, sign_in, technologist, pathologist):
    """H11."""
    case, client = make_case("A-1"), sign_in(technologist)
    make_slide(case, {"NGS": 100})
    client.post(reverse("case_hand_over", args=[case.pk]), {"confirmed": "yes"})
    answer = sign_in(pathologist).post(reverse("case_take_back", args=[case.pk]), follow=True)
    assert "Only the sender can recall" in answer.content.decode()
    client = sign_in(technologist)
    assert "Recall" in client.get(reverse("case_detail", args=[case.pk])).content.decode()
    client.post(reverse("case_take_back", args=[case.pk]))
    assert (tabs(client), listed(client, "to_review")) == ({"to_review": 1}, ["A-1"])
    page = client.get(reverse("case_detail", args=[case.pk])).content.decode()
    assert "took the case back" in page
    assert "Returned to" not in page
    answer = client.post(reverse("case_take_back", args=[case.pk]), follow=True)
    assert "nothing to recall" in answer.content.decode()


def test_a_technologist_cannot_return_and_a_case_without_slides_cannot_be_handed_over(make_case, sign_in, technologist):
    case = make_case()
    client = sign_in(technologist)
    assert client.post(reverse("case_return", args=[case.pk]), {"reason": "x"}).status_code == 403
    client.post(reverse("case_hand_over", args=[case.pk]), {"confirmed": "yes"})
    assert not HandOver.objects.exists()


def test_nothing_of_another_laboratory_is_on_the_list(make_case, make_slide, sign_in, outsider):
    make_slide(make_case(), {"NGS": 5})
    client = sign_in(outsider)
    assert (tabs(client), listed(client)) == ({}, [])


def test_nothing_is_signed_from_the_list(make_case, make_slide, sign_in, pathologist):
    """S10: the list only opens cases; no form of it leads to a signature."""
    make_slide(make_case(), {"NGS": 100})
    page = sign_in(pathologist).get(reverse("worklist")).content.decode()
    actions = re.findall(r'<form[^>]* action="([^"]*)"', page)
    assert set(actions) == {reverse("sign_out"), "?tab=open"}


def lay_out(case_of, number, *, first=0):
    """Register many cases at once, each with a slide that has been read."""
    like = case_of("FIRST" if not first else f"FIRST-{first}")
    cases = Case.objects.bulk_create(
        Case(
            laboratory=like.laboratory, patient=like.patient, registered_by=like.registered_by,
            accession_number=f"N-{first + n}", received_at=timezone.now() - timedelta(days=2),
        )
        for n in range(number)
    )  # fmt: skip
    slides = Slide.objects.bulk_create(Slide(case=case, uploaded_by=like.registered_by) for case in cases)
    Run.objects.bulk_create(Run(slide=slide, state=Run.State.DONE) for slide in slides)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # as the database does by itself soon after so many new rows
    return cases


@pytest.mark.slow
def test_an_urgent_case_is_first_behind_1200_older_ones_and_costs_no_more_queries_than_behind_50(
    make_case, make_slide, sign_in, pathologist
):
    """C7: flags decide before any cut, by a stored level."""
    case = make_case("BLAST")
    make_slide(case, {"NGS": 5, "MYO": 1})
    lay_out(make_case, 50)
    store_flags()
    client = sign_in(pathologist)
    client.get(reverse("worklist"))
    with CaptureQueriesContext(connection) as few:
        assert listed(client)[0] == "BLAST"
    lay_out(make_case, 1200, first=50)
    work_out_flags()
    client.get(reverse("worklist"))
    with CaptureQueriesContext(connection) as many:
        page = client.get(reverse("worklist"))
    assert len(many) == len(few) <= 12
    assert not [query["sql"] for query in many if 'INNER JOIN "accounts_laboratory"' in query["sql"]]
    rows = page.context["rows"]
    assert (rows[0].case.accession_number, rows[0].line.is_urgent, len(rows)) == ("BLAST", True, FIRST)
    link = f'<a href="?tab=open&amp;rows={FIRST + FURTHER}">Show further cases ({1253 - FIRST})</a>'
    assert link in page.content.decode()
    page = client.get(reverse("worklist"), {"rows": MOST})
    assert (len(page.context["rows"]), f"The first {MOST} cases are shown" in page.content.decode()) == (MOST, True)


def test_as_many_rows_are_shown_as_the_reader_scrolled_to(make_case, sign_in, pathologist):
    lay_out(make_case, 44)
    store_flags()
    client = sign_in(pathologist)
    wrong = {"", "1", "9" * 20, "-1", "²"}
    for asked, shown in ({"41": 41, "46": 45} | dict.fromkeys(wrong, FIRST)).items():
        assert len(listed(client, rows=asked)) == shown, asked


def test_a_decision_asks_for_no_slides_and_films_that_the_stored_flags_do_not_need(make_case, make_slide, technologist):
    case = make_case("FEW-1")
    make_slide(case, {"NGS": 3})
    with CaptureQueriesContext(connection) as asked:
        relabel_cell(current_cells(case)[0], to="MYO", by=technologist)
    texts = [query["sql"] for query in asked]
    assert any('SET "flag_level"' in text for text in texts)
    assert not [text for text in texts if "analysis_imageresult" in text or '."is_shadow"' in text and "FILTER" in text]


def test_the_worklist_is_not_compiled_by_postgresql(db):
    """Its one query over all open cases is asked every few seconds: compiling takes three times as long as running."""
    if connection.vendor != "postgresql":
        pytest.skip("PostgreSQL only")
    with connection.cursor() as cursor:
        cursor.execute("SHOW jit")
        assert cursor.fetchone() == ("off",)


@pytest.mark.slow
def test_an_urgent_case_is_first_also_before_the_worker_has_stored_its_flags(
    make_case, make_slide, sign_in, pathologist
):
    lay_out(make_case, 250)
    case = make_case("BLAST")
    make_slide(case, {"NGS": 5, "MYO": 1})
    assert Case.objects.get(pk=case.pk).flag_level is None
    assert listed(sign_in(pathologist))[0] == "BLAST"
    assert Case.objects.get(pk=case.pk).flag_level is None  # reading a page writes nothing


@pytest.mark.slow
def test_cases_without_a_slide_stand_apart_and_push_no_other_off_the_list(make_case, make_slide, sign_in, pathologist):
    like = make_case("BARE")
    Case.objects.bulk_create(
        Case(laboratory=like.laboratory, patient=like.patient, registered_by=like.registered_by,
             accession_number=f"N-{n}", received_at=timezone.now() - timedelta(days=2))
        for n in range(250)
    )  # fmt: skip
    make_slide(make_case("REAL"), {"NGS": 5})
    client = sign_in(pathologist)
    assert (len(listed(client)), listed(client)[0]) == (FIRST, "REAL")
    assert tabs(client) == {"to_review": 1, "no_slide": 251}


def test_each_case_is_judged_by_the_policy_of_its_own_laboratory(
    make_case, make_slide, admin, other_laboratory, outsider
):
    """One laboratory calls 4 % blasts, the other does not; each case keeps its own, whichever is counted first."""
    rules = rules_from({"flag_rules": [row for row in Rules().flag_rules if not row["key"].startswith("blasts")]})
    save_policy(other_laboratory, rules, reason="Own study", by=outsider)
    save_critical_policy(
        other_laboratory,
        rules=[],
        minutes=30,
        people=[],
        webhook="",
        exception_days=90,
        reason="Own study",
        by=outsider,
    )
    cases = [make_case("HERE")]
    theirs = cases[0].patient.__class__.objects.create(laboratory=other_laboratory, mrn="M-1", name="Else, Some")
    cases.insert(0, make_case("THERE", laboratory=other_laboratory, patient=theirs))
    for case in cases:
        make_slide(case, {"NGS": 96, "MYO": 4})
    work_out_flags()
    levels = dict(Case.objects.values_list("accession_number", "flag_level"))
    assert levels == {"HERE": 3, "THERE": 0}


@pytest.mark.slow
def test_the_stored_flags_are_those_of_the_cells_after_each_kind_of_change(
    make_case, make_slide, sign_in, technologist, pathologist, admin, laboratory
):
    """Labels, undo, a receipt, the WBC, the birth date, the signer's choices, a policy and a new result."""
    case = make_case(wbc="8.0", wbc_unit="10*9/L", wbc_source="XN", wbc_at=timezone.now())
    make_slide(case, {"NGS": 94, "LYA": 2, "KSC": 30, "MYO": 1})
    work_out_flags()

    def titles():
        store_flags()
        assert cases_that_differ() == []
        now = Case.objects.get(pk=case.pk)
        return now.flag_level, {flag["title"] for flag in now.flags}

    assert titles() == (3, {"Critical: Blasts", "Blasts", "Smudge cells"})
    blast = current_cells(case).get(detector_code="MYO")
    relabel_cell(blast, to="NGS", by=technologist)
    assert Case.objects.get(pk=case.pk).flag_level == 1  # at once, in the same transaction
    assert titles() == (1, {"Smudge cells"})
    undo_last(case, by=technologist)
    assert titles()[0] == 3
    close_critical(Critical.objects.filter(case=case).last(), by=pathologist, reason="Known to the ward.")
    assert Case.objects.get(pk=case.pk).flag_level == 3
    sign_in(pathologist).post(reverse("flag_acknowledge", args=[case.pk]), {"flag": "blasts"})
    assert Case.objects.get(pk=case.pk).flag_level == 2
    assert titles()[0] == 2
    form = sign_in(technologist).get(reverse("case_edit", args=[case.pk])).context["form"].initial
    page = {name: "" if value is None else value for name, value in form.items()} | {
        "mrn": "M-77", "name": "", "wbc": "0.4", "wbc_at": timezone.localtime().strftime("%Y-%m-%dT%H:%M"),
        "received_at": timezone.localtime(case.received_at).strftime("%Y-%m-%dT%H:%M"), "collected_at": "",
    }  # fmt: skip
    assert sign_in(technologist).post(reverse("case_edit", args=[case.pk]), page).status_code == 302
    assert {"Neutropenia", "Leukopenia"} <= titles()[1]
    edit_draft(draft_of(case, by=pathologist), by=pathologist, lya_meaning="abnormal")
    assert "Abnormal lymphocytes" in titles()[1]
    rules = rules_from({"flag_rules": [row for row in Rules().flag_rules if row["title"] != "Smudge cells"]})
    save_policy(laboratory, rules, reason="Albumin films are made always.", by=admin)
    assert "Smudge cells" not in titles()[1]
    slide = Slide.objects.create(case=case, uploaded_by=technologist)
    run = claim_run(Run.objects.create(slide=slide).pk, task_id="1", max_attempts=3)
    assert store_result(run, detector=active_detector(), computed_on={}, results=[])
    assert Case.objects.get(pk=case.pk).flag_level is None  # forgotten with the result, not later
    titles()


def test_the_command_finds_and_mends_a_stored_flag_that_is_wrong(make_case, make_slide, capsys):
    case = make_case()
    make_slide(case, {"NGS": 5, "MYO": 1})
    call_command("recompute_flags")
    call_command("recompute_flags", "--check")
    Case.objects.filter(pk=case.pk).update(flag_level=0, flags=[])
    with pytest.raises(CommandError, match=f"number {case.pk}"):
        call_command("recompute_flags", "--check")
    call_command("recompute_flags")
    assert Case.objects.get(pk=case.pk).flag_level == 3


def test_a_case_has_a_place_in_the_list_that_its_reader_came_from(make_case, make_slide, sign_in, pathologist):
    first, second, third = (make_case(number, priority=priority) for number, priority in
                            (("A", "stat"), ("B", "routine"), ("C", "routine")))  # fmt: skip
    for case in (first, second, third):
        make_slide(case, {"NGS": 5})
    client = sign_in(pathologist)

    def place(case, **query):
        return client.get(reverse("case_place", args=[case.pk]), query).json()

    address = {case: reverse("workbench", args=[case.pk]) for case in (first, second, third)}
    assert place(second) == {"number": 2, "all": 3, "previous": address[first], "next": address[third]}
    assert place(first, tab="to_review", stat="1") == {"number": 1, "all": 1, "previous": None, "next": None}
    assert place(second, stat="1") == {"number": None, "all": 1, "previous": None, "next": None}
    assert place(third, tab="none such")["number"] == 3
