"""Who finds which case where, in what order; hand over and return (states of a case, C7)."""

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from leukoweb.review.models import Acknowledgement, HandOver


def sections(client):
    """Section title -> accession numbers in the order of the page."""
    page = client.get(reverse("worklist"))
    return {title: [row["case"].accession_number for row in rows] for title, rows in page.context["sections"]}


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
    assert sections(sign_in(pathologist))["To review"] == ["BLAST", "STAT", "OLD", "NEW"]


def test_an_acknowledged_flag_no_longer_lifts_a_case(make_case, make_slide, sign_in, pathologist):
    case = make_case("BLAST")
    make_slide(case, {"NGS": 99, "MYO": 1})
    make_slide(make_case("STAT", priority="stat"), {"NGS": 5})
    client = sign_in(pathologist)
    client.post(reverse("flag_acknowledge", args=[case.pk]), {"flag": "blasts"})
    assert Acknowledgement.objects.get().acknowledged_by == pathologist
    assert sections(client)["To review"] == ["STAT", "BLAST"]


def test_a_flag_that_does_not_stand_cannot_be_acknowledged(make_case, make_slide, sign_in, pathologist):
    case = make_case()
    make_slide(case, {"NGS": 100})
    answer = sign_in(pathologist).post(reverse("flag_acknowledge", args=[case.pk]), {"flag": "blasts"}, follow=True)
    assert "does not stand" in answer.content.decode()
    assert not Acknowledgement.objects.exists()


def test_handing_over_and_returning_goes_back_to_who_handed_over(
    make_case, make_slide, sign_in, technologist, pathologist
):
    case = make_case("A-1")
    make_slide(case, {"NGS": 100})
    client = sign_in(technologist)
    client.post(reverse("case_hand_over", args=[case.pk]), {"confirmed": "yes"})
    assert sections(client) == {"With the pathologist": ["A-1"]}
    client = sign_in(pathologist)
    assert sections(client) == {"To sign": ["A-1"]}
    client.post(reverse("case_return", args=[case.pk]), {"reason": " "})
    assert HandOver.objects.get().returned_at is None
    client.post(reverse("case_return", args=[case.pk]), {"reason": "Count 100 more."})
    client = sign_in(technologist)
    assert sections(client) == {"Returned to you": ["A-1"]}
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


def test_the_sender_takes_a_case_back_and_nobody_else_does(make_case, make_slide, sign_in, technologist, pathologist):
    """H11."""
    case, client = make_case("A-1"), sign_in(technologist)
    make_slide(case, {"NGS": 100})
    client.post(reverse("case_hand_over", args=[case.pk]), {"confirmed": "yes"})
    answer = sign_in(pathologist).post(reverse("case_take_back", args=[case.pk]), follow=True)
    assert "Only the person who handed the case over" in answer.content.decode()
    client = sign_in(technologist)
    assert "Take it back" in client.get(reverse("case_detail", args=[case.pk])).content.decode()
    client.post(reverse("case_take_back", args=[case.pk]))
    assert sections(client) == {"To review": ["A-1"]}
    page = client.get(reverse("case_detail", args=[case.pk])).content.decode()
    assert "took the case back" in page
    assert "Returned to" not in page
    answer = client.post(reverse("case_take_back", args=[case.pk]), follow=True)
    assert "nothing to take back" in answer.content.decode()


def test_a_technologist_cannot_return_and_a_case_without_slides_cannot_be_handed_over(make_case, sign_in, technologist):
    case = make_case()
    client = sign_in(technologist)
    assert client.post(reverse("case_return", args=[case.pk]), {"reason": "x"}).status_code == 403
    client.post(reverse("case_hand_over", args=[case.pk]), {"confirmed": "yes"})
    assert not HandOver.objects.exists()


def test_nothing_of_another_laboratory_is_on_the_list(make_case, make_slide, sign_in, outsider):
    make_slide(make_case(), {"NGS": 5})
    assert sections(sign_in(outsider)) == {}


def test_nothing_is_signed_from_the_list(make_case, make_slide, sign_in, pathologist):
    """S10: the list only opens cases."""
    make_slide(make_case(), {"NGS": 100})
    page = sign_in(pathologist).get(reverse("worklist")).content.decode()
    assert "case_sign" not in page
    assert "/sign/" not in page


def test_the_list_costs_the_same_number_of_queries_for_ten_cases_as_for_two(
    make_case, make_slide, sign_in, pathologist, django_assert_max_num_queries
):
    for number in range(10):
        make_slide(make_case(f"A-{number}"), {"NGS": 3, "MYO": 1})
    client = sign_in(pathologist)
    client.get(reverse("worklist"))
    with django_assert_max_num_queries(14):
        client.get(reverse("worklist"))
