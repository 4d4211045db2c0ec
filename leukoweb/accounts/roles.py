"""The one table of what each role may do.

A role is a column on the user, so there is no second place where a right could be given.
"""

from django.utils.translation import gettext_lazy

TECHNOLOGIST, PATHOLOGIST, ADMIN = "technologist", "pathologist", "admin"
ROLES = {
    TECHNOLOGIST: gettext_lazy("Technologist"),
    PATHOLOGIST: gettext_lazy("Pathologist"),
    ADMIN: gettext_lazy("Administrator"),
}

PERMISSIONS = {
    "read_cases": {TECHNOLOGIST, PATHOLOGIST},
    "register_case": {TECHNOLOGIST, PATHOLOGIST},
    "upload_slide": {TECHNOLOGIST, PATHOLOGIST},
    "relabel_cell": {TECHNOLOGIST, PATHOLOGIST},
    "hand_over": {TECHNOLOGIST, PATHOLOGIST},
    "tell_critical": {TECHNOLOGIST, PATHOLOGIST},
    "except_critical": {PATHOLOGIST, ADMIN},
    "release_report": {TECHNOLOGIST, PATHOLOGIST},  # a technologist where the laboratory's rules say so
    "sign_report": {PATHOLOGIST},
    "open_in_emergency": {PATHOLOGIST},
    "propose_merge": {TECHNOLOGIST, PATHOLOGIST, ADMIN},
    "approve_merge": {ADMIN},  # never of one's own proposal
    "manage_accounts": {ADMIN},
    "manage_policies": {ADMIN},
    "manage_detectors": {ADMIN},
    "manage_interfaces": {ADMIN},
    "read_audit": {ADMIN},
    "see_system": {ADMIN},
}


def allows(role: str, action: str) -> bool:
    """Say whether `role` may do `action`; an unknown action raises KeyError (a typo must not grant anything)."""
    return role in PERMISSIONS[action]
