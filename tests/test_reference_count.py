"""The reference differential: two blinded readers, 200 cells each (C1)."""

import pytest
from django.db import IntegrityError
from django.urls import reverse
from django.utils import timezone

from leukoweb.accounts.models import User
from leukoweb.audit.models import Event
from leukoweb.refusals import Refused
from leukoweb.review.counting.agreement import cohen_kappa, kappa_interval
from leukoweb.review.models import Decision, Reading, ReferenceCount, Report
from leukoweb.review.studies.reference import settle
from tests.conftest import PASSWORD
from tests.test_reports import look_at, post_signature

pytestmark = pytest.mark.slow


@pytest.fixture
def case(make_case, make_slide):
    case = make_case()
    make_slide(case, {"NGS": 150, "LYT": 80})
    make_slide(case, {"NGS": 150, "LYT": 40})
    return case


@pytest.fixture
def second_reader(laboratory):
    return User.objects.create_user(
        "rita", password=PASSWORD, role="technologist", laboratory=laboratory, first_name="Rita"
    )


def read_all(client, case, label=lambda reading: reading.cell.detector_code):
    """Read every cell that is dealt to this reader: the first and the last by the page, the others are laid as rows."""
    address = reverse("reference_read", args=[case.pk])
    client.post(address)
    reading = client.get(address).context["reading"]
    client.post(address, {"reading": reading.pk, "code": label(reading)})
    dealt = list(Reading.objects.filter(count__case=case, place=reading.place, code="").select_related("cell"))[:-1]
    for each in dealt:
        each.code, each.read_at = label(each), timezone.now()
    Reading.objects.bulk_update(dealt, ["code", "read_at"])
    reading = client.get(address).context["reading"]
    assert client.post(address, {"reading": reading.pk, "code": label(reading)}, follow=True).status_code == 200


def doubt(reading):
    """Call the other reader's lymphocytes atypical."""
    code = reading.cell.detector_code
    return "LYA" if reading.is_second_look and code == "LYT" else code


def start(client, case):
    return client.post(reverse("reference_start", args=[case.pk]), follow=True)


def test_two_readers_read_200_cells_each_and_the_merged_count_has_400(
    case, sign_in, technologist, second_reader, pathologist
):
    """C1: 400 different cells, from both slides; the labels of the case stay as they are."""
    start(sign_in(technologist), case)
    read_all(sign_in(technologist), case)
    assert "merged" not in sign_in(second_reader).get(reverse("reference_detail", args=[case.pk])).context
    read_all(sign_in(second_reader), case)
    page = sign_in(pathologist).get(reverse("reference_detail", args=[case.pk]))
    assert (page.context["first"].total, page.context["second"].total, page.context["merged"].total) == (200, 200, 400)
    assert page.context["read_twice"] == 40
    assert page.context["kappa"] == 1.0
    own = Reading.objects.filter(is_second_look=False)
    assert own.values("cell").distinct().count() == 400
    assert own.values("cell__image__slide").distinct().count() == 2
    assert not Decision.objects.exists()


def test_one_reader_is_refused_as_the_second(case, sign_in, technologist):
    """C1: who has read all goes on as the first reader, the other place stays free."""
    client = sign_in(technologist)
    start(client, case)
    read_all(client, case)
    client.get(reverse("reference_read", args=[case.pk]))
    count = ReferenceCount.objects.get()
    assert (count.first_reader, count.second_reader) == (technologist, None)
    count.second_reader = technologist
    with pytest.raises(IntegrityError):
        count.save()


def test_a_third_reader_is_refused(case, sign_in, technologist, second_reader, pathologist):
    start(sign_in(technologist), case)
    for person in (technologist, second_reader):
        sign_in(person).post(reverse("reference_read", args=[case.pk]))
    answer = sign_in(pathologist).post(reverse("reference_read", args=[case.pk]), follow=True)
    assert "already has two other readers" in answer.content.decode()


def test_looking_at_the_page_takes_no_place_and_one_that_was_taken_can_be_given_back(case, sign_in, technologist):
    """H48: a place is taken by a button, and given back as long as none of its cells was read."""
    client = sign_in(technologist)
    start(client, case)
    address, leave = reverse("reference_read", args=[case.pk]), reverse("reference_leave", args=[case.pk])
    assert "Take an open place" in client.get(address, follow=True).content.decode()
    assert ReferenceCount.objects.get().first_reader is None
    client.post(address)
    assert ReferenceCount.objects.get().first_reader == technologist
    client.post(leave)
    assert ReferenceCount.objects.get().first_reader is None
    reading = client.post(address, follow=True).context["reading"]
    client.post(address, {"reading": reading.pk, "code": "NGS"})
    assert "cannot be given up" in client.post(leave, follow=True).content.decode()
    assert ReferenceCount.objects.get().first_reader == technologist


