"""The first visit: real cells in three cases, read and signed by the usual services; the way in, help, attribution."""

import hashlib
import re
import shutil
import stat
from pathlib import Path

import pytest
from django.core.management import call_command
from django.urls import reverse
from PIL import Image

from leukoweb.accounts.models import Laboratory, User
from leukoweb.analysis.detectors import active_detector
from leukoweb.analysis.models import Cell, ImageResult, Run
from leukoweb.audit.models import Event
from leukoweb.cases.models import ORDERED, Case, Patient
from leukoweb.delivery.models import Interface, Message
from leukoweb.ops import demo
from leukoweb.ops.demo_orders import order_film
from leukoweb.ops.demo_reading import TYPES, read_cases, unread_cases
from leukoweb.review.cells.decisions import current_cells, relabel_cell
from leukoweb.review.models import Decision
from tests.services import ROOT

pytestmark = pytest.mark.slow  # most of them read a whole case

PASSWORD = "first-visit-9-lamp"
ROLES = ("technologist", "pathologist", "admin")
FILES = sorted(demo.PICTURES.rglob("*.jpg"))


@pytest.fixture
def accounts(db):
    """An installation with the demo accounts and nothing else."""
    assert demo.make_accounts(PASSWORD) == PASSWORD
    yield {role: User.objects.get(username=role) for role in ROLES}
    demo.password_file().unlink(missing_ok=True)


@pytest.fixture
def few_pictures(tmp_path, monkeypatch):
    """Cases of every twelfth picture, so that they are there at once."""
    for plan in demo.CASES:
        few = sorted((demo.PICTURES / plan.folder).glob("*.jpg"))[::12]
        (tmp_path / plan.folder).mkdir()
        for path in few:
            shutil.copy(path, tmp_path / plan.folder)
    monkeypatch.setattr(demo, "PICTURES", tmp_path)


@pytest.fixture
def cases(accounts, few_pictures):
    """The three cases, registered and waiting for the detector, by accession number."""
    return {case.accession_number: case for case in demo.first_cases()}


def lay_cells(case):
    """Let the detector have found the cell of each view, and typed every sixth band as segmented; none runs."""
    for run in Run.objects.filter(slide__case=case):
        for number, image in enumerate(run.slide.images.all()):
            code = TYPES[image.name.split("_")[0]]
            code = "NGS" if code == "NGB" and number % 6 == 0 else code
            x, y = image.width_px / 2, image.height_px / 2
            ImageResult.objects.create(run=run, image=image, um_per_px=0.1, scale_method="uploader")
            Cell.objects.create(run=run, image=image, detector_code=code, score=0.9,
                                x1=x - 60, y1=y - 60, x2=x + 60, y2=y + 60)  # fmt: skip
        Run.objects.filter(pk=run.pk).update(state=Run.State.DONE, detector=active_detector())


def test_the_pictures_are_small_in_all_readable_and_named_after_their_type():
    assert sum(path.stat().st_size for path in FILES) <= 4_000_000
    assert {path.parent.name for path in FILES} == {plan.folder for plan in demo.CASES}
    assert {path.name.split("_")[0] for path in FILES} <= TYPES.keys()
    assert len({path.name for path in FILES}) == len(FILES) > 200
    for path in FILES[::10]:
        with Image.open(path) as picture:
            picture.load()
            assert picture.format == "JPEG"


def test_the_pictures_are_validation_views_of_pbc_and_changed_only_where_it_is_said(real_images):
    if real_images is None:
        return
    for plan in demo.CASES:
        for path in sorted((demo.PICTURES / plan.folder).glob("*.jpg")):
            if plan.attribution.endswith("Changes: none."):
                original = real_images / "oi_pbc" / "images" / "val" / path.name
                assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(original.read_bytes()).digest()
            else:
                assert "made smaller (0.125 µm per px) and compressed" in plan.attribution
                assert (real_images / "oi_pbc_rest" / "images" / "val" / f"{path.stem}.webp").is_file()


