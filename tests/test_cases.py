"""Pages of cases: list, search, register, edit, reject; with many rows, for another laboratory, without script."""

from datetime import timedelta

import pytest
from django.utils import timezone

from leukoweb.audit.models import Event
from leukoweb.cases.models import STATES, Case, Patient

FORM = {
    "accession_number": "H26-0099",
    "priority": "stat",
    "stain": "Wright",
    "collected_at": "2026-11-20T07:30",
    "received_at": "2026-11-20T08:10",
    "clinical_note": "fever",
    "mrn": "M-900",
    "name": "Ottilie Beispiel",
    "sex": "F",
    "birth_date": "1958-02-01",
    "wbc": "17.4",
    "wbc_unit": "10*9/L",
    "wbc_source": "XN-1000",
    "wbc_at": "2026-11-20T08:20",
}


@pytest.fixture
def many(laboratory, technologist):
    """Register many cases at once, one patient for four of them, a minute apart."""

    def make(count):
        patients = Patient.objects.bulk_create(
            Patient(laboratory=laboratory, mrn=f"P-{n:06}", name=f"Person {n % 997:03} of {n:06}")
            for n in range(count // 4)
        )
        start = timezone.now() - timedelta(minutes=count)
        Case.objects.bulk_create(
            [
                Case(
                    laboratory=laboratory,
                    patient=patients[n % len(patients)],
                    accession_number=f"B{n:06}",
                    priority="stat" if n % 50 == 0 else "routine",
                    received_at=start + timedelta(minutes=n),
                    registered_by=technologist,
                )
                for n in range(count)
            ],
            batch_size=2000,
        )

    return make


def numbers(page):
    """The accession numbers on a page, in order."""
    return [case.accession_number for case in page.context["page"].cases]


def test_a_technologist_registers_a_case_and_the_upload_page_comes_next(sign_in, technologist):
    client = sign_in(technologist)
    assert client.get("/cases/new/").status_code == 200
    answer = client.post("/cases/new/", FORM)
    case = Case.objects.get()
    assert answer["Location"] == f"/cases/{case.pk}/slides/new/"
    assert (case.accession_number, case.priority, case.patient.mrn, float(case.wbc)) == (
        "H26-0099",
        "stat",
        "M-900",
        17.4,
    )
    assert case.registered_by == technologist
    assert list(Event.objects.values_list("action", flat=True))[:2] == ["case.register", "patient.register"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"accession_number": "A?1"}, "letters (A to Z)"),
        ({"accession_number": "A 1/"}, "letters (A to Z)"),
        ({"accession_number": ""}, "This field is required"),
        ({"mrn": ""}, "This field is required"),
        ({"name": ""}, "enter the patient&#x27;s name"),
        ({"name": "A\u202eB"}, "one line"),
        ({"wbc_unit": ""}, "Give the unit"),
        ({"wbc": "many"}, "Enter a number"),
        ({"wbc": "-1"}, "greater than or equal to 0"),
        ({"collected_at": "2026-11-21T07:30"}, "collected after it was received"),
        ({"received_at": "2999-01-01T00:00", "collected_at": ""}, "lies in the future"),
        ({"birth_date": "2999-01-01"}, "birth date lies in the future"),
        ({"birth_date": "31.31.1999"}, "Enter a valid date"),
        ({"priority": "soon"}, "not one of the available choices"),
        ({"sex": "X"}, "not one of the available choices"),
    ],
)
def test_a_wrong_field_is_said_at_the_field_and_nothing_is_stored(sign_in, technologist, change, words):
    page = sign_in(technologist).post("/cases/new/", FORM | change)
    assert page.status_code == 200
    assert words in page.content.decode()
    assert not Case.objects.exists()
    assert not Patient.objects.exists()
    assert not Event.objects.filter(action__contains="register").exists()


def test_a_number_that_is_taken_and_an_mrn_of_another_person_are_refused(sign_in, technologist):
    client = sign_in(technologist)
    client.post("/cases/new/", FORM)
    assert "already registered" in client.post("/cases/new/", FORM).content.decode()
    again = FORM | {"accession_number": "H26-0100"}
    for change in ({"name": "Hans Anders"}, {"birth_date": "1960-01-01"}, {"sex": "M"}):
        assert "another" in client.post("/cases/new/", again | change).content.decode()
    assert client.post("/cases/new/", again | {"name": "", "sex": "", "birth_date": ""}).status_code == 302
    assert Case.objects.count() == 2
    assert Patient.objects.count() == 1


def test_a_known_mrn_fills_the_patients_fields_and_the_look_is_recorded(sign_in, technologist, make_case, outsider):
    make_case()
    fragment = sign_in(technologist).post("/cases/patient/", {"mrn": "M-77"}).content.decode()
    assert 'value="Edelgard Wintermute"' in fragment
    assert 'value="1961-05-04"' in fragment
    assert Event.objects.filter(action="patient.read").count() == 1
    assert "Wintermute" not in sign_in(outsider).post("/cases/patient/", {"mrn": "M-77"}).content.decode()
    assert sign_in(technologist).get("/cases/patient/").status_code == 405


