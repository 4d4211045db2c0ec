"""The forms of account pages and the reader of account lists."""

import csv
import io
from collections.abc import Iterable
from typing import Any

from django import forms
from django.conf import settings
from django.db.models import Q, QuerySet
from django.utils.text import format_lazy
from django.utils.translation import gettext, gettext_lazy

from leukoweb.accounts.models import Laboratory, User
from leukoweb.accounts.roles import ROLES
from leukoweb.accounts.time_zone import zone_names

COLUMNS = ["username", "first_name", "last_name", "email", "role", "laboratory"]
MOST_LINES = 2000


class AccountForm(forms.ModelForm):
    """An account as administrators edit it."""

    class Meta:
        model = User
        fields = ["username", "first_name", "last_name", "email", "role", "laboratory"]

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        for name in ("first_name", "last_name", "laboratory"):
            self.fields[name].required = True
        self.fields["laboratory"].queryset = Laboratory.objects.filter(is_active=True)
        self.fields["username"].help_text = gettext("Letters, digits and @ . + - _ only.")
        self.fields["first_name"].help_text = gettext("Shown on reports.")
        if self.instance.pk:
            del self.fields["username"]  # it stands in records

    def clean_username(self) -> str:
        username = self.cleaned_data["username"]
        if User.objects.filter(username__iexact=username).exists():
            raise forms.ValidationError(gettext("There is an account of that name already."))
        return username


class LaboratoryForm(forms.ModelForm):
    """A laboratory as administrators edit it."""

    language = forms.ChoiceField(
        required=False,
        choices=[("", gettext_lazy("As the installation")), *settings.LANGUAGES],
        label=gettext_lazy("Language of reports"),
        help_text=gettext_lazy("Signed reports keep the language they were signed in."),
    )

    time_zone = forms.ChoiceField(
        required=False,
        choices=lambda: [("", gettext("As the installation")), *((name, name) for name in zone_names())],
        label=gettext_lazy("Time zone"),
        help_text=gettext_lazy("Times on pages, in forms and on reports. Signed reports keep the times they print."),
    )

    logo = forms.FileField(
        required=False, label=gettext_lazy("Logo"),
        help_text=gettext_lazy("PNG or JPEG; printed on later reports. Signed reports keep theirs."),
    )  # fmt: skip
    logo_text = forms.CharField(
        required=False, max_length=200, label=gettext_lazy("The logo in words"),
        help_text=gettext_lazy("Read where it is not seen."),
    )  # fmt: skip

    class Meta:
        model = Laboratory
        fields = ["name", "address", "telephone", "director", "language", "time_zone", "is_active"]
        widgets = {"address": forms.Textarea(attrs={"rows": 3})}


class UserFilter(forms.Form):
    """What the list of accounts is narrowed to."""

    name = forms.CharField(required=False, max_length=150, label=gettext_lazy("Name"))
    role = forms.ChoiceField(required=False, choices=[("", gettext_lazy("Any role")), *ROLES.items()])
    laboratory = forms.ModelChoiceField(
        Laboratory.objects.all(), required=False, empty_label=gettext_lazy("Any laboratory")
    )
    state = forms.ChoiceField(
        required=False,
        choices=[
            ("", gettext_lazy("Any state")),
            ("active", gettext_lazy("Active")),
            ("inactive", gettext_lazy("Deactivated")),
            ("locked", gettext_lazy("Locked")),
            ("invited", gettext_lazy("Invited, not yet in")),
        ],
    )

    def narrow(self, users: QuerySet[User], locked_names: Iterable[str]) -> QuerySet[User]:
        """Return the users that fit; `locked_names` are spelled as lockout.name_of spells them."""
        self.full_clean()
        chosen = getattr(self, "cleaned_data", {})
        for word in (chosen.get("name") or "").split():
            users = users.filter(
                Q(username__icontains=word) | Q(first_name__icontains=word) | Q(last_name__icontains=word)
            )
        if chosen.get("role"):
            users = users.filter(role=chosen["role"])
        if chosen.get("laboratory"):
            users = users.filter(laboratory=chosen["laboratory"])
        if chosen.get("state") == "locked":
            any_locked = Q(pk=None)
            for name in locked_names:
                any_locked |= Q(username__iexact=name)
            users = users.filter(any_locked)
        states = {"active": Q(is_active=True), "inactive": Q(is_active=False), "invited": Q(last_login=None)}
        return users.filter(states.get(chosen.get("state") or "", Q()))


class ImportForm(forms.Form):
    """A list of accounts as CSV."""

    file = forms.FileField(
        label=gettext_lazy("CSV file"),
        help_text=format_lazy(gettext_lazy("First line: {columns}. UTF-8, at most 1 MB."), columns=",".join(COLUMNS)),
    )

    def clean_file(self) -> str:
        file = self.cleaned_data["file"]
        if file.size > 2**20:
            raise forms.ValidationError(gettext("The file is larger than 1 MB: split it."))
        try:
            return file.read().decode("utf-8-sig")
        except UnicodeDecodeError:
            raise forms.ValidationError(gettext("The file is not UTF-8 text: save it as CSV in UTF-8.")) from None


def read_accounts(text: str) -> list[tuple[int, str, AccountForm | None, list[str]]]:
    """Return (line number, user name, checked form, complaints) of every line of a CSV; [] for an empty file.

    Raises ValueError with a sentence when it is no such list at all.
    """
    try:
        reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
        if [name.strip() for name in reader.fieldnames or []] != COLUMNS:
            raise ValueError(f"The first line must be: {','.join(COLUMNS)}.")
        reader.fieldnames = COLUMNS
        rows = [(reader.line_num, row) for row in reader]
    except csv.Error as error:
        raise ValueError(f"The file cannot be read as CSV: {error}.") from None
    if len(rows) > MOST_LINES:
        raise ValueError(f"The file has {len(rows)} lines: at most {MOST_LINES} at once.")
    active = Laboratory.objects.filter(is_active=True)
    laboratories = {laboratory.name.casefold(): laboratory.pk for laboratory in active}
    seen: set[str] = set()
    return [_read_line(number, row, laboratories, seen) for number, row in rows]


def _read_line(
    number: int, row: dict, laboratories: dict[str, int], seen: set[str]
) -> tuple[int, str, AccountForm | None, list[str]]:
    if None in row or None in row.values():
        return number, (row.get("username") or "").strip(), None, ["This line has another number of columns."]
    cells = {name: value.strip() for name, value in row.items()}
    username, complaints = cells["username"], []
    if cells["laboratory"].casefold() not in laboratories:
        complaints.append(f"There is no active laboratory called “{cells['laboratory'][:80]}”.")
    if username.casefold() in seen:
        complaints.append("This user name stands in the file twice.")
    seen.add(username.casefold())
    cells["role"] = {name.casefold(): code for code, name in ROLES.items()}.get(cells["role"].casefold(), cells["role"])
    form = AccountForm({**cells, "laboratory": laboratories.get(cells["laboratory"].casefold(), "")})
    for field, errors in form.errors.items():
        if field != "laboratory" or cells["laboratory"].casefold() in laboratories:
            complaints += [f"{form.fields[field].label or field}: {error}" for error in errors]
    return number, username, form, complaints
