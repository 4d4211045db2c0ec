"""`python -m tests.screenshots http://localhost:8000`: take the pictures of README and tour from a demonstration.

`make run` in an empty folder (DATA=...) starts one; its three cases must be read and no visitor have changed them.
"""

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from tests.services import ROOT, chromium

TO_REVIEW, TO_SIGN, SIGNED = "DEMO-1", "DEMO-2", "DEMO-3"  # leukoweb/ops/demo.py
SMEAR = ROOT / "leukoweb" / "ops" / "demo_pictures" / "immature"
WINDOW, SIZE = {"width": 1440, "height": 900}, (1280, 800)
FILES = 5
QUALITY = 82


@contextmanager
def entered(browser: Browser, address: str, role: str) -> Iterator[Page]:
    """Give a page signed in by the button of a demo account, without the offer of the tour."""
    context = browser.new_context(base_url=address, viewport=WINDOW)
    context.add_init_script("localStorage.setItem('tour-seen', 'yes'); localStorage.setItem('theme', 'light')")
    page = context.new_page()
    page.goto("/sign-in/")
    page.locator(f"form[action$='/{role}/'] button").click()
    page.wait_for_url("**/worklist/")
    yield page
    context.close()


def case_of(page: Page, accession_number: str) -> str:
    """Return the address of a case."""
    page.goto("/cases/")
    address = page.get_by_role("link", name=accession_number).first.get_attribute("href")
    if address is None:
        sys.exit(f"There is no case {accession_number}: is it the demonstration?")
    return address


def keep(page: Page, name: str) -> None:
    """Store what the window shows, once its pictures are there."""
    page.wait_for_load_state("networkidle")
    page.mouse.move(0, 0)
    picture = Image.open(io.BytesIO(page.screenshot(animations="disabled")))
    path = ROOT / "static" / "img" / f"{name}.webp"
    picture.convert("RGB").resize(SIZE, Image.Resampling.LANCZOS).save(path, quality=QUALITY, method=6)
    print(f"{path.relative_to(ROOT)}  {path.stat().st_size:,} bytes")


def upload(page: Page) -> None:
    """Show files that are uploaded and not submitted, and take them back."""
    page.goto(f"{case_of(page, TO_REVIEW)}slides/new/")
    files = sorted(SMEAR.glob("*.jpg"))[:FILES]
    page.set_input_files("#images", [
        {"name": f"view-{number:02}.jpg", "mimeType": "image/jpeg", "buffer": path.read_bytes() + b"\0" * number}
        for number, path in enumerate(files, start=1)
    ])  # fmt: skip
    page.wait_for_function(f"() => document.querySelectorAll('.file.is-here').length === {FILES}")
    keep(page, "upload")
    for _ in range(FILES):
        page.get_by_role("button", name="Remove").first.click()


def review(page: Page) -> None:
    """Show the worklist with a chosen case, and its workspace."""
    page.goto("/worklist/")
    page.keyboard.press("j")
    page.locator("#preview img").first.wait_for()
    keep(page, "worklist")
    page.goto(f"{case_of(page, TO_REVIEW)}review/")
    page.locator("#inspector[data-ready]").wait_for()
    keep(page, "workbench")


def sign(page: Page) -> None:
    """Show the case that is ready to sign, and the report that was amended."""
    page.goto(f"{case_of(page, TO_SIGN)}sign/")
    page.locator(".sign-side").evaluate("(side) => side.scrollTo(0, 0)")  # it opens at the signature
    keep(page, "sign")
    page.goto(case_of(page, SIGNED))
    page.locator("a[href*='/reports/']").last.click()
    page.get_by_role("link", name="Version 2").click()
    keep(page, "report")


def main() -> None:
    """Take every picture."""
    address = sys.argv[1].rstrip("/") if len(sys.argv) > 1 else "http://localhost:8000"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"])
        with entered(browser, address, "technologist") as page:
            upload(page)
        with entered(browser, address, "pathologist") as page:
            review(page)
            sign(page)
        browser.close()


if __name__ == "__main__":
    main()
