"""From reviewed cells to a signed report, through the pages (rules C3, C7, C8, C10, S1, S2, S3, S9, S10, S11)."""

import csv
import io
import json
import sys
from datetime import timedelta
from uuid import uuid4

import pytest
from django.db import DatabaseError, transaction
from django.urls import reverse
from django.utils import timezone

from leukoweb.analysis.models import Run
from leukoweb.audit.models import Event
from leukoweb.review.cells.decisions import current_cells, evidence_of, relabel_cells
from leukoweb.review.counting.attention import together
from leukoweb.review.models import Decision, Policy, Report
from tests.conftest import PASSWORD
from tests.test_accounts import code_of, give_totp

pytestmark = pytest.mark.slow

NORMAL = {"NGS": 60, "LYT": 30, "MON": 7, "EOS": 3}
AML = {"MYO": 30, "PMO": 10, "NGS": 50, "LYT": 10, "EBO": 8}
WBC = {"wbc": "17.4", "wbc_unit": "10*9/L", "wbc_source": "XN-1000"}


def look_at(case, reader):
    """Confirm every counted cell, as many of one type at once as the rules of review allow.

    All steps but the last are laid as rows: the last brings flags and criticals up to date.
    """
    pages, evidence = {}, evidence_of(case)
    for cell in current_cells(case):
        if cell.code and not cell.decided_code:
            pages.setdefault((cell.code, together(cell, evidence)), []).append(cell)
    steps = [cells[n : n + most] for (_, most), cells in pages.items() for n in range(0, len(cells), most)]
    for cells in steps[:-1]:
        step = uuid4()
        Decision.objects.bulk_create(
            Decision(cell=cell, from_code=cell.code, to_code=cell.code, decided_by=reader, step=step) for cell in cells
        )
    for cells in steps[-1:]:
        relabel_cells(cells, to=cells[0].code, by=reader)


@pytest.fixture
def reviewed(make_case, make_slide, technologist):
    """A case whose cells were all looked at."""

    def make(cells=NORMAL, accession_number="A-1001", **fields):
        if "wbc" in fields:
            fields.setdefault("wbc_at", timezone.now())
        case = make_case(accession_number, **fields)
        make_slide(case, cells)
        look_at(case, technologist)
        return case

    return make


def post_signature(client, case, **changes):
    """Open the sign page as a person does and send its form."""
    page = client.get(reverse("case_sign", args=[case.pk]))
    form = {
        "act": "sign",
        "seen": page.context["seen"],
        "comment": "Normal differential.",
        "meaning": "Review and approval",
        "username": page.context["user"].username,
        "password": PASSWORD,
        "pictures": [pk for _, pk, chosen in page.context["choices"] if chosen],
    }
    return client.post(reverse("case_sign", args=[case.pk]), form | changes)


@pytest.mark.parametrize("state", ["queued", "running", "failed"])
def test_an_unfinished_analysis_is_never_called_a_case_without_leukocytes(
    make_case, make_slide, sign_in, pathologist, state
):
    """On the page of the case and of the report, in its draft, and for programs; a part is called a part."""
    case = make_case("A-1")
    Run.objects.filter(slide=make_slide(case, {})).update(state=state)
    client = sign_in(pathologist)
    client.post(reverse("case_sign", args=[case.pk]), {"act": "keep", "comment": "Later."})
    addresses = {
        "case": reverse("case_detail", args=[case.pk]),
        "sign": reverse("case_sign", args=[case.pk]),
        "draft": reverse("report_detail", args=[Report.objects.get().pk]),
        "program": reverse("api_differential_by_id", args=[case.pk]),
    }
    said = {name: client.get(address).content.decode() for name, address in addresses.items()}
    assert not [name for name, text in said.items() if "No leukocytes" in text]
    del said["case"]  # while something waits or runs it shows the progress in place of a result
    assert all("1 of 1 slides is not analysed: there is no differential yet." in text for text in said.values())
    make_slide(case, NORMAL)
    for name, address in addresses.items():
        text = client.get(address).content.decode()
        assert "1 of 2 slides is not analysed: the count is not complete." in text, name