def test_source_licence_and_changes_are_named_beside_the_pictures_and_in_the_notice():
    notice = " ".join((ROOT / "NOTICE").read_text().split())
    for word in ("Acevedo et al. 2020", "10.17632/snkd93bnjr.1", "CC BY 4.0", "leukoweb/ops/demo_pictures"):
        assert word in notice
    for plan in demo.CASES:
        for word in ("Acevedo et al. 2020", "10.17632/snkd93bnjr.1", "CC BY 4.0", "creativecommons.org", "Changes: "):
            assert word in plan.attribution
        assert "A composition: single cells of many people" in plan.attribution
        assert "A composition" in plan.note


def test_the_pictures_of_readme_and_tour_show_these_cells_and_are_small():
    """The strip of the main job is in the README, the same pictures are in the tour."""
    readme, tour = (ROOT / "README.md").read_text(), (ROOT / "templates" / "_tour.html").read_text()
    shown = re.findall(r"!\[[^\]]{20,}\]\((static/img/\w+\.webp)\)", readme)
    assert [Path(name).stem for name in shown] == ["workbench", "upload", "workbench", "sign", "report"]
    assert "Acevedo et al. 2020" in readme[: readme.index("## Two commands")]
    names = {f"static/{name}" for name in re.findall(r"static '(img/\w+\.webp)'", tour)}
    assert set(shown) < names
    for name in names:
        with Image.open(ROOT / name) as picture:
            assert picture.size == (1280, 800)
        assert (ROOT / name).stat().st_size < 150_000


def test_the_first_day_makes_three_cases_of_single_views_that_wait_for_the_detector(cases):
    assert sorted(cases) == ["DEMO-1", "DEMO-2", "DEMO-3"]
    for case in cases.values():
        assert case.is_demonstration
        assert "not a patient" in case.patient.name
        slide = case.slides.get()
        assert slide.attribution
        assert slide.images.count() == len(list((demo.PICTURES / _plan(case).folder).glob("*.jpg")))
        assert [run.state for run in slide.runs.all()] == ["queued"]
        assert not Cell.objects.filter(run__slide=slide).exists()
    assert cases["DEMO-1"].priority == "stat"


def test_a_film_is_ordered_and_counted_by_the_simulator_and_waits_for_its_slide(cases, client, accounts):
    case = Case.objects.with_state().get(pk=order_film().pk)
    assert (case.is_demonstration, case.state, case.ward) == (True, ORDERED, "Haematology")
    assert "not a patient" in case.patient.name
    assert {message.state for message in Message.objects.all()} == {"applied"}
    assert case.cbc_results.count() == 1
    assert not Interface.objects.filter(is_active=True).exists()
    client.force_login(accounts["technologist"])
    assert "DEMO-4" in client.get(reverse("worklist"), {"tab": "no_slide"}).content.decode()
    assert demo.running_demonstration() == PASSWORD  # the accounts of interfaces are no people


def _plan(case):
    return next(plan for plan in demo.CASES if plan.accession_number == case.accession_number)


def test_nothing_of_the_first_day_is_done_twice(cases):
    assert demo.make_accounts("another-lamp-9-word") is None
    assert demo.first_cases() == []
    assert demo.password_file().read_text() == PASSWORD


def test_the_readers_wait_for_the_detector(cases):
    assert not read_cases()
    assert Decision.objects.count() == 0
    lay_cells(cases["DEMO-3"])
    assert not read_cases()
    assert [case.accession_number for case in unread_cases()] == ["DEMO-2"]


def test_a_case_that_a_visitor_has_begun_stays_the_visitors(cases, accounts):
    lay_cells(cases["DEMO-2"])
    relabel_cell(current_cells(cases["DEMO-2"]).first(), to="NGS", by=accounts["technologist"])
    read_cases()
    assert Decision.objects.filter(cell__run__slide__case=cases["DEMO-2"]).count() == 1


def test_a_changed_password_leaves_the_case_unsigned_and_unread(cases, accounts):
    accounts["pathologist"].set_password("changed-9-lamp-post")
    accounts["pathologist"].save()
    lay_cells(cases["DEMO-3"])
    read_cases()
    assert not cases["DEMO-3"].reports.exists()
    assert not Decision.objects.filter(cell__run__slide__case=cases["DEMO-3"]).exists()


def test_own_images_are_a_case_of_their_own_and_no_demonstration(accounts, smear_files):
    folder = smear_files[0].parent
    [case] = demo.first_cases(folder)
    assert (case.is_demonstration, case.slides.get().attribution) == (False, "")
    assert demo.first_cases(folder) == []
    assert demo.running_demonstration() is None


