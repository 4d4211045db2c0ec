"""Why a conversation with another system failed, in the same sentence whichever protocol it was to speak."""

import socket
import ssl
import threading
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from leukoweb.delivery.fhir_out import post
from leukoweb.delivery.mllp import deliver
from leukoweb.delivery.models import Interface
from leukoweb.delivery.network import NotDelivered

SEND = [deliver, post]


@pytest.fixture
def tls_port(tmp_path):
    """The port of a receiver whose certificate nobody has signed."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "his")])
    now = datetime.now(UTC)
    made = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + timedelta(days=1))
    certificate = made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    (tmp_path / "own.pem").write_bytes(key.private_bytes(serialization.Encoding.PEM, *plain) + certificate)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "own.pem")
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve():
            with suppress(OSError):
                context.wrap_socket(server.accept()[0], server_side=True)

        threading.Thread(target=serve, daemon=True).start()
        yield server.getsockname()[1]


def refused(send, **place):
    with pytest.raises(NotDelivered) as said:
        send(Interface(host="127.0.0.1", site="https://leukoweb.example", **place), b"MSH|", patience_s=5)
    return str(said.value)


@pytest.mark.parametrize("send", SEND)
def test_a_certificate_that_is_refused_is_said_and_not_called_a_wrong_answer(send, tls_port):
    """It was called “not in an MLLP frame”: the error of a certificate is a ValueError too."""
    said = refused(send, port=tls_port, use_tls=True)
    assert said == "The certificate of the receiver was refused (self-signed certificate): compare certificates."


@pytest.mark.parametrize("send", SEND)
def test_an_own_certificate_that_is_not_there_is_said(send, settings, tmp_path):
    settings.MLLP_TLS_CERT = settings.MLLP_TLS_KEY = str(tmp_path / "absent.pem")
    assert "A certificate of this server cannot be read" in refused(send, port=1, use_tls=True)


@pytest.mark.parametrize("send", SEND)
def test_nobody_there_is_said_alike(send):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert refused(send, port=port) == "The receiver cannot be reached (Connection refused)."


@pytest.mark.parametrize("send", SEND)
def test_a_name_that_is_none_is_said(send):
    with pytest.raises(NotDelivered, match="no name of a server"):
        send(Interface(host=f"{'x' * 70}.example", port=1, site=""), b"MSH|", patience_s=5)
