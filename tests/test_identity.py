"""One patient, one name, one number: whatever a keyboard, a scanner or another system makes of them."""

import re
from datetime import UTC, datetime

import pytest
from django.utils import timezone
from rest_framework.test import APIClient

from leukoweb.cases.forms import CaseForm
from leukoweb.cases.models import Case, Patient, SlideImage
from tests.conftest import PASSWORD
from tests.pictures import picture


@pytest.fixture
def register(technologist):
    """Register by the API: the status and the answer."""
    api = APIClient()
    token = api.post("/api/v1/token/", {"username": "tess", "password": PASSWORD}, "json").json()["token"]
    api.credentials(HTTP_AUTHORIZATION=f"Token {token}")

    def by_api(accession_number, mrn="Z4711", name="Doe, Jane", **more):
        patient = {"mrn": mrn, "name": name, **{key: more.pop(key) for key in ("sex", "birth_date") if key in more}}
        answer = api.post("/api/v1/cases/", {"accession_number": accession_number, "patient": patient, **more}, "json")
        return answer.status_code, answer.json()

    return by_api


@pytest.mark.slow
@pytest.mark.parametrize(
    "mrn",
    [
        "Z4711\u200b", "\ufeffZ4711", "Z\u00ad4711", "\uff3a4711", " Z4711\u2060", "z4711", "Z4711\u3164",
        "Z47\u034f11", "Z4711\ufe0f", "Z4711\u200f", "Z4711\u2800", "Z4711\U000e0100", "\u00a0Z4711",
    ],
)  # fmt: skip
def test_invisible_and_full_width_characters_make_no_second_patient(register, sign_in, technologist, mrn):
    assert register("INV-1")[0] == 201
    assert register("INV-2", mrn)[0] == 201
    form = {"mrn": mrn, "name": "Doe, Jane", "accession_number": "INV\u200b-3", "priority": "routine", "stain": "MGG"}
    client = sign_in(technologist)
    client.post("/cases/new/", form | {"received_at": "2026-11-20T10:00"})
    client.post("/cases/new/", form | {"accession_number": "INV-3", "received_at": "2026-11-20T10:00"})
    assert Patient.objects.get().mrn == "Z4711"
    assert sorted(Case.objects.values_list("accession_number", flat=True)) == ["INV-1", "INV-2", "INV-3"]
    known = client.post("/cases/patient/", {"mrn": "\uff3a4711"}).content.decode()
    assert "Doe, Jane" in known


def test_a_dash_of_a_text_program_in_a_number_is_a_hyphen(register):
    assert register("DASH-1", "M-77")[0] == 201
    assert register("DASH-2", "M\u201377")[0] == 201
    assert Patient.objects.get().mrn == "M-77"


@pytest.mark.parametrize("mark", ["\u202a", "\u202e", "\u2067"])
def test_marks_that_turn_text_around_are_refused_in_names_and_numbers(register, mark):
    assert register("TURN-1", f"{mark}Z4711", "Doe, Jane")[0] == 400
    assert register("TURN-1", "Z4711", f"{mark}Doe, Jane")[0] == 400


def test_a_program_finds_a_case_by_a_number_as_a_person_may_have_copied_it(register, client, technologist):
    assert register("FIND-1")[0] == 201
    client.force_login(technologist)
    for number in ("FIND-1", " find-1", "FIND\u20111\u200b", "\uff26IND-1"):
        answer = client.post("/api/v1/cases/find/", {"accession_number": number}, "application/json")
        assert (answer.status_code, answer.json()["accession_number"]) == (200, "FIND-1"), ascii(number)


def test_a_number_of_invisible_characters_is_none(register):
    assert register("INV-9", "\u200b\ufeff")[0] == 400


@pytest.mark.slow
@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("M\u00fcller, J\u00f6rg", "Mu\u0308ller, Jo\u0308rg"),
        ("O'Brien, Mary", "O\u2019Brien, Mary"),
        ("M\u00dcLLER, J\u00d6RG", "M\u00fcller J\u00f6rg"),
        ("Stra\u00df, Anna", "STRASS, ANNA"),
        ("Levi\u2011Katz, Ann", "Levi-Katz, Ann"),
        ("Doe,\u00a0Jane\u200b", "Doe, Jane"),
        ("O\u00b4Brien, Mary", "O'Brien, Mary"),
        ("O\u02bfBrien, Mary", "O\uff07Brien, Mary"),
        ("Levi\u2015Katz, Ann", "Levi-Katz, Ann"),
        ("Nguy\u1ec5n, A", "Nguye\u0302\u0303n, A"),
        ("\u0130brahim, A", "ibrahim, a"),
        ("Gri\ufb03th, Ann", "GRIFFITH, ANN"),
        ("Doe\u200f, Jane", "Doe, Jane"),
        ("\u8fbb\U000e0100, A", "\u8fbb, A"),
    ],
)
def test_spellings_of_one_name_are_one_name(register, one, other):
    assert register("NAME-1", "N1", one)[0] == 201
    assert register("NAME-2", "N1", other)[0] == 201
    status, answer = register("NAME-3", "N1", "Another, Person")
    assert status == 400
    assert "another name" in str(answer)