def test_the_page_of_a_reader_shows_no_label_and_no_score(case, sign_in, technologist):
    """C1: blinded."""
    client = sign_in(technologist)
    start(client, case)
    page = client.post(reverse("reference_read", args=[case.pk]), follow=True)
    words = page.content.decode()
    assert "score" not in words
    assert "0.9" not in words
    assert words.count("NGS") == words.count("LYT")


def test_disagreements_are_listed_settled_and_counted_as_settled(
    case, sign_in, technologist, second_reader, pathologist
):
    """C1: the second reader calls the lymphocytes of the first one atypical."""
    start(sign_in(technologist), case)
    read_all(sign_in(technologist), case)
    read_all(sign_in(second_reader), case, doubt)
    client = sign_in(pathologist)
    address = reverse("reference_detail", args=[case.pk])
    page = client.get(address)
    listed = page.context["disagreements"]
    first_of_first = Reading.objects.filter(is_second_look=True, place=2, cell__detector_code="LYT")
    assert {own.cell_id for own, _ in listed} == set(first_of_first.values_list("cell", flat=True)) != set()
    assert page.context["merged"]["LYA"].count == 0
    for own, _ in listed:
        client.post(reverse("reference_settle", args=[case.pk]), {"cell": own.cell_id, "code": "LYA"})
    page = client.get(address)
    assert page.context["merged"]["LYA"].count == len(listed)
    assert page.context["kappa"] < 1
    assert sign_in(technologist).post(reverse("reference_settle", args=[case.pk]), {}).status_code == 403


def test_a_cell_is_read_once_and_only_by_its_reader(case, sign_in, technologist, second_reader):
    client = sign_in(technologist)
    start(client, case)
    address = reverse("reference_read", args=[case.pk])
    client.post(address)
    reading = client.get(address).context["reading"]
    client.post(address, {"reading": reading.pk, "code": "NGS"})
    client.post(address, {"reading": reading.pk, "code": "MYO"})
    client.post(address, {"reading": reading.pk, "code": "nonsense"})
    assert sign_in(second_reader).post(address, {"reading": reading.pk, "code": "MYO"}).status_code == 404
    reading.refresh_from_db()
    assert reading.code == "NGS"


def test_too_few_cells_are_refused_in_a_sentence(make_case, make_slide, sign_in, technologist):
    case = make_case()
    make_slide(case, {"NGS": 399})
    assert "needs 400 leukocytes" in start(sign_in(technologist), case).content.decode()
    assert not ReferenceCount.objects.exists()


def test_the_signed_report_holds_the_reference_count(case, sign_in, technologist, second_reader, pathologist):
    """C1, S5: settled first, then printed and sealed."""
    look_at(case, pathologist)
    start(sign_in(technologist), case)
    read_all(sign_in(technologist), case)
    read_all(sign_in(second_reader), case, doubt)
    client = sign_in(pathologist)
    assert "are not settled" in post_signature(client, case).content.decode()
    for own, _ in client.get(reverse("reference_detail", args=[case.pk])).context["disagreements"]:
        client.post(reverse("reference_settle", args=[case.pk]), {"cell": own.cell_id, "code": "LYT"})
    answer = client.get(post_signature(client, case).url)
    assert "Reference count of 400 leukocytes by Tess and Rita" in answer.content.decode()


def test_kappa_is_that_of_a_worked_example():
    """By hand: 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: agreed .70, by chance .50, kappa .40."""
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohen_kappa(pairs) == pytest.approx(0.4)
    assert cohen_kappa([]) is None
    assert cohen_kappa([("y", "y")] * 3) is None
    assert cohen_kappa([("y", "n"), ("n", "y")]) == -1.0


def test_the_interval_of_kappa_is_that_of_statsmodels():
    """From statsmodels 0.15.0, `cohens_kappa(table)`: kappa_low and kappa_upp of the same tables."""
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert kappa_interval(pairs) == pytest.approx((0.151092290476661, 0.6489077095233389), abs=1e-6)
    pairs = [("NGS", "NGS")] * 18 + [("NGS", "NGB")] * 3 + [("NGB", "NGB")] * 6 + [("LYT", "LYT")] * 9
    pairs += [("LYT", "LYA")] * 2 + [("LYA", "LYT")] + [("MON", "LYA")]
    assert kappa_interval(pairs) == pytest.approx((0.5698100446012369, 0.8993842681949713), abs=1e-6)
    assert kappa_interval([]) is None
    assert kappa_interval([("y", "y")] * 9 + [("n", "n")] * 9) is None