def test_an_edit_keeps_old_and_new_values(sign_in, technologist, make_case):
    case = make_case("E-1")
    client = sign_in(technologist)
    assert 'value="Edelgard Wintermute"' in client.get(f"/cases/{case.pk}/edit/").content.decode()
    fields = FORM | {"accession_number": "E-2", "mrn": "M-77", "name": "Edelgard Winter"}
    assert client.post(f"/cases/{case.pk}/edit/", fields).status_code == 302
    case = Case.objects.select_related("patient").get()
    assert (case.accession_number, case.patient.name) == ("E-2", "Edelgard Winter")
    assert Event.objects.get(action="case.edit").changes["accession_number"] == ["E-1", "E-2"]
    assert Event.objects.get(action="patient.edit").changes["name"] == ["Edelgard Wintermute", "Edelgard Winter"]


def test_an_edit_does_not_take_back_what_came_after_its_page_was_opened(sign_in, technologist, make_case):
    """The WBC that an analyser sent meanwhile was emptied."""
    case, client = make_case("E-1"), sign_in(technologist)
    fields = FORM | {"accession_number": "E-1", "mrn": "M-77", "name": "Edelgard Wintermute"}
    fields["seen"] = client.get(f"/cases/{case.pk}/edit/").context["seen"]
    Case.objects.update(wbc="6.2", wbc_unit="10*9/L")
    page = client.post(f"/cases/{case.pk}/edit/", fields).content.decode()
    assert "This case was changed meanwhile" in page
    assert f'<input type="hidden" name="seen" value="{fields["seen"]}">' in page
    fields["seen"] = client.get(f"/cases/{case.pk}/edit/").context["seen"]
    assert client.post(f"/cases/{case.pk}/edit/", fields).status_code == 302


def test_a_case_can_be_moved_to_the_right_patient(sign_in, technologist, make_case):
    case = make_case("E-3")
    assert sign_in(technologist).post(f"/cases/{case.pk}/edit/", FORM | {"accession_number": "E-3"}).status_code == 302
    assert Case.objects.get().patient.mrn == "M-900"
    assert Patient.objects.get(mrn="M-77").name == "Edelgard Wintermute"


def test_a_rejected_specimen_has_a_reason_and_stays_as_it_is(sign_in, technologist, make_case):
    """S8"""
    case = make_case("R-1")
    client = sign_in(technologist)
    assert "This field is required" in client.post(f"/cases/{case.pk}/reject/", {"reason": " "}).content.decode()
    assert client.post(f"/cases/{case.pk}/reject/", {"reason": "clotted"}).status_code == 302
    case = Case.objects.with_state().get()
    assert (case.state, case.rejection_reason, case.rejected_by) == ("rejected", "clotted", technologist)
    assert Event.objects.get(action="case.reject").changes["reason"] == "clotted"
    assert "was rejected" in client.post(f"/cases/{case.pk}/reject/", {"reason": "again"}).content.decode()
    assert "was rejected" in client.post(f"/cases/{case.pk}/edit/", FORM).content.decode()
    assert Case.objects.get().rejection_reason == "clotted"


@pytest.mark.slow
def test_a_search_comes_by_post_stays_in_the_session_and_never_stands_in_the_address(sign_in, technologist, make_case):
    other = Patient.objects.create(laboratory=technologist.laboratory, mrn="X-1", name="Johann Größer")
    make_case("S-1")
    make_case("S-2", patient=other)
    client = sign_in(technologist)
    for words, found in (
        ("größer", ["S-2"]),
        ("johann größ", ["S-2"]),
        ("X-1", ["S-2"]),
        ("m-77", ["S-1"]),
        ("s-", ["S-2", "S-1"]),
        ("nobody", []),
        ("%_'\"", []),
        ("", ["S-2", "S-1"]),
    ):
        answer = client.post("/cases/", {"search": words})
        assert answer["Location"] == "/cases/"
        assert numbers(client.get("/cases/")) == found, words
    assert (
        client.post("/cases/", {"search": "S-1"})["Location"]
        == f"/cases/{Case.objects.get(accession_number='S-1').pk}/"
    )


@pytest.mark.slow
def test_filters_and_sorting(sign_in, technologist, make_case, make_slide):
    now = timezone.now()
    make_case("F-1", priority="stat", received_at=now - timedelta(days=3))
    rejected = make_case("F-2", received_at=now - timedelta(days=2))
    rejected.rejected_at, rejected.rejected_by = now, technologist
    rejected.save()
    make_slide(make_case("F-3", received_at=now - timedelta(days=1)), {"NGS": 1})
    client = sign_in(technologist)
    for query, found in (
        ("", ["F-3", "F-2", "F-1"]),
        ("sort=received", ["F-1", "F-2", "F-3"]),
        ("sort=accession", ["F-1", "F-2", "F-3"]),
        ("sort=patient", ["F-1", "F-2", "F-3"]),
        ("priority=stat", ["F-1"]),
        ("state=registered", ["F-1"]),
        ("state=rejected", ["F-2"]),
        ("state=to_review", ["F-3"]),
        ("state=signed", []),
        (f"received_from={(now - timedelta(days=2)):%Y-%m-%d}", ["F-3", "F-2"]),
        (f"received_to={(now - timedelta(days=2)):%Y-%m-%d}", ["F-2", "F-1"]),
        ("state=nonsense&sort=x&after=abc&before=-1", ["F-3", "F-2", "F-1"]),
        ("received_to=9999-12-31", ["F-3", "F-2", "F-1"]),
        ("after=999999999", ["F-3", "F-2", "F-1"]),
    ):
        assert numbers(client.get(f"/cases/?{query}")) == found, query