def test_the_password_is_kept_for_the_owner_of_the_installation_alone(accounts):
    assert demo.password_file().read_text() == PASSWORD
    assert stat.S_IMODE(demo.password_file().stat().st_mode) == 0o600


def test_the_sign_in_page_says_what_this_is_in_any_installation(client, db):
    page = client.get(reverse("sign_in")).content.decode()
    assert "Upload pictures of a stained blood smear" in page
    assert "not a medical device" in page[page.index("<main") :]
    assert "Demonstration" not in page


@pytest.mark.parametrize("role", ROLES)
def test_a_button_of_the_demonstration_signs_in_as_that_role(role, client, cases):
    page = client.get(reverse("sign_in")).content.decode()
    address = reverse("demonstration_enter", args=[role])
    assert f'action="{address}"' in page
    assert PASSWORD in page
    assert client.post(address).url == reverse("home")
    assert client.get(reverse("home"), follow=True).context["user"].username == role
    assert Event.objects.filter(action="sign_in", actor__username=role).count() == 1
    assert client.post(reverse("demonstration_enter", args=["technologist"])).status_code == 302  # another role


def register_patient(by):
    patient = Patient.objects.create(laboratory=by.laboratory, mrn="M-1", name="Edelgard Wintermute")
    Case.objects.create(laboratory=by.laboratory, patient=patient, accession_number="A-1", registered_by=by)


def make_real_account(by):
    User.objects.create_user("tess", laboratory=Laboratory.objects.create(name="Central Laboratory"))


def forget_password(by):
    demo.password_file().unlink()


def move_account(by):
    User.objects.filter(username="admin").update(laboratory=Laboratory.objects.create(name="Central Laboratory"))


@pytest.mark.parametrize("end", [register_patient, make_real_account, forget_password, move_account])
def test_no_button_is_shown_or_works_in_an_installation_that_is_no_demonstration(end, client, cases, accounts):
    end(accounts["technologist"])
    page = client.get(reverse("sign_in")).content.decode()
    assert "Demonstration" not in page
    assert PASSWORD not in page
    for role in ROLES:
        address = reverse("demonstration_enter", args=[role])
        assert address not in page
        assert client.post(address).status_code == 404
    assert "_auth_user_id" not in client.session


def test_a_button_of_an_account_whose_password_was_changed_says_so(client, cases, accounts):
    accounts["admin"].set_password("changed-9-lamp-post")
    accounts["admin"].save()
    page = client.post(reverse("demonstration_enter", args=["admin"]), follow=True).content.decode()
    assert "User name or password is wrong. Its password may have been changed." in page
    assert "_auth_user_id" not in client.session
    assert client.post(reverse("demonstration_enter", args=["root"])).status_code == 404


@pytest.mark.parametrize("role", ROLES)
def test_help_is_in_the_menu_of_every_role_and_brings_the_tour(role, client, accounts):
    client.force_login(accounts[role])
    page = client.get(reverse("home"), follow=True).content.decode()
    assert f'href="{reverse("help")}"' in page
    page = client.get(reverse("help")).content.decode()
    assert "From pictures to report" in page
    assert "data-tour-start" in page
    assert page.count("data-tour-step") == 5


def test_the_tour_is_offered_in_a_demonstration_and_nowhere_else(client, cases, accounts):
    client.force_login(accounts["technologist"])
    assert 'id="tour-offer"' in client.get(reverse("worklist")).content.decode()
    register_patient(accounts["technologist"])
    assert 'id="tour-offer"' not in client.get(reverse("worklist")).content.decode()
    assert 'id="tour-offer"' not in client.get(reverse("help")).content.decode()


def test_the_step_that_prepares_an_installation_sends_the_readers_again_while_a_case_is_unread(
    accounts, few_pictures, capsys
):
    """Without a broker, as here, it says nothing and the next start tries again."""
    call_command("prepare")
    assert capsys.readouterr().out.count("is registered; the detector reads it now.") == 3
    assert len(unread_cases()) == 2
    call_command("prepare")
    assert sorted(Case.objects.values_list("accession_number", flat=True)) == ["DEMO-1", "DEMO-2", "DEMO-3", "DEMO-4"]
