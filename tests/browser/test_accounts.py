"""Accounts in a browser: the idle warning and a security key."""

from playwright.sync_api import expect

from tests.conftest import PASSWORD


def enter(page, live_server, username):
    page.goto(live_server.url + "/sign-in/")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()


def test_an_idle_person_is_warned_can_stay_and_is_signed_out_at_the_end(page, live_server, admin, settings):
    """S7: the warning comes a third of a short limit before the end."""
    settings.IDLE_LIMIT_S = 6
    enter(page, live_server, "ada")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_be_visible()
    expect(page.get_by_role("button", name="Stay signed in")).to_be_focused()
    page.keyboard.press("Enter")
    expect(dialog).to_be_hidden()
    expect(dialog).to_be_visible()
    page.wait_for_url("**/sign-in/?idle=1*")
    expect(page.get_by_text("nothing happened for a while")).to_be_visible()


def test_a_security_key_is_added_and_asked_for_at_the_next_sign_in(page, live_server, pathologist):
    """WebAuthn with a key that the browser simulates."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    session.send(
        "WebAuthn.addVirtualAuthenticator",
        {"options": {"protocol": "ctap2", "transport": "usb", "hasResidentKey": True, "hasUserVerification": True,
                     "isUserVerified": True, "automaticPresenceSimulation": True}},
    )  # fmt: skip
    enter(page, live_server, "paul")
    page.wait_for_url("**/worklist/")
    page.goto(live_server.url + "/account/second-factor/webauthn/add/")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Confirm").click()
    page.get_by_label("Name").fill("Key on my ring")
    page.get_by_role("button", name="Add").click()
    page.wait_for_url("**/recovery-codes/**")
    page.goto(live_server.url + "/account/second-factor/webauthn/")
    expect(page.get_by_text("Key on my ring")).to_be_visible()
    page.context.clear_cookies()
    enter(page, live_server, "paul")
    expect(page.get_by_role("heading", name="Two-Factor Authentication")).to_be_visible()
    page.get_by_role("button", name="Use a security key").click()
    page.wait_for_url("**/worklist/")
