"""`python -m leukoweb.ops.bench_keys`: how long after a key the workbench of 1,000 cells shows what it did.

In a real browser, beside a page that holds one word and changes it: figures of one run are compared only with each
other.
"""

import shutil
import statistics
import sys
from pathlib import Path
from typing import Any

from leukoweb.ops.bench import CELLS, installation

GOAL_MS = 50
TIMES = 25
EMPTY = "<!doctype html><title>empty</title><p>0</p>"
COUNT = "() => { let n = 0; addEventListener('keydown', () => { document.querySelector('p').textContent = ++n; }); }"
# From the key's own time stamp to the first task after the picture of the screen that shows what the key did.
WATCH = """() => { addEventListener("keydown", (event) => requestAnimationFrame(() => {
  const { port1, port2 } = new MessageChannel();
  port1.onmessage = () => { window.tookMs = performance.now() - event.timeStamp; };
  port2.postMessage(0);
}), true); }"""

TOOK = "async () => { while (!window.tookMs) await new Promise(requestAnimationFrame); return window.tookMs; }"


def main() -> int:
    """Fill, press keys, print."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("Not measured: playwright is not installed (make test installs it).")
        return 0
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    with installation(1) as (address, _, cookies, pages):
        draw_pixels()
        who, path = pages["workbench"]
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
            context = browser.new_context(viewport={"width": 1440, "height": 900})
            name, _, value = cookies[who].partition("=")
            context.add_cookies([{"name": name, "value": value, "url": address}])
            empty_ms, relabel_ms = measure(context.new_page(), address + path)
            browser.close()
    empty, relabel = statistics.median(empty_ms), statistics.median(relabel_ms)
    print(f"{'key to painted change':<34}{'ms':>8}{'x empty':>10}")
    print(f"{'(page of one word)':<34}{empty:>8.1f}{1:>10.1f}")
    print(f"{f'relabel at {sum(CELLS.values()):,} cells':<34}{relabel:>8.1f}{relabel / empty:>10.1f}")
    print(f"goal on an idle machine: {GOAL_MS} ms")
    return 0


def measure(page: Any, address: str) -> tuple[list[float], list[float]]:
    """Press a key often on the empty page and on the workbench."""
    page.set_content(EMPTY)
    page.evaluate(COUNT)
    page.evaluate(WATCH)
    empty_ms = [press(page, "b") for _ in range(TIMES)]
    page.goto(address)
    page.locator("#inspector[data-ready]").wait_for()
    page.evaluate(WATCH)
    relabel_ms = []
    for number in range(TIMES):
        page.locator("#inspector[data-ready]").wait_for()
        relabel_ms.append(press(page, "bm"[number % 2]))
    return empty_ms, relabel_ms


def press(page: Any, key: str) -> float:
    """Press a key and return the milliseconds to its picture."""
    page.wait_for_timeout(150)  # two keys at once would be a scanner's
    page.evaluate("window.tookMs = 0")
    page.keyboard.press(key)
    return page.evaluate(TOOK)


def draw_pixels() -> None:
    """Give the image of the 1,000 cells pixels: no cell is decided before its picture was seen."""
    import numpy as np

    from detection.images.decoding import write_pyramid
    from leukoweb.cases.models import SlideImage
    from leukoweb.cases.store import derived_folder

    image = SlideImage.objects.get()
    pixels = np.full((image.height_px, image.width_px, 3), (238, 220, 214), dtype=np.uint8)
    for cell in image.cells.all():
        pixels[int(cell.y1) + 10 : int(cell.y2) - 10, int(cell.x1) + 10 : int(cell.x2) - 10] = (84, 46, 132)
    write_pyramid(pixels, Path(derived_folder(image.sha256)) / "pyramid")


if __name__ == "__main__":
    sys.exit(main())