@pytest.mark.slow
def test_a_search_finds_umlauts_in_either_case_and_form(sign_in, technologist, make_case, laboratory):
    patient = Patient.objects.create(laboratory=laboratory, mrn="U1", name="\u00d6zt\u00fcrk, \u00c4nne O\u2019Brien")
    make_case("UML-1", patient=patient)
    client = sign_in(technologist)
    for words in ("\u00f6zt\u00dcRK", "o\u0308zt", "\u00e4NNE", "o'brien", "uml-1", "\uff35\uff2d\uff2c"):
        page = client.post("/cases/", {"search": words}, follow=True)
        assert "UML-1" in page.content.decode(), words
    assert "UML-1" not in client.post("/cases/", {"search": "zebra"}, follow=True).content.decode()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Nguy\u1ec5n, V\u0103n \u0110\u1ee9c", ("nguyen", "NGUY\u1ec4N", "duc", "van nguyen")),
        ("\u0141ukasz, \u017bo\u0142\u0105d\u017a", ("lukasz", "zoladz")),
        ("M\u00f8ller, J\u00f6rg", ("moller", "jorg", "m\u00f8ller")),
        ("Y\u0131ld\u0131z, \u00c7a\u011fr\u0131", ("yildiz", "cagri")),
        ("\u0399\u03c9\u03ac\u03bd\u03bd\u03b7\u03c2, A", ("\u03b9\u03c9\u03b1\u03bd\u03bd\u03b7\u03c3",)),
        ("\uae40\ubbfc\uc218", ("\uae40\ubbfc", "\ubbfc\uc218")),
        ("\u0938\u0940\u0924\u093e", ("\u0938\u0940\u0924",)),
    ],
)
def test_a_search_without_accents_finds_names_that_have_them(sign_in, technologist, make_case, laboratory, name, words):
    make_case("ACC-1", patient=Patient.objects.create(laboratory=laboratory, mrn="A1", name=name))
    client = sign_in(technologist)
    for word in words:
        assert "ACC-1" in client.post("/cases/", {"search": word}, follow=True).content.decode(), ascii(word)


def test_marks_are_left_out_of_the_search_only(register):
    assert register("MARK-1", "K1", "M\u00fcller, Anna")[0] == 201
    assert register("MARK-2", "K1", "Muller, Anna")[0] == 400


@pytest.mark.parametrize(
    ("one", "other", "status"),
    [
        ("Doe, Jane", "Jane Doe", 201),
        ("Jane Doe", "DOE, Jane", 201),
        ("Doe, Jane Mary", "Jane Mary Doe", 201),
        ("Doe, Jane", "Jane, Doe", 400),
        ("Jane Doe", "Doe Jane", 400),
        ("Doe, Jane", "Jane Roe", 400),
        ("Doe, Jane", "Jane Doe Jane", 400),
    ],
)
def test_a_name_in_the_order_of_speech_is_the_same_as_with_its_comma(register, one, other, status):
    assert register("TURN-1", "N2", one)[0] == 201
    assert register("TURN-2", "N2", other)[0] == status


def test_an_accession_number_in_other_capitals_is_refused_with_the_registered_one(register):
    assert register("ab-77", "C1")[0] == 201
    status, answer = register("AB-77", "C2", "Roe, Richard")
    assert status == 400
    assert "ab-77 is already registered" in answer["detail"]
    assert Case.objects.count() == 1


@pytest.mark.slow
def test_accession_numbers_with_slash_and_blank_are_taken_and_found(register, sign_in, technologist):
    client = sign_in(technologist)
    for number in ("26/1234", "H 26 1234", "26/H 7"):
        assert register(number)[0] == 201
        assert client.post("/cases/", {"search": number}).status_code == 302
        quoted = number.replace("/", "%2F").replace(" ", "%20")
        assert client.get(f"/api/v1/cases/{quoted}/").json()["accession_number"] == number
        client.post(f"/api/v1/cases/{quoted}/slides/", {"images": [picture()]})
    assert SlideImage.objects.count() == 3
    assert register("26/")[0] == 400


