"""Accessibility faults of a page as axe sees them: WCAG 2.1 A and AA, serious and critical."""

from axe_playwright_python.sync_playwright import Axe

AXE = Axe().axe_script
RULES = {
    "resultTypes": ["violations"],
    "runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"],
    # Style sheets are fetched and parsed anew for one experimental rule, which these sets leave out.
    "preload": {"assets": ["media"]},
}
CONTRAST = {"resultTypes": ["violations"], "runOnly": ["color-contrast"]}
# Colours that change by a transition are looked at when they have arrived.
DARK = """() => {
    document.documentElement.dataset.bsTheme = "dark";
    document.body.getBoundingClientRect();
    const running = document.getAnimations().filter(one => one instanceof CSSTransition);
    return Promise.allSettled(running.map(one => one.finished));
}"""


def faults(page, options=RULES):
    """Return the faults of the page as it stands, in words; the script of axe comes into each page once."""
    if not page.evaluate("'axe' in window"):
        page.evaluate(AXE)
    found = page.evaluate("options => axe.run(options).then(answer => answer.violations)", options)
    return [
        f"{rule['id']}: {node['target']} {node['failureSummary']}"
        for rule in found
        if rule["impact"] in ("serious", "critical")
        for node in rule["nodes"]
    ]


def faults_of_contrast_in_dark(page):
    """Return the faults of contrast on the dark page, which stays dark."""
    page.evaluate(DARK)
    return faults(page, CONTRAST)
