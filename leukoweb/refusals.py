"""The one refusal of the product: a sentence, the field it belongs to, and a code that programs can read.

Whoever refuses writes the sentence; how it is shown is left to answers.py.
"""

from collections.abc import Mapping
from typing import Any

# code -> (HTTP status, meaning); docs/api-errors.md lists the same.
CODES: dict[str, tuple[int, str]] = {
    "invalid": (400, "A value is missing or wrong, or two values contradict each other; `fields` says which."),
    "unreadable": (400, "The request itself cannot be read: broken JSON, too deeply nested, or with numbers or "
                        "characters that no text can hold."),
    "taken": (400, "The name or number is in use already."),
    "nothing_taken": (400, "None of the uploaded files was stored; `errors` says why of each."),
    "wrong_password": (400, "User name, password or second-factor code is wrong."),
    "not_signed_in": (401, "The request carries neither a token nor a session."),
    "bad_token": (401, "The token is wrong, expired or revoked."),
    "not_allowed": (403, "The role of this account does not allow it."),
    "read_only_token": (403, "The token has the scope `read`."),
    "account_duty": (403, "The owner must first change the password or set up a second factor on the pages."),
    "locked_out": (403, "Too many wrong passwords: the account waits."),
    "not_found": (404, "It does not exist for this account, or the address is wrong."),
    "wrong_method": (405, "The address does not take this method."),
    "wrong_format": (406, "The address cannot answer in the format of `Accept`."),
    "case_closed": (409, "The report of the case is signed or its specimen was rejected."),
    "changed_since": (409, "Somebody else changed it after it was shown: read it again, then decide."),
    "wrong_state": (409, "It is not possible in this state, such as while the detector still works."),
    "too_large": (413, "The request, or a file of it, is larger than the limit."),
    "wrong_content_type": (415, "The address does not read this `Content-Type`."),
    "too_many_requests": (429, "Too many requests from one address: wait as `Retry-After` says."),
    "server_error": (500, "A fault of the server, written to its log."),
    "unavailable": (503, "The server cannot do it at the moment: try again as `Retry-After` says."),
    "pdf_unavailable": (503, "The PDF library cannot load on this server."),
    "no_room": (507, "The server's disk is full."),
}  # fmt: skip

# Our code of a refusal to the value set issue-type, https://hl7.org/fhir/R4/valueset-issue-type.html
ISSUES = {
    "invalid": "invalid", "unreadable": "structure", "taken": "duplicate", "not_signed_in": "login",
    "bad_token": "login", "not_allowed": "forbidden", "read_only_token": "forbidden", "account_duty": "forbidden",
    "not_found": "not-found", "wrong_method": "not-supported", "wrong_format": "not-supported",
    "wrong_content_type": "not-supported", "too_large": "too-long", "too_many_requests": "throttled",
    "unavailable": "transient", "changed_since": "conflict", "wrong_state": "conflict", "case_closed": "conflict",
}  # fmt: skip


class Refused(Exception):
    """Say in one sentence why something is not done and what to do; nothing was changed.

    `field` names the field of the form that the sentence belongs to, `fields` gives a sentence for each of several;
    the HTTP status follows from the code.
    """

    def __init__(
        self,
        sentence: str,
        field: str | None = None,
        *,
        code: str = "invalid",
        status: int | None = None,
        fields: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(sentence)
        self.field = field
        self.fields = dict(fields or ({field: sentence} if field else {}))
        self.code = code
        self.status = status or CODES[code][0]


def outcome_of(sentence: str, *, code: str) -> dict[str, Any]:
    """Return a refusal as FHIR says it, an OperationOutcome; `code` of docs/api-errors.md."""
    details = {"coding": [{"code": code}], "text": sentence}
    issue = {"severity": "error", "code": ISSUES.get(code, "processing"), "details": details, "diagnostics": sentence}
    return {"resourceType": "OperationOutcome", "issue": [issue]}
