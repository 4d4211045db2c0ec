"""The upload page in a browser: by picker and by drop, by keyboard, with refused files and with a pause."""

import re

import pytest

from leukoweb.cases.models import PartialUpload, Slide, SlideImage
from leukoweb.cases.store import original_path
from tests.browser.access import faults
from tests.pictures import picture_bytes


@pytest.fixture
def folder(tmp_path):
    """A folder with two pictures and a file that is none."""
    (tmp_path / "one.png").write_bytes(picture_bytes("PNG", size=(300, 200)))
    (tmp_path / "two.bmp").write_bytes(picture_bytes("BMP", color=(90, 20, 120), size=(300, 200)))
    (tmp_path / "notes.jpg").write_bytes(b"<html>no picture</html>")
    return tmp_path


def test_good_files_become_a_slide_and_the_other_one_gets_its_sentence(browse_as, technologist, make_case, folder):
    case = make_case()
    page = browse_as(technologist, f"/cases/{case.pk}/slides/new/")
    page.set_input_files("#images", [folder / name for name in ("one.png", "two.bmp", "notes.jpg")])
    page.get_by_text("3 of 3 files uploaded.").wait_for()
    assert faults(page) == []
    page.get_by_label("Name of the slide").fill("feathered edge")
    page.keyboard.press("Enter")
    page.get_by_text("Slide created: 2 of 3 images stored, 1 not accepted.").wait_for()
    refused = page.locator(".file.is-refused")
    assert refused.count() == 1
    assert "notes.jpg" in refused.inner_text()
    assert "upload a JPEG, PNG, BMP or TIFF" in refused.inner_text()
    slide = Slide.objects.get()
    assert [image.name for image in slide.images.all()] == ["one.png", "two.bmp"]
    for image in slide.images.all():
        assert original_path(image.sha256).read_bytes() == (folder / image.name).read_bytes()
    page.keyboard.press("Enter")  # the link to the slide has the focus
    page.wait_for_url(f"**/slides/{slide.pk}/")
    assert not PartialUpload.objects.exists()


def test_40_files_are_40_images_and_of_two_of_one_name_the_bad_one_is_marked(
    browse_as, technologist, make_case, tmp_path
):
    page = browse_as(technologist, f"/cases/{make_case().pk}/slides/new/")
    files = []
    for n in range(40):
        files.append(tmp_path / f"{n:03}" / "field.bmp")
        files[-1].parent.mkdir()
        files[-1].write_bytes(picture_bytes("BMP", color=(n + 100, 9, 90), size=(40, 40)) if n != 20 else b"no picture")
    page.set_input_files("#images", files)
    page.get_by_role("button", name="Upload the slide").click()
    page.get_by_text("Slide created: 39 of 40 images stored, 1 not accepted.").wait_for(timeout=180_000)
    assert page.locator(".file.is-refused .size").inner_text() == "10 bytes"
    assert SlideImage.objects.count() == 39


def test_a_file_that_found_no_room_stays_on_the_page_and_is_not_sent_again(browse_as, technologist, make_case, folder):
    case = make_case()
    page = browse_as(technologist, f"/cases/{case.pk}/slides/new/")
    answers = [
        {"slide": None, "stored": 0, "problem": "", "fields": {}, "errors": [
            {"name": "one.png", "error": "It is kept and need not be sent again.", "position": 0, "kept": True},
            {"name": "two.bmp", "error": "It is damaged.", "position": 1, "kept": False}]},
    ]  # fmt: skip

    def answer(route):
        if route.request.method == "POST" and answers:
            return route.fulfill(json=answers.pop())
        return route.continue_()

    page.route(f"**/cases/{case.pk}/slides/new/", answer)
    page.set_input_files("#images", [folder / "one.png", folder / "two.bmp"])
    page.get_by_text("2 of 2 files uploaded.").wait_for()
    page.get_by_role("button", name="Upload the slide").click()
    page.get_by_text("need not be sent again").wait_for()
    assert page.locator(".file.is-refused").count() == 1
    assert page.locator(".file.is-here").count() == 1
    sent = []
    page.on("request", lambda request: sent.append(request.method) if "/uploads/" in request.url else None)
    page.get_by_role("button", name="Upload the slide").click()
    page.get_by_text("Slide created: 1 of 2 images stored").wait_for()
    assert [image.name for image in SlideImage.objects.all()] == ["one.png"]
    assert sent == []


def test_dropped_files_arrive_and_a_removed_one_is_forgotten(browse_as, technologist, make_case):
    page = browse_as(technologist, f"/cases/{make_case().pk}/slides/new/")
    content = list(picture_bytes("PNG", size=(64, 64)))
    for name in ("stays.png", "goes.png"):
        dropped = page.evaluate_handle(
            """([name, content]) => {
                const files = new DataTransfer();
                files.items.add(new File([new Uint8Array(content)], name, {type: "image/png"}));
                return files;
            }""",
            [name, content if name == "stays.png" else [*content, 0]],
        )
        page.dispatch_event("#drop", "drop", {"dataTransfer": dropped})
    page.locator(".file.is-here").nth(1).wait_for()
    page.get_by_role("button", name="Remove goes.png").click()
    page.get_by_role("button", name="Upload the slide").click()
    page.wait_for_url(re.compile(r"/slides/\d+/$"))
    assert [image.name for image in SlideImage.objects.all()] == ["stays.png"]


def test_files_chosen_before_the_script_runs_are_taken(browse_as, technologist, make_case, folder):
    page = browse_as(technologist, "/cases/")
    held = []
    page.route("**/js/upload*.js", lambda route: held.append(route))
    page.goto(f"{page.url.split('/cases/')[0]}/cases/{make_case().pk}/slides/new/", wait_until="commit")
    page.locator("#images").set_input_files(folder / "one.png")
    while not held:
        page.wait_for_timeout(50)
    assert page.locator("#files li").count() == 0
    held[0].continue_()
    page.locator(".file.is-here").wait_for()


def test_without_a_file_the_page_says_what_to_do(browse_as, technologist, make_case):
    page = browse_as(technologist, f"/cases/{make_case().pk}/slides/new/")
    page.get_by_role("button", name="Upload the slide").click()
    assert page.locator("#problem").inner_text() == "Choose the pictures of one slide first."


def test_a_known_mrn_fills_the_form_of_a_new_case(browse_as, technologist, make_case):
    make_case()
    page = browse_as(technologist, "/cases/new/")
    page.get_by_label("Medical record number").fill("M-77")
    page.keyboard.press("Tab")
    page.get_by_text("MRN already on file").wait_for()
    assert page.locator("[name=name]").input_value() == "Edelgard Wintermute"
    page.get_by_label("Accession number").fill("H26-1")
    page.get_by_role("button", name="Register the case").click()
    page.wait_for_url("**/slides/new/")
