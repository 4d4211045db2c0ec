"""The programming interface as programs use it: tokens, cases, slides, cells, decisions, differential, report."""

import uuid

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.utils import timezone
from rest_framework.test import APIClient

from leukoweb.accounts.models import User
from leukoweb.analysis.models import Cell, Run
from leukoweb.api.models import ApiToken
from leukoweb.audit.models import Event
from leukoweb.cases.models import Case, Slide, SlideImage
from leukoweb.cases.store import original_path
from leukoweb.review.models import Decision
from tests.conftest import PASSWORD
from tests.pictures import picture

CODES = ["BAS", "EBO", "EOS", "KSC", "LYA", "LYT", "MMZ", "MOB", "MON", "MYB", "MYO", "NGB", "NGS", "PMB", "PMO"]


@pytest.fixture
def caller(db):
    """A program that signed in as somebody by the token address."""

    def as_person(person, **more):
        client = APIClient()
        answer = client.post("/api/v1/token/", {"username": person.username, "password": PASSWORD, **more}, "json")
        assert answer.status_code == 200, answer.content
        client.credentials(HTTP_AUTHORIZATION=f"Token {answer.json()['token']}")
        return client

    return as_person


CASE = {
    "accession_number": "H26-0042",
    "patient": {"mrn": "M-500", "name": "Ottilie Beispiel", "sex": "F", "birth_date": "1958-02-01"},
    "priority": "stat",
    "wbc": 17.4,
    "wbc_unit": "10*9/L",
    "wbc_at": "2026-11-20T08:00:00Z",
    "wbc_source": "XN-1000",
}


@pytest.mark.slow
def test_a_program_registers_a_case_uploads_a_slide_corrects_a_cell_and_reads_the_differential(
    caller, technologist, make_slide
):
    client = caller(technologist)
    made = client.post("/api/v1/cases/", CASE, "json")
    assert made.status_code == 201
    assert made.json()["patient"]["name"] == "Ottilie Beispiel"
    assert made.json()["state"] == "registered"
    [listed] = client.get("/api/v1/cases/").json()["results"]
    assert listed["accession_number"] == "H26-0042"

    answer = client.post(
        "/api/v1/cases/H26-0042/slides/",
        {"images": [picture("a.png"), picture("b.jpg", (9, 9, 9))], "um_per_px": "0.2", "label": "S1"},
    )
    assert answer.status_code == 201
    assert answer.json()["errors"] == []
    slide = client.get(f"/api/v1/slides/{answer.json()['id']}/").json()
    assert (slide["state"], slide["progress"], slide["error"], slide["label"]) == ("queued", 0.0, "", "S1")
    assert [image["name"] for image in slide["images"]] == ["a.png", "b.jpg"]
    assert [image["um_per_px"] for image in slide["images"]] == [0.2, 0.2]
    assert all(original_path(image["sha256"]).exists() for image in slide["images"])
    assert client.get("/api/v1/cases/H26-0042/").json()["state"] == "queued"

    Run.objects.update(state="done")
    slide = make_slide(Case.objects.get(), {"NGS": 6, "LYT": 3, "MYO": 1, "EBO": 2})
    cells = client.get(f"/api/v1/slides/{slide.pk}/cells/").json()
    assert cells["count"] == 12
    first = cells["results"][0]
    assert first["code"] == first["detector_code"] == "NGS"
    assert first["box_xyxy"] == [0, 0, 60, 60]
    assert not first["reviewed"]
    decided = client.post(
        f"/api/v1/cells/{first['id']}/decisions/", {"code": "MON", "reason": "folded nucleus"}, "json"
    )
    assert decided.status_code == 201
    again = client.get(f"/api/v1/slides/{slide.pk}/cells/").json()["results"][0]
    assert (again["code"], again["detector_code"], again["reviewed"]) == ("MON", "NGS", True)
    assert [d["code"] for d in client.get(f"/api/v1/cells/{first['id']}/decisions/").json()] == ["MON"]

    differential = client.get("/api/v1/cases/H26-0042/differential/").json()
    assert sorted(differential["cells"]) == CODES
    assert differential["total"] == 10
    assert not differential["reviewed"]
    assert differential["cells"]["NGS"]["count"] == 5
    assert differential["cells"]["NGS"]["percent"] == 50.0
    # Exact 95 % interval of 5 in 10, from R: binom.test(5, 10)
    assert differential["cells"]["NGS"]["low"] == pytest.approx(18.709, abs=0.001)
    assert differential["cells"]["NGS"]["high"] == pytest.approx(81.291, abs=0.001)
    # C4: 20 erythroblasts per 100, so the WBC is corrected: 17.4 x 100 / 120 = 14.5, half of it segmented
    assert differential["cells"]["NGS"]["absolute"] == pytest.approx(7.25)
    assert differential["cells"]["EBO"] == {
        "count": 2,
        "count_note": "",
        "percent": 20.0,
        "low": None,
        "high": None,
        "absolute": None,
    }
    assert any("blast" in flag["sentence"].lower() for flag in differential["flags"])
    assert differential["policies"]["sentences"]

    report = client.get("/api/v1/cases/H26-0042/report/").json()
    assert report["status"] == "preliminary, not reviewed"
    assert report["specimen"]["accession_number"] == "H26-0042"
    for address in ("report.pdf", "report/report.pdf"):
        pdf = client.get(f"/api/v1/cases/H26-0042/{address}")
        assert pdf.status_code == 200
        assert pdf.content.startswith(b"%PDF")
    assert Event.objects.filter(action="report.export").count() == 3