def acknowledge(client, case):
    for flag, _ in client.get(reverse("case_detail", args=[case.pk])).context["flags"]:
        if flag.is_urgent:
            client.post(reverse("flag_acknowledge", args=[case.pk]), {"flag": flag.key})


@pytest.fixture
def signed(reviewed, sign_in, pathologist):
    """A signed report of a normal differential, and the client of its signer."""
    case, client = reviewed(**WBC), sign_in(pathologist)
    assert post_signature(client, case).status_code == 302
    return Report.objects.get(case=case), client


def test_a_pathologist_signs_and_the_report_shows_name_time_and_meaning(signed):
    """S1."""
    report, client = signed
    page = client.get(reverse("report_detail", args=[report.pk])).content.decode()
    assert report.state == "signed"
    assert "Signed by Paul" in page
    assert "Review and approval" in page
    assert report.content["signature"]["signed_at"][:16].replace("T", " ") in page
    assert "Preliminary" not in page
    event = Event.objects.get(action="report.sign")
    assert event.changes["seal"] == report.seal


def test_the_first_signature_of_a_session_asks_for_the_user_name_and_later_ones_do_not(reviewed, sign_in, pathologist):
    """S2."""
    first, second = reviewed(accession_number="A-1"), reviewed(accession_number="A-2")
    client = sign_in(pathologist)
    assert "not your user name" in post_signature(client, first, username="").content.decode()
    assert 'name="username"' in client.get(reverse("case_sign", args=[first.pk])).content.decode()
    assert post_signature(client, first).status_code == 302
    assert 'name="username"' not in client.get(reverse("case_sign", args=[second.pk])).content.decode()
    assert post_signature(client, second, username="").status_code == 302


def test_with_a_second_factor_the_first_signature_of_a_session_asks_for_its_code(reviewed, sign_in, pathologist):
    """S2: a new session, so the code counts; the second signature asks for the password alone."""
    first, second = reviewed(accession_number="A-1"), reviewed(accession_number="A-2")
    secret, client = give_totp(pathologist), sign_in(pathologist)
    assert 'name="code"' in client.get(reverse("case_sign", args=[first.pk])).content.decode()
    assert "authenticator app is wrong" in post_signature(client, first, code="000000").content.decode()
    assert post_signature(client, first, code=code_of(secret)).status_code == 302
    assert post_signature(client, second, username="").status_code == 302


def test_nobody_signs_with_a_wrong_password_or_for_another(reviewed, sign_in, pathologist):
    """S2, S3."""
    case, client = reviewed(), sign_in(pathologist)
    assert "password is wrong" in post_signature(client, case, password="guess").content.decode()
    assert "nobody can sign for another" in post_signature(client, case, username="olaf").content.decode()
    assert not Report.objects.filter(state="signed").exists()


def test_guessing_the_password_of_a_signature_locks_the_account(reviewed, sign_in, pathologist):
    """S6: wrong passwords at the sign page count like those at the sign-in page."""
    case, client = reviewed(), sign_in(pathologist)
    answers = [post_signature(client, case, password=f"guess-{n}") for n in range(4)]
    assert {answer.status_code for answer in answers} == {200}
    assert post_signature(client, case, password="guess-5").url == reverse("sign_in")
    assert client.get(reverse("worklist")).status_code == 302


@pytest.mark.parametrize("person", ["technologist", "admin"])
def test_only_a_pathologist_opens_the_sign_page(request, reviewed, sign_in, person):
    """S3, C7: a technologist may not release, an administrator cannot sign."""
    case = reviewed()
    client = sign_in(request.getfixturevalue(person))
    assert client.get(reverse("case_sign", args=[case.pk])).status_code == 403
    assert client.post(reverse("case_sign", args=[case.pk]), {"act": "sign"}).status_code == 403