def test_nobody_is_born_after_the_specimen(register, sign_in, technologist):
    times = {"collected_at": "2026-11-10T08:00:00Z", "received_at": "2026-11-10T09:00:00Z"}
    status, answer = register("BORN-1", birth_date="2026-11-20", **times)
    assert status == 400
    assert "born after this specimen" in answer["detail"]
    assert register("BORN-2", birth_date="2026-11-10", **times)[0] == 201
    # Known from another case: the birth date need not be sent again.
    early = {"collected_at": "2026-11-01T08:00:00Z", "received_at": "2026-11-01T09:00:00Z"}
    assert register("BORN-3", **early)[0] == 400


@pytest.mark.parametrize("sex", ["O", "A", "N", "X", "", None, "u", "f"])
def test_every_sex_of_hl7_is_taken(register, sex):
    assert register("SEX-1", sex=sex)[0] == 201
    assert Patient.objects.get().sex == ("F" if sex == "f" else "U")


@pytest.mark.slow
def test_the_same_picture_in_the_cases_of_two_patients_is_said_on_both(sign_in, technologist, make_case, laboratory):
    client, answers = sign_in(technologist), []
    other = Patient.objects.create(laboratory=laboratory, mrn="P2", name="Roe, Richard")
    for case in (make_case("SAME-1"), make_case("SAME-2"), make_case("SAME-3", patient=other)):
        answers.append(client.post(f"/cases/{case.pk}/slides/new/", {"images": [picture()]}))
    first, second, third = (image.warning for image in SlideImage.objects.order_by("pk"))
    assert "case SAME-3 of another patient" in first
    assert "case SAME-3 of another patient" in second
    assert "case SAME-1 of another patient" in third
    assert "SAME-2" in third


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("birth_date", "0061-05-04", "more than 130 years back"),
        ("birth_date", "1861-05-04", "more than 130 years back"),
        ("collected_at", "0026-11-20T08:00:00Z", "before 1900"),
        ("received_at", "0026-11-20T08:00:00Z", "before 1900"),
        ("wbc_at", "1026-11-20T08:00:00Z", "before 1900"),
    ],
)
def test_a_year_of_two_digits_is_refused_by_program_and_page(register, sign_in, technologist, field, value, words):
    status, answer = register("YEAR-1", "Y1", **{field: value})
    assert (status, list(answer["fields"])) == (400, [field])
    assert words in answer["detail"]
    form = {"mrn": "Y1", "name": "Doe, Jane", "accession_number": "YEAR-2", "priority": "routine", "stain": "MGG"}
    typed = {"received_at": "2026-11-20T10:00"} | {field: value.removesuffix("Z")}
    assert words in sign_in(technologist).post("/cases/new/", form | typed).content.decode()
    assert not Case.objects.exists()


def form_of(case, **changed):
    """What a browser sends back of the form as it was shown."""
    shown = CaseForm(instance=case)
    values = {name: shown[name].value() for name in shown.fields}
    sent = {name: value for name, value in values.items() if value is not None}
    times = {name: f"{value:%Y-%m-%dT%H:%M:%S}" for name, value in sent.items() if isinstance(value, datetime)}
    return sent | times | changed


@pytest.mark.parametrize(
    "received_at",
    [
        datetime(2026, 11, 26, 10, 0, 45, 123456, tzinfo=UTC),
        datetime(2026, 10, 25, 0, 30, tzinfo=UTC),  # 02:30 in Berlin, for the first time
        datetime(2026, 10, 25, 1, 30, tzinfo=UTC),  # and for the second
    ],
)
def test_editing_only_the_note_leaves_the_times_as_they_are(sign_in, technologist, make_case, settings, received_at):
    settings.TIME_ZONE = "Europe/Berlin"
    case = make_case("SEC-1", received_at=received_at, collected_at=received_at)
    with timezone.override("Europe/Berlin"):
        sent = form_of(case, clinical_note="changed") | {"mrn": "M-77", "name": "Edelgard Wintermute", "sex": "F"}
    answer = sign_in(technologist).post(f"/cases/{case.pk}/edit/", sent | {"birth_date": "1961-05-04"})
    assert answer.status_code == 302, re.findall(r"invalid-feedback.*?</strong>", answer.content.decode(), re.S)
    case.refresh_from_db()
    assert (case.clinical_note, case.received_at, case.collected_at) == ("changed", received_at, received_at)


def test_a_new_case_can_be_registered_in_the_doubled_hour_but_not_in_the_left_out_one(make_case, settings):
    settings.TIME_ZONE = "Europe/Berlin"
    fields = {"accession_number": "DST-1", "priority": "routine", "stain": "MGG"}
    with timezone.override("Europe/Berlin"):
        doubled = CaseForm(fields | {"received_at": "2026-10-25T02:30:00"})
        assert doubled.is_valid(), doubled.errors
        left_out = CaseForm(fields | {"received_at": "2026-03-29T02:30:00"})
        assert "does not exist" in str(left_out.errors)
