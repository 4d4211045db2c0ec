"""The TLS of a sender, and why a conversation with another system failed, in a sentence; it sends nothing itself."""

import ssl
from asyncio import IncompleteReadError
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException

from django.conf import settings

ANSWER_LIMIT_S = 30.0


class NotDelivered(Exception):
    """Say in one sentence why a message got no acknowledgement."""


def client_tls() -> ssl.SSLContext:
    """Return the TLS settings of the sender."""
    try:
        context = ssl.create_default_context(cafile=settings.MLLP_TLS_CA or None)
        if settings.MLLP_TLS_CERT:
            context.load_cert_chain(settings.MLLP_TLS_CERT, settings.MLLP_TLS_KEY)
    except (OSError, ValueError):
        raise NotDelivered("A certificate of this server cannot be read: look at LEUKOWEB_MLLP_TLS_*.") from None
    return context


@contextmanager
def in_words(patience_s: float) -> Iterator[None]:
    """Let what goes wrong on the way to a receiver and back be a NotDelivered with its sentence."""
    try:
        yield
    except TimeoutError:
        raise NotDelivered(f"No answer within {patience_s:g} s.") from None
    except ssl.SSLCertVerificationError as error:  # also a ValueError
        why = error.verify_message or "not valid"
        raise NotDelivered(f"The certificate of the receiver was refused ({why}): compare certificates.") from None
    except ssl.SSLError:
        raise NotDelivered("The TLS connection failed: compare certificates on both sides.") from None
    except ConnectionRefusedError:
        raise NotDelivered("The receiver cannot be reached (Connection refused).") from None
    except (IncompleteReadError, ConnectionError):
        raise NotDelivered("The receiver ended the connection without an answer.") from None
    except HTTPException:  # a connection that ends without an answer is also one of the above
        raise NotDelivered("The answer was not HTTP.") from None
    except UnicodeError:
        raise NotDelivered("The address of the receiver is no name of a server.") from None
    except OSError as error:
        raise NotDelivered(f"The receiver cannot be reached ({error.strerror or 'no route'}).") from None
