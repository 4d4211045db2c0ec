"""Sign-in by the hospital's identity provider (OpenID Connect), against a small provider on this machine."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from leukoweb.accounts.models import User
from leukoweb.audit.models import Event

LOGIN = "/account/hospital/oidc/hospital/login/"


class Provider(BaseHTTPRequestHandler):
    """Answers discovery, token and userinfo as a hospital's server does; `person` is who signs in there."""

    person, asked = {}, []

    def do_GET(self):
        base = f"http://127.0.0.1:{self.server.server_port}"
        if self.path.startswith("/.well-known/"):
            self.say({"issuer": base, "authorization_endpoint": f"{base}/authorize", "token_endpoint": f"{base}/token",
                      "userinfo_endpoint": f"{base}/userinfo", "jwks_uri": f"{base}/keys"})  # fmt: skip
        else:
            assert self.headers["Authorization"] == "Bearer access"
            self.say(self.person)

    def do_POST(self):
        self.asked.append(parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode()))
        good = self.asked[-1]["code"] == ["good"]
        self.say(
            {"access_token": "access", "token_type": "Bearer"} if good else {"error": "invalid_grant"},
            200 if good else 400,
        )

    def say(self, content, status=200):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *args):
        """Be quiet."""


@pytest.fixture
def provider(settings):
    server = ThreadingHTTPServer(("127.0.0.1", 0), Provider)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    app = {"provider_id": "hospital", "name": "Saint Elsewhere", "client_id": "leukoweb", "secret": "s3cret",
           "settings": {"server_url": f"http://127.0.0.1:{server.server_port}"}}  # fmt: skip
    settings.SOCIALACCOUNT_PROVIDERS = {"openid_connect": {"APPS": [app], "OAUTH_PKCE_ENABLED": True}}
    yield Provider
    server.shutdown()
    server.server_close()


def come_back(client, code="good"):
    """Press the button, sign in over there, come back."""
    there = urlsplit(client.post(LOGIN).url)
    asked = parse_qs(there.query)
    assert there.path == "/authorize"
    assert asked["code_challenge_method"] == ["S256"]
    return client.get(f"{LOGIN}callback/", {"code": code, "state": asked["state"][0]}, follow=True)


def is_in(client):
    return client.get("/account/sessions/").status_code == 200


def test_the_button_is_there_when_a_provider_is_set(client, provider, db):
    assert "Sign in with Saint Elsewhere" in client.get("/sign-in/").content.decode()


def test_no_button_without_a_provider(client, db):
    assert "Sign in with" not in client.get("/sign-in/").content.decode()


@pytest.mark.slow
def test_a_person_with_an_account_here_comes_in(client, provider, technologist):
    provider.person = {"sub": "4711", "preferred_username": "tess"}
    come_back(client)
    assert is_in(client)
    assert "code_verifier" in provider.asked[-1]
    assert Event.objects.filter(action="sign_in", actor=technologist).exists()
    client.post("/sign-out/")
    provider.person = {"sub": "4711", "preferred_username": "tess-married-name"}
    come_back(client)
    assert is_in(client)


@pytest.mark.slow
@pytest.mark.parametrize("username", ["stranger", "", None])
def test_a_person_without_an_account_is_sent_back_in_words(client, provider, technologist, username):
    provider.person = {"sub": "666", "preferred_username": username}
    page = come_back(client)
    assert "no account here" in page.content.decode()
    assert not is_in(client)
    assert User.objects.count() == 1


@pytest.mark.slow
def test_a_deactivated_account_stays_out(client, provider, technologist):
    provider.person = {"sub": "4711", "preferred_username": "tess"}
    come_back(client)
    client.post("/sign-out/")
    User.objects.update(is_active=False)
    come_back(client)
    assert not is_in(client)


def test_an_answer_nobody_asked_for_is_refused_in_words(client, provider, technologist):
    """No state of ours, or a code that the provider does not know."""
    provider.person = {"sub": "4711", "preferred_username": "tess"}
    page = client.get(f"{LOGIN}callback/", {"code": "good", "state": "invented"}, follow=True)
    assert "did not work" in page.content.decode()
    assert not is_in(client)
    assert "did not work" in come_back(client, code="stolen").content.decode()
    assert not is_in(client)


@pytest.mark.slow
def test_the_second_factor_is_asked_after_the_hospital_too(client, provider, technologist):
    from allauth.mfa.totp.internal.auth import TOTP, generate_totp_secret

    TOTP.activate(technologist, generate_totp_secret())
    provider.person = {"sub": "4711", "preferred_username": "tess"}
    assert "Two-Factor" in come_back(client).content.decode()
    assert not is_in(client)
