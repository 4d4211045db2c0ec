"""`python -m leukoweb.ops.bench_keys`: how soon pages of 1,000 and 20,000 cells open, scroll and show what a key did.

In a real browser, beside a page that holds one word and changes it: figures of one run are compared only with each
other.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from leukoweb.ops.bench import installation

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext, Page

GOAL_MS = 50
TIMES = 25
THOUSANDS = (1, 20)
EMPTY = "<!doctype html><title>empty</title><p>0</p>"
COUNT = "() => { let n = 0; addEventListener('keydown', () => { document.querySelector('p').textContent = ++n; }); }"
# From the key's own time stamp to the first task after the picture of the screen that shows what the key did.
WATCH = """() => { addEventListener("keydown", (event) => requestAnimationFrame(() => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => { window.tookMs = performance.now() - event.timeStamp; };
  port2.postMessage(0);
}), true); }"""

TOOK = "async () => { while (!window.tookMs) await new Promise(requestAnimationFrame); return window.tookMs; }"

PAINTED = """() => new Promise((done) => requestAnimationFrame(() => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = done;
  port2.postMessage(0);
}))"""
SCROLL = f"""async () => {{
  const [gallery, started] = [document.getElementById("gallery"), performance.now()];
  gallery.scrollTop += gallery.clientHeight;
  await ({PAINTED})();
  return performance.now() - started;
}}"""


def main() -> int:
    """Fill, open, scroll, press keys, print."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("Not measured: playwright is not installed (make test installs it).")
        return 0
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with installation(len(THOUSANDS), THOUSANDS) as (address, _, cookies, pages):
        draw_pixels()
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            name, _, value = cookies["pathologist"].partition("=")
            context.add_cookies([{"name": name, "value": value, "url": address}])
            print(f"{'page':<30}{'opens':>8}{'scrolls':>9}{'key':>8}{'x empty':>9}   data")
            empty_ms = of_empty_page(context.new_page())
            print(f"{'(page of one word)':<30}{'':>17}{empty_ms:>8.1f}{1:>9.1f}")
            for scale in THOUSANDS:
                data_url = address + pages[f"data of {scale},000 cells"][1]
                for kind in ("workbench", "slide"):
                    page = context.new_page()
                    _, path = pages[f"{kind} of {scale},000 cells"]
                    opens_ms, scrolls_ms = opened(page, address + path), scrolled(page)
                    line = f"{f'{kind} of {scale},000 cells':<30}{opens_ms:>8.0f}{scrolls_ms:>9.1f}"
                    if kind == "workbench":
                        key_ms = relabelled(page)
                        line += f"{key_ms:>8.1f}{key_ms / empty_ms:>9.1f}   {answered(context, data_url)}"
                    print(line, flush=True)
                    page.close()
            browser.close()
    print(f"milliseconds, medians; goal at 1,000 cells on an idle machine: {GOAL_MS} ms from key to painted change")
    return 0


def opened(page: Page, address: str) -> float:
    """The time from asking for a page until its first pictures are there and a frame was painted."""
    started = time.perf_counter()
    page.goto(address)
    page.wait_for_function("() => document.querySelector('.tile img[src]')?.naturalWidth", timeout=120_000)
    page.evaluate(PAINTED)
    return 1000 * (time.perf_counter() - started)


def scrolled(page: Page) -> float:
    """The median time from scrolling by a screen of the gallery to the painted screen."""
    return statistics.median(page.evaluate(SCROLL) for _ in range(TIMES))


def of_empty_page(page: Page) -> float:
    """The median time from a key to its picture on a page of one word."""
    page.set_content(EMPTY)
    page.evaluate(COUNT)
    page.evaluate(WATCH)
    return statistics.median(press(page, "b") for _ in range(TIMES))


def relabelled(page: Page) -> float:
    """The median time from the key of a type to its picture, after scrolling back to the first cell."""
    page.reload()
    page.locator("#inspector[data-ready]").wait_for(timeout=120_000)
    page.evaluate(WATCH)
    taken = []
    for number in range(TIMES):
        page.locator("#inspector[data-ready]").wait_for()
        taken.append(press(page, "bm"[number % 2]))
    return statistics.median(taken)


def answered(context: BrowserContext, address: str) -> str:
    """The size of the cells' data, packed as it travels and as it is, and the time of the answer."""
    started = time.perf_counter()
    answer = context.request.get(address)
    took_ms = 1000 * (time.perf_counter() - started)
    return f"{len(answer.body()) / 1e6:.2f} MB in {took_ms:.0f} ms"


def press(page: Page, key: str) -> float:
    """Press a key and return the milliseconds to its picture."""
    page.wait_for_timeout(150)  # two keys at once would be a scanner's
    page.evaluate("window.tookMs = 0")
    page.keyboard.press(key)
    return page.evaluate(TOOK)


def draw_pixels() -> None:
    """Give the images of the cells pixels: no cell is decided before its picture was seen."""
    import numpy as np

    from detection.images.decoding import write_pyramid
    from leukoweb.cases.models import SlideImage
    from leukoweb.cases.store import derived_folder

    for image in SlideImage.objects.all():
        pixels = np.full((image.height_px, image.width_px, 3), (238, 220, 214), dtype=np.uint8)
        for x, y in image.cells.values_list("x1", "y1"):
            pixels[int(y) + 10 : int(y) + 40, int(x) + 10 : int(x) + 40] = (84, 46, 132)
        write_pyramid(pixels, Path(derived_folder(image.sha256)) / "pyramid")


if __name__ == "__main__":
    sys.exit(main())