def test_a_patient_may_also_stand_flat_beside_the_case(caller, technologist):
    fields = {"accession_number": "F-1", "mrn": "M-9", "patient_name": "Flat Name", "sex": "M", "priority": "STAT"}
    answer = caller(technologist).post("/api/v1/cases/", fields, "json")
    assert answer.status_code == 201
    assert answer.json()["patient"] == {"mrn": "M-9", "name": "Flat Name", "sex": "M", "birth_date": None}
    assert answer.json()["priority"] == "stat"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"accession_number": "/A1"}, "letters"),
        ({"accession_number": "../x"}, "letters"),
        ({"accession_number": ""}, "blank"),
        ({"wbc_unit": ""}, "unit"),
        ({"wbc_unit": "spoons"}, "spoons"),
        ({"wbc": -1}, "greater"),
        ({"priority": "soon"}, "soon"),
        ({"collected_at": "2026-11-21T10:00:00Z", "received_at": "2026-11-20T10:00:00Z"}, "collected after"),
        ({"received_at": "2999-01-01T00:00:00Z"}, "future"),
        ({"patient": {"mrn": "M-501"}}, "name"),
        ({"patient": {"mrn": "M-502", "name": "A\nB"}}, "one line"),
        ({"patient": {"mrn": "M-503", "name": "A", "birth_date": "yesterday"}}, "Date"),
        ({"patient": "Ottilie"}, "dictionary"),
        ({"patient": None}, "null"),
    ],
)
def test_a_wrong_case_is_refused_with_a_sentence_and_nothing_is_stored(caller, technologist, change, words):
    answer = caller(technologist).post("/api/v1/cases/", CASE | change, "json")
    assert answer.status_code == 400
    assert words in str(answer.json())
    assert not Case.objects.exists()


def test_an_accession_number_is_taken_once_in_a_laboratory_and_an_mrn_belongs_to_one_name(
    caller, technologist, outsider
):
    client = caller(technologist)
    assert client.post("/api/v1/cases/", CASE, "json").status_code == 201
    answer = client.post("/api/v1/cases/", CASE, "json")
    assert answer.status_code == 400
    assert "already registered" in str(answer.json())
    other = CASE | {"accession_number": "H26-0043", "patient": CASE["patient"] | {"name": "Somebody Else"}}
    answer = client.post("/api/v1/cases/", other, "json")
    assert answer.status_code == 400
    assert "another name" in str(answer.json())
    assert caller(outsider).post("/api/v1/cases/", CASE, "json").status_code == 201