def test_another_laboratory_sees_neither_case_nor_report(signed, sign_in, outsider):
    """S7: what exists elsewhere is not there."""
    report, _ = signed
    client = sign_in(outsider)
    for name in ("report_detail", "report_pdf", "report_policies"):
        assert client.get(reverse(name, args=[report.pk])).status_code == 404
    assert client.get(reverse("report_export", args=[report.pk, "bundle"])).status_code == 404
    assert client.post(reverse("report_amend", args=[report.pk]), {"reason": "x"}).status_code == 404
    for name in ("case_detail", "case_live", "case_sign"):
        assert client.get(reverse(name, args=[report.case_id])).status_code == 404


@pytest.mark.parametrize(
    ("cells", "gate"),
    [
        ({**NORMAL, "UNI": 1}, "unidentified"),
        ({"NGS": 12}, "limited_count"),
        ({**NORMAL, "MYO": 1}, "urgent_flags"),
        ({**NORMAL, "LYA": 2}, "lya_meaning"),
    ],
)
def test_each_open_gate_refuses_the_signature_and_names_itself(reviewed, sign_in, pathologist, cells, gate):
    """C3, C7 and the rules of sign-off: what stands in the way is said and nothing is signed."""
    case, client = reviewed(cells), sign_in(pathologist)
    page = client.get(reverse("case_sign", args=[case.pk]))
    assert [g.key for g in page.context["gates"] if not g.is_met] == [gate]
    answer = post_signature(client, case, comment="")
    assert answer.status_code == 200
    assert "Nothing was signed" in answer.content.decode()
    assert not Report.objects.filter(state="signed").exists()


def test_cells_of_unproven_types_must_be_looked_at_before_a_signature(make_case, make_slide, sign_in, pathologist):
    """S10: the shipped card calls metamyelocytes weak, and nobody has looked at these."""
    case = make_case()
    make_slide(case, {"NGS": 100, "MMZ": 4})
    client = sign_in(pathologist)
    page = client.get(reverse("case_sign", args=[case.pk]))
    assert [gate.key for gate in page.context["gates"] if not gate.is_met] == ["must_look", "verified"]
    assert "4 cells need review" in page.content.decode()
    look_at(case, pathologist)
    assert post_signature(client, case).status_code == 302


def test_a_limited_count_is_signed_once_a_comment_says_so(reviewed, sign_in, pathologist):
    """C3."""
    case, client = reviewed({"NGS": 12}), sign_in(pathologist)
    assert post_signature(client, case, comment="Leukopenia: all cells of the film counted.").status_code == 302


def test_an_urgent_flag_is_acknowledged_with_time_and_reader_before_the_signature(reviewed, sign_in, pathologist):
    """C7."""
    case, client = reviewed(AML, **WBC), sign_in(pathologist)
    page = client.get(reverse("case_detail", args=[case.pk]))
    assert [flag.key for flag, _ in page.context["flags"] if flag.is_urgent] == ["blasts_second_limit"]
    assert f"{reverse('workbench', args=[case.pk])}?code=MYO" in page.content.decode()
    assert post_signature(client, case).status_code == 200
    acknowledge(client, case)
    assert "Pathologist: Paul" in client.get(reverse("case_detail", args=[case.pk])).content.decode()
    assert post_signature(client, case).status_code == 302
    flags = Report.objects.get(case=case).content["flags"]
    assert flags[0]["acknowledged_by"] == "Paul"


def test_a_signature_on_figures_that_changed_meanwhile_is_refused(reviewed, sign_in, pathologist, technologist):
    """S10: the signer verifies what is signed."""
    case, client = reviewed({**NORMAL, "NGB": 5}), sign_in(pathologist)
    seen = client.get(reverse("case_sign", args=[case.pk])).context["seen"]
    relabel_cells([current_cells(case).first()], to="NGB", by=technologist)
    answer = post_signature(client, case, seen=seen)
    assert "changed since this page was shown" in answer.content.decode()
    assert not Report.objects.filter(state="signed").exists()


def test_signing_twice_signs_once(signed):
    report, client = signed
    form = {"act": "sign", "meaning": "Review and approval", "password": PASSWORD, "seen": ""}
    answer = client.post(reverse("case_sign", args=[report.case_id]), form, follow=True)
    assert "This case is signed" in answer.content.decode()
    assert Report.objects.count() == 1


