"""What the first day shows of the systems around a laboratory: a film that was ordered, and its blood count.

Both are messages of the simulator, taken as from any other system. The interfaces listen nowhere: an administrator
who switches them on can try them with `leukoweb simulate lis`.
"""

from django.db import transaction
from django.utils import timezone

from leukoweb.accounts.models import User
from leukoweb.accounts.roles import ADMIN
from leukoweb.cases.models import Case
from leukoweb.delivery.models import FILM, Interface
from leukoweb.delivery.services import receive, save_interface
from leukoweb.delivery.simulator import Patient, Places, count_of, order_of
from leukoweb.ops.demo import DEMO_LABORATORY

ORDERED = Patient(
    number="DEMO-D", family="Demonstration D", given="not a patient", birth_date="19711130", sex="M",
    accession="DEMO-4", ward="Haematology",
)  # fmt: skip


@transaction.atomic
def order_film() -> Case:
    """Take an order and a blood count of somebody invented; the case waits for its first slide.

    Before: the accounts of the demonstration are there, and no order was taken yet.
    """
    by = User.objects.get(username=ADMIN, laboratory__name=DEMO_LABORATORY)
    orders = Interface(name="Simulated hospital: orders", direction=Interface.Direction.ORDERS_IN,
                       port=Places.orders, codes={"FILM": FILM})  # fmt: skip
    counts = Interface(name="Simulated analyser", direction=Interface.Direction.CBC_ASTM, port=Places.counts)
    now = timezone.localtime()
    for interface, message in ((orders, order_of(ORDERED, at=now)), (counts, count_of(ORDERED, at=now, seed=6))):
        interface.laboratory = by.laboratory
        receive(save_interface(interface, by=by), message, peer="simulator")
    case = Case.objects.get(laboratory=by.laboratory, accession_number=ORDERED.accession)
    Case.objects.filter(pk=case.pk).update(is_demonstration=True)
    return case