def test_good_files_go_on_where_others_are_refused(caller, technologist, make_case):
    make_case("A-1")
    files = [picture("good.png"), SimpleUploadedFile("bad.jpg", b"<html>"), SimpleUploadedFile("none.png", b""),
             picture("same.png")]  # fmt: skip
    answer = caller(technologist).post("/api/v1/cases/A-1/slides/", {"images": files})
    assert answer.status_code == 201
    assert [image["name"] for image in answer.json()["images"]] == ["good.png"]
    assert sorted(error["name"] for error in answer.json()["errors"]) == ["bad.jpg", "none.png", "same.png"]
    assert SlideImage.objects.count() == 1


@pytest.mark.parametrize("um_per_px", ["0", "5", "nan", "-1", "inf", "a bit", "1e400"])
def test_an_implausible_scale_is_refused(caller, technologist, make_case, um_per_px):
    make_case("A-1")
    answer = caller(technologist).post("/api/v1/cases/A-1/slides/", {"images": [picture()], "um_per_px": um_per_px})
    assert answer.status_code == 400
    assert "between 0.02 and 1" in answer.json()["um_per_px"]
    assert not SlideImage.objects.exists()


@pytest.mark.slow
def test_an_upload_without_a_good_file_is_400_with_a_sentence_for_each(caller, technologist, make_case):
    make_case("A-1")
    client = caller(technologist)
    assert "No file was received" in client.post("/api/v1/cases/A-1/slides/", {}).json()["detail"]
    answer = client.post("/api/v1/cases/A-1/slides/", {"images": [SimpleUploadedFile("x.tiff", b"%PDF-1.7 ...")]})
    assert answer.status_code == 400
    assert "PDF" in answer.json()["errors"][0]["error"]


def test_a_rejected_specimen_takes_no_images(caller, technologist, make_case, django_user_model):
    from django.utils import timezone

    make_case("A-1", rejected_at=timezone.now(), rejected_by=technologist, rejection_reason="clotted")
    answer = caller(technologist).post("/api/v1/cases/A-1/slides/", {"images": [picture()]})
    assert answer.status_code == 409
    assert "rejected" in answer.json()["detail"]


@pytest.mark.parametrize("given", [{"code": "XYZ"}, {}, {"code": None}, {"code": "NGS", "seen_decision": "x"}])
def test_a_wrong_decision_is_refused(caller, technologist, make_case, make_slide, given):
    slide = make_slide(make_case("A-1"), {"NGS": 1})
    cell = slide.runs.get().cells.get()
    assert caller(technologist).post(f"/api/v1/cells/{cell.pk}/decisions/", given, "json").status_code == 400


def test_a_decision_on_a_cell_that_another_reader_changed_is_409(caller, technologist, make_case, make_slide):
    cell = make_slide(make_case("A-1"), {"NGS": 1}).runs.get().cells.get()
    client = caller(technologist)
    assert client.post(f"/api/v1/cells/{cell.pk}/decisions/", {"code": "NGB"}, "json").status_code == 201
    answer = client.post(f"/api/v1/cells/{cell.pk}/decisions/", {"code": "MON", "seen_decision": 0}, "json")
    assert answer.status_code == 409


@pytest.fixture
def addresses(make_case, make_slide):
    """Every address that names an object, with a body for those that take one."""
    slide = make_slide(make_case("A-1"), {"NGS": 1})
    cell = slide.runs.get().cells.get()
    return [
        ("get", "/api/v1/cases/A-1/", None),
        ("post", "/api/v1/cases/A-1/slides/", {"images": [picture()]}),
        ("get", f"/api/v1/slides/{slide.pk}/", None),
        ("get", f"/api/v1/slides/{slide.pk}/cells/", None),
        ("get", f"/api/v1/cells/{cell.pk}/decisions/", None),
        ("post", f"/api/v1/cells/{cell.pk}/decisions/", {"code": "MON"}),
        ("get", "/api/v1/cases/A-1/differential/", None),
        ("get", "/api/v1/cases/A-1/report/", None),
        ("get", "/api/v1/cases/A-1/report.pdf", None),
        ("get", "/api/v1/cases/A-1/report/report.pdf", None),
    ]