def test_a_signed_report_is_refused_by_the_database_itself(signed):
    """S4, S9: neither the product nor anybody at the database changes or deletes it."""
    report, _ = signed
    with pytest.raises(DatabaseError), transaction.atomic():
        Report.objects.filter(pk=report.pk).update(comment="changed")
    with pytest.raises(DatabaseError), transaction.atomic():
        Report.objects.filter(pk=report.pk)._raw_delete("default")
    assert Report.objects.get(pk=report.pk).comment == "Normal differential."


def test_a_signed_report_says_the_same_after_policy_cell_and_patient_change(signed, pathologist, admin):
    """S5, C6: signed content is read, never recomputed."""
    report, client = signed
    before = client.get(reverse("report_detail", args=[report.pk])).context["content"]
    Policy.objects.create(laboratory=report.case.laboratory, version=1, rules={"bands": "separate"}, created_by=admin)
    Decision.objects.create(cell=current_cells(report.case).first(), to_code="MYO", decided_by=pathologist)
    report.case.patient.name = "Somebody Else"
    report.case.patient.save()
    assert client.get(reverse("report_detail", args=[report.pk])).context["content"] == before
    exported = client.get(reverse("report_export", args=[report.pk, "json"])).json()
    assert exported["patient"]["name"] == "Edelgard Wintermute"
    assert exported["counts"] == NORMAL


def test_an_amendment_is_a_new_version_with_a_reason_and_both_stay_readable(signed, technologist):
    """S9: reason required, differences shown, who had the old one."""
    old, client = signed
    client.get(reverse("report_detail", args=[old.pk]))
    client.post(reverse("report_amend", args=[old.pk]), {"reason": " "})
    assert Report.objects.count() == 1
    client.post(reverse("report_amend", args=[old.pk]), {"reason": "Five cells were bands."})
    cells = [cell for cell in current_cells(old.case) if cell.code == "NGS"][:5]
    relabel_cells(cells, to="NGB", by=technologist)
    assert post_signature(client, old.case).status_code == 302
    new = Report.objects.get(version=2)
    assert (new.amends, new.previous_seal, new.content["report"]["amends_seal"]) == (old, old.seal, old.seal)
    page = client.get(reverse("report_detail", args=[new.pk])).content.decode()
    assert "Five cells were bands." in page
    assert [(c["what"], c["before"], c["now"]) for c in new.content["amendment"]["changes"]][:1] == [
        ("Segmented neutrophils", "60, 60.0 %, 10.44 × 10⁹/L", "55, 55.0 %, 9.57 × 10⁹/L")
    ]
    assert "was opened or exported by" in page
    old_page = client.get(reverse("report_detail", args=[old.pk])).content.decode()
    assert "Replaced by version 2" in old_page
    assert "Amended report" in page
    assert client.get(reverse("report_export", args=[old.pk, "json"])).json()["counts"]["NGS"] == 60


def test_a_signed_report_has_one_amendment_at_a_time(signed):
    """S9."""
    report, client = signed
    for _ in range(2):
        client.post(reverse("report_amend", args=[report.pk]), {"reason": "again"})
    assert Report.objects.count() == 2


def test_an_unsigned_report_is_marked_preliminary_on_page_pdf_and_export(make_case, make_slide, sign_in, pathologist):
    """C10."""
    case, client = make_case(), sign_in(pathologist)
    make_slide(case, NORMAL)
    client.post(reverse("case_sign", args=[case.pk]), {"act": "keep", "comment": "Draft."})
    report = Report.objects.get(case=case)
    assert "Preliminary, not reviewed" in client.get(reverse("case_detail", args=[case.pk])).content.decode()
    assert "Preliminary, not reviewed" in client.get(reverse("report_detail", args=[report.pk])).content.decode()
    assert (
        client.get(reverse("report_export", args=[report.pk, "json"])).json()["status"] == "preliminary, not reviewed"
    )
    rows = list(
        csv.DictReader(io.StringIO(client.get(reverse("report_export", args=[report.pk, "csv"])).content.decode()))
    )
    assert {row["status"] for row in rows} == {"preliminary, not reviewed"}
    assert client.get(reverse("report_export", args=[report.pk, "bundle"])).status_code == 302


