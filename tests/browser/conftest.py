"""Chromium for the browser tests: a page whose console must stay silent, signed in as one of the cast."""

import pytest

from tests import services

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


@pytest.fixture
def context(context):
    """A browser context in which any console error, page error or answer of 500 fails the test."""
    problems = []
    context.set_default_timeout(10_000)

    def heard(message):
        # 409 is an answer on purpose (another reader was first); the browser calls every such answer an error.
        if message.type in ("error", "warning") and "409 (Conflict)" not in message.text:
            problems.append(f"console: {message.text}")

    context.on("console", heard)
    context.on("weberror", lambda error: problems.append(f"page: {error.error}"))
    context.on("response", lambda r: problems.append(f"{r.status} {r.url}") if r.status >= 500 else None)
    yield context
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
