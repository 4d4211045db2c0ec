"""Pages of interfaces and messages: an administrator sets one up, a technologist settles what is held."""

import pytest
from django.urls import reverse

from leukoweb.audit.models import Event
from leukoweb.cases.models import Case
from leukoweb.delivery.models import Interface, Message
from leukoweb.delivery.services import receive, save_interface
from leukoweb.refusals import Refused
from tests.test_hl7 import order
from tests.test_orders import interface  # noqa: F401 (fixture)

FORM = {
    "name": "HIS", "direction": "orders_in", "is_active": "on", "host": "127.0.0.1", "port": "2575",
    "charset": "utf-8", "authority": "", "accession_from": "filler", "codes": "FILM film\nBLOOD COUNT ignore\n",
}  # fmt: skip


def test_an_administrator_adds_an_interface_and_its_orders_are_taken(admin, sign_in):
    client = sign_in(admin)
    assert client.post(reverse("interface_add"), FORM).status_code == 302
    made = Interface.objects.get()
    assert made.codes == {"FILM": "film", "BLOOD COUNT": "ignore"}
    assert not made.acts_as.has_usable_password()
    assert "HIS" in client.get(reverse("interface_list")).content.decode()
    receive(made, order())
    assert Case.objects.get().accession_number == "F-77"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"codes": "FILM"}, "write the code, a space, and film or ignore"),
        ({"codes": "FILM blood"}, "write the code, a space, and film or ignore"),
        ({"port": "70000"}, "less than or equal to 65535"),
        ({"name": "Hospital system"}, "interface of this name already"),
    ],
)
def test_wrong_input_is_said_at_its_field(admin, sign_in, interface, changes, words):  # noqa: F811
    page = sign_in(admin).post(reverse("interface_add"), FORM | changes).content.decode()
    assert words in page
    assert Interface.objects.count() == 1


def test_of_two_administrators_who_add_one_name_at_once_the_second_is_told(admin, interface):  # noqa: F811
    """Both forms were right when they were read; the rule is asked again under the lock."""
    twin = Interface(laboratory=interface.laboratory, name=interface.name, direction="orders_in", port=2576)
    with pytest.raises(Refused, match="of this name already") as refused:
        save_interface(twin, by=admin)
    assert (refused.value.code, refused.value.field) == ("taken", "name")
    assert save_interface(interface, by=admin) == Interface.objects.get()


def test_a_held_order_is_found_read_and_dismissed_with_a_reason(technologist, sign_in, interface):  # noqa: F811
    receive(interface, order("8859/1", **{"FILM^": "BONE^"}).replace(b"Nguyen", "Müller".encode("latin-1")))
    client, message = sign_in(technologist), Message.objects.get()
    assert "BONE is not mapped" in client.get(reverse("message_list"), {"state": "held"}).content.decode()
    page = client.get(reverse("message_detail", args=[message.pk])).content.decode()
    assert "OBR|1|ORD300" in page
    assert "Müller^Thanh" in page
    assert Event.objects.filter(action="message.read").exists()
    client.post(reverse("message_dismiss", args=[message.pk]), {"reason": ""})
    message.refresh_from_db()
    assert message.state == "held"
    client.post(reverse("message_dismiss", args=[message.pk]), {"reason": "Bone marrow"})
    message.refresh_from_db()
    assert (message.state, message.settled_by) == ("dismissed", technologist)


def test_a_held_order_is_applied_from_its_page(technologist, admin, sign_in, interface):  # noqa: F811
    receive(interface, order(**{"FILM^": "BONE^"}))
    message = Message.objects.get()
    sign_in(admin).post(reverse("interface_edit", args=[interface.pk]), FORM | {"codes": "BONE film"})
    sign_in(technologist).post(reverse("message_replay", args=[message.pk]))
    assert Case.objects.get().accession_number == "F-77"


@pytest.mark.slow
def test_the_list_pages_by_key_and_takes_any_query(technologist, sign_in, interface):  # noqa: F811
    for number in range(55):
        receive(interface, order(MSG034=f"M{number}", **{"FILM^": "BONE^"}))
    client = sign_in(technologist)
    first = client.get(reverse("message_list"))
    assert len(first.context["rows"]) == 50
    second = client.get(reverse("message_list"), {"before": first.context["older"]})
    assert len(second.context["rows"]) == 5
    for query in ({"before": "²"}, {"state": "x"}, {"interface": "9" * 400}):
        assert client.get(reverse("message_list"), query).status_code == 200
