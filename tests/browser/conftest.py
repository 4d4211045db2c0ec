"""Chromium for the browser tests: a page whose console must stay silent, signed in as one of the cast."""

import sys
import threading
import time
import traceback

import pytest
from django.core.handlers.wsgi import WSGIHandler
from django.core.signals import request_finished, request_started
from playwright.sync_api import expect

from tests import services

expect.set_options(timeout=15_000)  # milliseconds; a busy machine is slow to paint

FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items):
    """Every test of this folder drives the browser."""
    for item in items:
        if "/browser/" in str(item.path):
            item.add_marker(pytest.mark.browser)


@pytest.fixture(scope="session")
def browser_type_launch_args():
    return {"executable_path": services.chromium(), "args": FLAGS}


@pytest.fixture(scope="session")
def browser_context_args(browser_context_args):
    return browser_context_args | {"viewport": {"width": 1440, "height": 900}}


class RequestsUnderWay:
    """Know what each thread of the live server answers: tables cannot be emptied while a request still reads them."""

    def __init__(self):
        self.addresses, self.changed = {}, threading.Condition()
        request_started.connect(self.started, weak=False)
        request_finished.connect(self.finished, weak=False)

    def started(self, sender, environ, **_):
        if isinstance(sender, type) and issubclass(sender, WSGIHandler):  # the test client calls no server
            with self.changed:
                self.addresses[threading.current_thread()] = environ["PATH_INFO"]

    def finished(self, **_):
        with self.changed:
            self.addresses.pop(threading.current_thread(), None)
            self.changed.notify_all()

    def left_after(self, seconds):
        """Return what is not answered after `seconds`: each address, and where its thread stands."""
        deadline = time.monotonic() + seconds
        with self.changed:
            while (left := self.living()) and time.monotonic() < deadline:
                self.changed.wait(0.2)
        frames = sys._current_frames()
        stacks = {address: traceback.format_stack(frames.get(thread.ident)) for thread, address in left.items()}
        return "\n".join(f"{address}\n{''.join(stack)}" for address, stack in stacks.items())

    def living(self):
        """Return the requests whose thread still runs: the connection of a request that failed midway has ended."""
        return {thread: address for thread, address in self.addresses.items() if thread.is_alive()}


@pytest.fixture(scope="session")
def requests_under_way():
    return RequestsUnderWay()


@pytest.fixture
def context(context, requests_under_way):
    """A browser context in which any console error, page error or answer of 500 fails the test.

    At its end the pages are closed and their last requests (decisions sent while leaving) answered.
    """
    problems = []
    context.set_default_timeout(30_000)

    def is_health(url):
        return url.endswith("/health/")  # the page says 503 where no worker runs, as in most tests

    def heard(message):
        # A test that cuts the line on purpose (route.abort) makes the browser complain of it.
        is_expected = "net::ERR_FAILED" in message.text or is_health(message.location["url"])
        if message.type in ("error", "warning") and not is_expected:
            problems.append(f"console: {message.text}")

    context.on("console", heard)
    context.on("weberror", lambda error: problems.append(f"page: {error.error}"))
    context.on(
        "response",
        lambda r: problems.append(f"{r.status} {r.url}") if r.status >= 500 and not is_health(r.url) else None,
    )
    yield context
    context.close()
    left = requests_under_way.left_after(20)
    assert not left, f"the live server is still answering: {left}"
    assert not problems, "\n".join(problems)


@pytest.fixture
def browse_as(page, client, live_server, settings):
    """Sign a person in without the form and return the page, standing at `address` of the live server."""

    def as_person(person, address="/"):
        client.force_login(person)
        cookie = client.cookies[settings.SESSION_COOKIE_NAME]
        page.context.add_cookies([{"name": cookie.key, "value": cookie.value, "url": live_server.url}])
        page.goto(live_server.url + address)
        return page

    return as_person


@pytest.fixture
def press(page):
    """Press keys as a person does: one by one, and a deciding key only when the chosen cell's picture was seen."""

    def press_as_person(*keys):
        for key in keys:
            page.wait_for_timeout(80)  # two keys at once would be a scanner's
            if page.locator("#inspector:not(.is-empty)").count():
                page.locator("#inspector[data-ready]").wait_for()
            page.keyboard.press(key)

    return press_as_person


@pytest.fixture
def see_chosen(page):
    """Wait until the pictures of all chosen cells were on the screen long enough to have been seen."""

    def wait():
        loaded = "() => [...document.querySelectorAll('.tile[aria-selected=true] img')].every((i) => i.naturalWidth)"
        page.wait_for_function(loaded)
        page.wait_for_timeout(200)

    return wait


@pytest.fixture
def wait_until_saved(page):
    """Wait until the server has stored every decision of the page."""
    return lambda: expect(page.locator("[data-part=saving]")).to_have_text("Saved")