def test_another_laboratory_gets_404_an_administrator_403_and_nobody_401(caller, addresses, outsider, admin):
    foreign, manager, nobody = caller(outsider), caller(admin), APIClient()
    for method, address, body in addresses:
        assert getattr(foreign, method)(address, body).status_code == 404, address
        assert getattr(manager, method)(address, body).status_code == 403, address
        assert getattr(nobody, method)(address, body).status_code == 401, address
    assert foreign.get("/api/v1/cases/").json()["count"] == 0
    assert manager.get("/api/v1/cases/").status_code == manager.post("/api/v1/cases/", CASE, "json").status_code == 403
    assert not SlideImage.objects.filter(name="field.png", size_bytes__gt=1).exists()


def test_a_method_that_an_address_does_not_have_is_405(caller, addresses, technologist):
    client = caller(technologist)
    for _, address, _ in addresses:
        assert client.delete(address).status_code == 405, address
        assert client.put(address, {}).status_code == 405, address


def test_absent_and_impossible_keys_are_404(caller, technologist):
    client = caller(technologist)
    for key in ("999999", "9" * 40):
        assert client.get(f"/api/v1/slides/{key}/").status_code == 404
        assert client.get(f"/api/v1/cells/{key}/decisions/").status_code == 404
    assert client.get("/api/v1/cases/%00/").status_code == 404


# --- tokens -----------------------------------------------------------------------------------------------------


def test_a_token_is_kept_as_a_hash_and_works_as_token_and_as_bearer(technologist):
    client = APIClient()
    answer = client.post("/api/v1/token/", {"username": "tess", "password": PASSWORD}, "json").json()
    assert answer["token"] not in str(ApiToken.objects.values())
    for kind in ("Token", "Bearer"):
        client.credentials(HTTP_AUTHORIZATION=f"{kind} {answer['token']}")
        assert client.get("/api/v1/cases/").status_code == 200
    assert ApiToken.objects.get().last_used_at


@pytest.mark.parametrize("how", ["wrong", "expired", "revoked", "person inactive", "password must change"])
def test_a_token_that_is_wrong_expired_revoked_or_of_a_stopped_account_opens_nothing(caller, technologist, how):
    from django.utils import timezone

    client = caller(technologist)
    if how == "wrong":
        client.credentials(HTTP_AUTHORIZATION="Token lw_nonsense")
    elif how == "expired":
        ApiToken.objects.update(expires_at=timezone.now())
    elif how == "revoked":
        assert client.post("/api/v1/token/revoke/").status_code == 204
    elif how == "person inactive":
        User.objects.update(is_active=False)
    else:
        User.objects.update(must_change_password=True)
    assert client.get("/api/v1/cases/").status_code == (403 if how == "password must change" else 401)


def test_a_read_token_reads_and_changes_nothing(caller, technologist):
    client = caller(technologist, scope="read")
    assert client.get("/api/v1/cases/").status_code == 200
    answer = client.post("/api/v1/cases/", CASE, "json")
    assert answer.status_code == 403
    assert "only read" in answer.json()["detail"]


def test_a_wrong_password_is_said_plainly_and_five_of_them_lock_the_account(technologist):
    """S6: also the token address counts towards the lock."""
    client = APIClient()
    wrong = {"username": "tess", "password": "not it"}
    for _ in range(4):
        answer = client.post("/api/v1/token/", wrong, "json")
        assert answer.status_code == 400
        assert answer.json()["detail"] == "User name or password is wrong."
    client.post("/api/v1/token/", wrong, "json")
    answer = client.post("/api/v1/token/", {"username": "tess", "password": PASSWORD}, "json")
    assert answer.status_code == 403
    assert "locked" in answer.json()["detail"]


def test_the_token_door_is_throttled(technologist):
    client = APIClient()
    answers = [client.post("/api/v1/token/", {}, "json").status_code for _ in range(31)]
    assert answers == [400] * 30 + [429]


