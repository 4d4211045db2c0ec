"""Name this room for Django and tell the audit of sign-ins."""

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    name = "leukoweb.accounts"
    label = "accounts"

    def ready(self) -> None:
        from axes.signals import user_locked_out
        from django.contrib.auth.signals import user_logged_in, user_logged_out, user_login_failed

        from leukoweb.accounts import sign_in

        user_logged_in.connect(sign_in.note_sign_in, dispatch_uid="audit")
        user_login_failed.connect(sign_in.note_refusal, dispatch_uid="audit")
        user_locked_out.connect(sign_in.note_lock, dispatch_uid="audit")
        user_logged_out.connect(sign_in.note_sign_out, dispatch_uid="audit")