@pytest.mark.slow
def test_each_state_filter_finds_exactly_the_cases_in_that_state(sign_in, technologist, make_case, make_slide):
    from leukoweb.analysis.models import Run
    from leukoweb.review.models import HandOver, Report, Withdrawal

    for state in ("queued", "running", "failed", "done"):
        slide = make_slide(make_case(f"run-{state}"), {"NGS": 1})
        Run.objects.filter(slide=slide).update(state=state)
    handed, signed, amended, gone = (make_case(name) for name in ("handed", "signed", "amended", "gone"))
    for case in (handed, signed, amended, gone):
        make_slide(case, {"NGS": 1})
    HandOver.objects.create(case=handed, handed_over_by=technologist)
    Report.objects.create(case=signed, state="signed", created_by=technologist)
    last = Report.objects.create(case=gone, state="signed", created_by=technologist)
    Withdrawal.objects.create(report=last, reason="Wrong tube.", withdrawn_by=technologist)
    first = Report.objects.create(case=amended, state="signed", created_by=technologist)
    Report.objects.create(case=amended, state="draft", version=2, amends=first, created_by=technologist)
    make_case("new")
    make_case("ordered", ordered_at=timezone.now())
    make_case("refused", rejected_at=timezone.now(), rejected_by=technologist)
    expected = {
        "ordered": ["ordered"],
        "registered": ["new"],
        "queued": ["run-queued"],
        "running": ["run-running"],
        "failed": ["run-failed"],
        "to_review": ["run-done"],
        "to_sign": ["handed"],
        "signed": ["signed"],
        "withdrawn": ["gone"],
        "amending": ["amended"],
        "rejected": ["refused"],
    }
    client = sign_in(technologist)
    assert set(expected) == set(STATES)
    for state, found in expected.items():
        assert numbers(client.get(f"/cases/?state={state}")) == found, state
        assert [case.state for case in Case.objects.with_state().filter(accession_number__in=found)] == [state]


@pytest.mark.slow
@pytest.mark.parametrize("sort", ["-received", "received", "accession", "patient"])
def test_pages_forwards_and_back_show_every_case_once(sign_in, technologist, many, sort):
    many(173)
    client = sign_in(technologist)
    page = client.get(f"/cases/?sort={sort}")
    pages = [numbers(page)]
    while (after := page.context["page"].after) is not None:
        page = client.get(f"/cases/?sort={sort}&after={after}")
        pages.append(numbers(page))
    assert [len(shown) for shown in pages] == [50, 50, 50, 23]
    assert len({number for shown in pages for number in shown}) == 173
    for shown in reversed(pages[:-1]):
        page = client.get(f"/cases/?sort={sort}&before={page.context['page'].before}")
        assert numbers(page) == shown
    assert page.context["page"].before is None


@pytest.mark.slow
def test_the_list_costs_few_queries_with_many_cases(sign_in, technologist, many, django_assert_max_num_queries):
    many(2_600)
    client = sign_in(technologist)
    client.get("/cases/")
    for query in ("", "?sort=patient", "?state=registered", "?state=failed", "?priority=stat", "?sort=accession"):
        with django_assert_max_num_queries(10):
            page = client.get(f"/cases/{query}")
        assert len(page.context["page"].cases) == (0 if "failed" in query else 50)
    assert "more than 1000" in client.get("/cases/").content.decode()


def test_no_other_laboratory_and_no_administrator_comes_near(client, sign_in, make_case, outsider, admin):
    case = make_case("N-1")
    pages = ["/cases/new/", f"/cases/{case.pk}/edit/", f"/cases/{case.pk}/reject/", "/cases/"]
    assert [client.get(page).status_code for page in pages] == [302] * 4
    foreign = sign_in(outsider)
    assert [foreign.get(page).status_code for page in pages] == [200, 404, 404, 200]
    assert foreign.post(pages[2], {"reason": "x"}).status_code == 404
    assert numbers(foreign.get("/cases/")) == []
    manager = sign_in(admin)
    assert [manager.get(page).status_code for page in pages] == [403] * 4
    assert [manager.put(page).status_code for page in pages] == [403] * 4
    assert Case.objects.with_state().get().state == "registered"


def test_an_empty_list_says_what_to_do(sign_in, technologist):
    assert "No cases yet" in sign_in(technologist).get("/cases/").content.decode()