def test_people_make_and_revoke_their_own_tokens_on_a_page(sign_in, technologist, pathologist):
    client = sign_in(technologist)
    page = client.post("/account/tokens/", {"name": "script", "scope": "read", "days": "7"})
    assert "shown only this once" in page.content.decode()
    token = ApiToken.objects.get()
    assert (token.user, token.scope, token.name) == (technologist, "read", "script")
    assert sign_in(pathologist).post(f"/account/tokens/{token.pk}/revoke/").status_code == 404
    assert sign_in(technologist).post(f"/account/tokens/{token.pk}/revoke/").status_code == 302
    assert not ApiToken.objects.get().is_alive
    assert set(Event.objects.filter(object_type="api.apitoken").values_list("action", flat=True)) == {
        "token.create",
        "token.revoke",
    }


def test_the_interface_describes_itself_without_inline_script(client, db):
    schema = client.get("/api/v1/schema/")
    assert schema.status_code == 200
    for address in ("/cases/{accession_number}/slides/", "/cells/{id}/decisions/", "/slides/{id}/cells/"):
        assert f"/api/v1{address}" in schema.content.decode()
    page = client.get("/api/v1/").content.decode()
    assert "<script>" not in page


@pytest.mark.slow
def test_a_case_without_a_slide_has_an_empty_differential_and_a_preliminary_report(caller, technologist, make_case):
    make_case("A-1")
    client = caller(technologist)
    differential = client.get("/api/v1/cases/A-1/differential/").json()
    assert (differential["total"], differential["reviewed"]) == (0, False)
    assert differential["cells"]["NGS"] == {
        "count": 0,
        "count_note": "",
        "percent": None,
        "low": None,
        "high": None,
        "absolute": None,
    }
    assert client.get("/api/v1/cases/A-1/report/").json()["status"] == "preliminary, not reviewed"
    assert client.get("/api/v1/cases/A-1/report.pdf").content.startswith(b"%PDF")


@pytest.mark.slow
def test_a_signed_report_is_what_the_interface_gives(caller, pathologist, make_case, make_slide):
    from leukoweb.review.models import Decision
    from leukoweb.review.reports.signing import MEANINGS, draft_of, edit_draft, sign_report

    case = make_case("A-1")
    slide = make_slide(case, {"NGS": 120, "LYT": 60})
    Decision.objects.bulk_create(
        Decision(cell=cell, from_code=cell.detector_code, to_code=cell.detector_code, decided_by=pathologist)
        for cell in slide.runs.get().cells.all()
    )
    report = edit_draft(draft_of(case, by=pathologist), by=pathologist, comment="Normal distribution.")
    sign_report(report, by=pathologist, password=PASSWORD, meaning=MEANINGS[0])
    client = caller(pathologist)
    answer = client.get("/api/v1/cases/A-1/report/").json()
    assert (answer["status"], answer["state"]) == ("signed", "signed")
    assert answer["signature"]["name"] == pathologist.printed_name
    assert answer["report"]["comment"] == "Normal distribution."
    assert len(answer["seal"]) == 64
    differential = client.get("/api/v1/cases/A-1/differential/").json()
    assert (differential["reviewed"], differential["status"]) == (True, "signed")
    cell = slide.runs.get().cells.first()
    refused = client.post(f"/api/v1/cells/{cell.pk}/decisions/", {"code": "MON"}, "json")
    assert refused.status_code == 409
    assert "amendment" in refused.json()["detail"]
    upload = client.post("/api/v1/cases/A-1/slides/", {"images": [picture()]})
    assert upload.status_code == 409
    assert "signed" in upload.json()["detail"]