def test_each_reader_has_a_slide_and_200_leukocytes_however_many_other_cells(
    make_case, make_slide, sign_in, technologist, second_reader, pathologist
):
    """C1, H31: erythroblasts and smudge cells are met, but never among the 200."""
    case = make_case()
    for _ in range(2):
        make_slide(case, {"NGS": 140, "LYT": 80, "EBO": 60, "KSC": 20})
    start(sign_in(technologist), case)
    for reader in (technologist, second_reader):
        read_all(sign_in(reader), case)
    result = sign_in(pathologist).get(reverse("reference_detail", args=[case.pk])).context
    assert (result["first"].total, result["second"].total, result["merged"].total) == (200, 200, 400)
    own = Reading.objects.filter(is_second_look=False)
    assert own.count() > 400
    for place in (1, 2):
        assert own.filter(place=place).values("cell__run__slide").distinct().count() == 1


def test_a_reader_who_calls_fewer_cells_leukocytes_gets_more_until_there_are_200(
    case, sign_in, technologist, second_reader, pathologist
):
    """H31: 200 leukocytes by the reader's own eyes."""
    start(sign_in(technologist), case)
    first = Reading.objects.filter(place=1, is_second_look=False).first().cell_id
    client = sign_in(technologist)
    read_all(client, case, lambda reading: "KSC" if reading.cell_id == first else reading.cell.detector_code)
    own = Reading.objects.filter(place=1, is_second_look=False)
    while reading := own.filter(code="").first():
        client.post(reverse("reference_read", args=[case.pk]), {"reading": reading.pk, "code": "NGS"})
    assert own.exclude(code="KSC").count() == 200
    assert own.count() == 201


def test_a_reader_who_labelled_the_case_is_refused(case, sign_in, technologist):
    """H31: not blinded."""
    look_at(case, technologist)
    client = sign_in(technologist)
    start(client, case)
    answer = client.post(reverse("reference_read", args=[case.pk]), follow=True)
    assert "are not blinded" in answer.content.decode()
    assert ReferenceCount.objects.get().first_reader is None


def test_an_unfinished_reference_count_blocks_the_signature_until_it_is_cancelled_with_a_reason(
    case, sign_in, technologist, pathologist
):
    """H31."""
    look_at(case, pathologist)
    client = sign_in(technologist)
    start(client, case)
    client.post(reverse("reference_read", args=[case.pk]))
    reading = client.get(reverse("reference_read", args=[case.pk])).context["reading"]
    client.post(reverse("reference_read", args=[case.pk]), {"reading": reading.pk, "code": "NGS"})
    client = sign_in(pathologist)
    assert "The reference count is not finished" in post_signature(client, case).content.decode()
    client.post(reverse("reference_cancel", args=[case.pk]), {"reason": " "})
    assert ReferenceCount.objects.exists()
    client.post(reverse("reference_cancel", args=[case.pk]), {"reason": "One reader is ill."})
    assert not ReferenceCount.objects.exists()
    assert Event.objects.get(action="reference.cancel").changes["readings"] == [[reading.cell_id, 1, "NGS"]]
    assert post_signature(client, case).status_code == 302


def test_the_readings_are_in_the_sealed_bundle(case, sign_in, technologist, second_reader, pathologist):
    """H31: every single reading, who read it and when."""
    look_at(case, pathologist)
    start(sign_in(technologist), case)
    for reader in (technologist, second_reader):
        read_all(sign_in(reader), case)
    client = sign_in(pathologist)
    assert post_signature(client, case).status_code == 302
    readings = Report.objects.get(case=case).content["reference"]["readings"]
    assert len(readings) == 440
    assert {reading["by"] for reading in readings} == {"tess", "rita"}
    closed = Reading.objects.filter(is_second_look=True, place=2).first()
    with pytest.raises(Refused, match="stays as it is"):  # what is sealed would differ from what the page shows
        settle(ReferenceCount.objects.get(), closed.cell_id, "LYA", by=pathologist)
    assert sum(reading["is_second_look"] for reading in readings) == 40