def test_csv_and_json_hold_the_numbers_of_the_page(signed):
    """S1: the signature stands on every export."""
    report, client = signed
    answer = client.get(reverse("report_export", args=[report.pk, "csv"]))
    rows = {row["code"]: row for row in csv.DictReader(io.StringIO(answer.content.decode()))}
    assert (rows["NGS"]["count"], rows["NGS"]["percent"], rows["NGS"]["signed_by"]) == ("60", "60.0", "Paul")
    assert rows["NGS"]["absolute_10*9/L"] == "10.44"
    assert rows["NGS"]["loinc_percent"] == "26505-8"
    assert rows["MYO"]["count"] == "0"
    exported = client.get(reverse("report_export", args=[report.pk, "json"])).json()
    assert exported["signature"]["meaning"] == "Review and approval"
    assert "cells" not in exported


def test_a_comment_that_looks_like_a_formula_is_harmless_in_a_spreadsheet(reviewed, sign_in, pathologist):
    case, client = reviewed(accession_number="=1+1"), sign_in(pathologist)
    post_signature(client, case)
    report = Report.objects.get(case=case)
    body = client.get(reverse("report_export", args=[report.pk, "csv"])).content.decode()
    assert "'=1+1" in body


def test_a_report_without_wbc_says_so_and_invents_no_absolute_count(reviewed, sign_in, pathologist):
    """C8."""
    case, client = reviewed(), sign_in(pathologist)
    page = client.get(reverse("case_detail", args=[case.pk]))
    assert "No analyser WBC was entered" in page.content.decode()
    assert {line["absolute"] for line in page.context["lines"]} == {""}


def test_the_pdf_is_tagged_numbered_and_has_the_numbers_of_the_page(signed):
    """S1, S11: read back with an independent library."""
    from pypdf import PdfReader

    report, client = signed
    answer = client.get(reverse("report_pdf", args=[report.pk]))
    assert answer["Content-Type"] == "application/pdf"
    reader = PdfReader(io.BytesIO(answer.content))
    assert reader.trailer["/Root"]["/MarkInfo"]["/Marked"]
    assert b"pdfuaid" in reader.trailer["/Root"]["/Metadata"].get_data()
    text = " ".join(page.extract_text() for page in reader.pages)
    words = " ".join(text.split())
    assert "Page 1 of" in words
    assert "Research use, not a medical device" in words
    assert "Signed by Paul" in words
    assert "Review and approval" in words
    for line in client.get(reverse("report_detail", args=[report.pk])).context["lines"]:
        assert line["percent"] in words
        assert line["interval"] in words
        assert line["absolute"] in words
    assert report.seal in text.replace("\n", "")
    assert "PRELIMINARY" not in text


def test_the_pdf_of_a_draft_says_preliminary_on_every_page(make_case, make_slide, sign_in, pathologist):
    """C10."""
    from pypdf import PdfReader

    case, client = make_case(), sign_in(pathologist)
    make_slide(case, AML)
    client.post(reverse("case_sign", args=[case.pk]), {"act": "keep", "comment": "Draft."})
    report = Report.objects.get(case=case)
    reader = PdfReader(io.BytesIO(client.get(reverse("report_pdf", args=[report.pk])).content))
    assert all("PRELIMINARY" in page.extract_text() for page in reader.pages)
    assert "URGENT" in reader.pages[0].extract_text()


def test_hostile_words_in_comment_and_name_stay_words(reviewed, sign_in, pathologist):
    """No markup of a comment runs in the page or makes the PDF fetch something."""
    case, client = reviewed(), sign_in(pathologist)
    hostile = "<script>alert(1)</script><img src='file:///etc/passwd'> {{ 7|add:7 }}"
    post_signature(client, case, comment=hostile)
    report = Report.objects.get(case=case)
    page = client.get(reverse("report_detail", args=[report.pk])).content.decode()
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;" in page
    assert client.get(reverse("report_pdf", args=[report.pk])).content.startswith(b"%PDF")