@pytest.mark.slow
def test_a_case_is_found_by_its_number_and_addressed_by_its_id(caller, technologist, make_case):
    """H53: an accession number in an address stands in the logs of every server on the way."""
    case = make_case("H26-0042")
    client = caller(technologist)
    found = client.post("/api/v1/cases/find/", {"accession_number": "H26-0042"}, "json").json()
    assert found["id"] == case.pk
    for below in ("", "differential/", "report/"):
        by_id = client.get(f"/api/v1/cases/id/{case.pk}/{below}")
        assert (by_id.status_code, by_id.json()) == (200, client.get(f"/api/v1/cases/H26-0042/{below}").json())
    assert client.post("/api/v1/cases/find/", {"accession_number": "H26-9"}, "json").json()["code"] == "not_found"
    listed = client.get("/api/v1/cases/").json()
    assert "H26-0042" not in str(listed["next"])


@pytest.mark.slow
def test_a_program_stops_an_analysis_and_has_it_run_again(caller, technologist, make_case, outsider):
    client, case = caller(technologist), make_case("H-1")
    [slide] = [client.post(f"/api/v1/cases/id/{case.pk}/slides/", {"images": [picture("a.png")]}).json()["id"]]
    assert client.post(f"/api/v1/slides/{slide}/retry/").json()["code"] == "wrong_state"
    stopped = client.post(f"/api/v1/slides/{slide}/stop/").json()
    assert stopped["state"] == "failed"
    assert "stopped the analysis" in stopped["error"]
    assert client.post(f"/api/v1/slides/{slide}/stop/").json()["code"] == "wrong_state"
    assert client.post(f"/api/v1/slides/{slide}/retry/").json()["state"] == "queued"
    assert caller(outsider).post(f"/api/v1/slides/{slide}/stop/").status_code == 404
    written = Event.objects.filter(action__in=("run.stop", "run.retry")).order_by("id")
    assert list(written.values_list("action", flat=True)) == ["run.stop", "run.retry"]


@pytest.mark.slow
def test_a_program_sets_a_slide_that_cannot_be_read_aside_and_takes_it_back(caller, technologist, make_case):
    client, case = caller(technologist), make_case("H-1")
    [slide] = [client.post(f"/api/v1/cases/id/{case.pk}/slides/", {"images": [picture("a.png")]}).json()["id"]]
    address = f"/api/v1/slides/{slide}/set-aside/"
    assert client.post(address, {"reason": "no stain"}, "json").json()["code"] == "wrong_state"
    Run.objects.update(state=Run.State.FAILED)
    assert client.post(address, {"reason": ""}, "json").json()["fields"]["reason"]
    assert client.post(address, {"reason": "x" * 1001}, "json").status_code == 400
    aside = client.post(address, {"reason": "no stain"}, "json").json()
    assert (aside["set_aside_reason"], bool(aside["set_aside_at"])) == ("no stain", True)
    assert client.delete(address).json()["set_aside_at"] is None


def test_a_cell_that_is_no_longer_counted_takes_no_decision(caller, sign_in, technologist, make_case, make_slide):
    """Of a former reading, or of a slide that was set aside: it was a fault of the server, or half of a batch."""
    case = make_case("A-1")
    read_again, set_aside = make_slide(case, {"NGS": 2}), make_slide(case, {"LYT": 2})
    client = caller(technologist)
    assert client.post(f"/api/v1/slides/{read_again.pk}/scale/", {"um_per_px": "0.3"}, "json").status_code == 200
    Slide.objects.filter(pk=set_aside.pk).update(set_aside_at=timezone.now())
    for slide in (read_again, set_aside):
        cell = Cell.objects.filter(run__slide=slide).first()
        for seen in ({}, {"seen_decision": 0}):
            answer = client.post(f"/api/v1/cells/{cell.pk}/decisions/", {"code": "NGB", **seen}, "json")
            assert (answer.status_code, answer.json()["code"]) == (409, "wrong_state")
    added = {"key": str(uuid.uuid4()), "act": "add", "image": set_aside.images.get().pk, "box": [5, 5, 60, 60]}
    client = sign_in(technologist)
    body = {"decisions": [{**added, "code": "LYT"}]}
    answer = client.post(f"/cases/{case.pk}/decisions/", body, content_type="application/json")
    assert "set aside" in answer.json()["outcomes"][0]["sentence"]
    assert not Decision.objects.exists()
