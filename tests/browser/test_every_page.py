"""Every page of the product without a serious fault of accessibility, and legible in dark.

The addresses and roles are those of the table of permissions, so that no new page is forgotten.
"""

import pytest
from django.urls import reverse

from tests.browser.access import faults, faults_of_contrast_in_dark
from tests.test_permissions import TABLE, arguments, cast, expected, routes  # noqa: F401 (a fixture)

# ruff: noqa: F811 (the fixture of another file is an argument here)


def _is_for_people(route):
    """Files and pictures end without a slash, and what programs ask for is JSON."""
    return not route or (route.endswith("/") and (route == "api/v1/" or not route.startswith("api/")))


def _addresses(role, cast):
    """Those that are open to the role; what an administrator may see, only they open."""
    for name, route, _ in routes():
        by_admin = expected(TABLE[name][0], "admin") == "ok"
        is_open = expected(TABLE[name][0], role) == "ok" and (role != "pathologist" or not by_admin)
        if is_open and _is_for_people(route):
            yield reverse(name, kwargs=arguments(route, cast))


def _is_whole_page(page, address):
    """Not a part of one, no file, and not the page of another address to which this one leads."""
    return page.url.endswith(address) and page.evaluate("document.doctype?.name === 'html'")


@pytest.mark.parametrize(
    ("role", "part", "at_least"),
    [
        pytest.param("anonymous", slice(None), 5, id="anonymous"),
        pytest.param("pathologist", slice(None), 20, id="pathologist"),
        pytest.param("admin", slice(0, None, 2), 20, id="admin, even"),
        pytest.param("admin", slice(1, None, 2), 20, id="admin, odd"),
    ],
)
def test_no_page_has_a_serious_fault_of_access(role, part, at_least, cast, page, browse_as, draw_pixels, live_server):
    draw_pixels(cast.slide)
    page.emulate_media(reduced_motion="reduce")  # no colour is measured on its way to another
    page.route("**/favicon.ico", lambda route: route.abort())  # the browser asks for it where an answer is no page
    if role != "anonymous":
        browse_as(cast.people[role])
    found, seen = {}, 0
    for address in list(_addresses(role, cast))[part]:
        page.goto(live_server.url + address)
        if _is_whole_page(page, address):
            seen += 1
            found[address] = faults(page) + faults_of_contrast_in_dark(page)
    assert seen >= at_least
    assert not {address: fault for address, fault in found.items() if fault}