def test_a_signed_report_beside_what_another_policy_makes_of_its_cells(signed, admin):
    """C6: re-derived, not re-signed."""
    report, client = signed
    Policy.objects.create(
        laboratory=report.case.laboratory,
        version=1,
        rules={"bands": "separate", "minimum_count": 200},
        created_by=admin,
    )
    page = client.get(reverse("report_policies", args=[report.pk]), {"policy": "1"})
    assert page.context["other"].is_limited
    assert not page.context["content"]["differential"]["is_limited"]
    assert client.get(reverse("report_policies", args=[report.pk]), {"policy": "nonsense"}).status_code == 404


def test_each_look_at_a_case_and_a_report_is_recorded(signed):
    """S7."""
    report, client = signed
    before = Event.objects.count()
    client.get(reverse("case_detail", args=[report.case_id]))
    client.get(reverse("report_detail", args=[report.pk]))
    client.get(reverse("report_export", args=[report.pk, "bundle"]))
    client.get(reverse("report_pdf", args=[report.pk]))
    actions = list(Event.objects.order_by("id").values_list("action", flat=True))[before:]
    assert actions == ["case.read", "report.read", "report.export", "report.export"]


def test_replaying_the_audit_trail_gives_the_same_differential(signed):
    """S4, S5: labels rebuilt from the bundle's decisions alone."""
    report, client = signed
    bundle = json.loads(client.get(reverse("report_export", args=[report.pk, "bundle"])).content)
    counts = {}
    for cell in bundle["content"]["cells"]:
        label = cell["decisions"][-1]["to"] if cell["decisions"] else cell["detector_code"]
        counts[label] = counts.get(label, 0) + 1
    assert counts == NORMAL == report.content["counts"]


def test_a_result_is_called_changed_only_where_the_intervals_do_not_overlap(reviewed, sign_in, pathologist):
    """C2: lymphocytes 30 of 100 (21-40) against 70 of 100 (60-79) changed; monocytes 7 against 10 did not."""
    first = reviewed(accession_number="A-1", received_at=timezone.now() - timedelta(days=3), **WBC)
    client = sign_in(pathologist)
    assert post_signature(client, first).status_code == 302
    second = reviewed({"NGS": 20, "LYT": 70, "MON": 10}, accession_number="A-2", **WBC | {"wbc": "5"})
    lines = {x["key"]: x for x in client.get(reverse("case_detail", args=[second.pk])).context["lines"]}
    assert (lines["LYT"]["before"], lines["LYT"]["changed"]) == ("30.0", "up")
    assert (lines["NGS"]["before"], lines["NGS"]["changed"]) == ("60.0", "down")
    assert (lines["MON"]["before"], lines["MON"]["changed"]) == ("7.0", "")
    # Absolute: lymphocytes 5.22 (3.65 to 6.97) against 3.50 (3.00 to 3.94) did not change, neutrophils 10.44 did.
    assert (lines["LYT"]["before_absolute"], lines["LYT"]["changed_absolute"]) == ("5.22", "")
    assert (lines["neutrophils"]["before_absolute"], lines["neutrophils"]["changed_absolute"]) == ("10.44", "down")
    page = client.get(post_signature(client, second).url).content.decode()
    assert "changed, up" in page
    assert "before, × 10⁹/L" in page
    first_again = client.get(reverse("case_detail", args=[first.pk])).context["previous"]
    assert first_again is None


def test_without_the_pdf_library_the_printable_page_says_what_is_missing(signed, tmp_path, monkeypatch):
    """The library fails on import where Pango is absent, as this stand-in does."""
    (tmp_path / "weasyprint.py").write_text("raise OSError('cannot load library libpango-1.0-0')")
    for name in [name for name in sys.modules if name.split(".")[0] == "weasyprint"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.syspath_prepend(tmp_path)
    report, client = signed
    answer = client.get(reverse("report_pdf", args=[report.pk]), follow=True)
    assert answer.redirect_chain == [(reverse("report_detail", args=[report.pk]), 302)]
    assert "Pango is missing" in answer.content.decode()
    assert "Signed by Paul" in answer.content.decode()
