"""Pages of interfaces for administrators, and of messages for the people who read cases."""

from django.contrib import messages as notices
from django.db.models import Count, Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.utils.translation import gettext, ngettext
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from leukoweb.accounts.access import requires
from leukoweb.audit.services import record
from leukoweb.delivery import services
from leukoweb.delivery.forms import CodesForm, CountsForm, DismissForm, InterfaceForm, MessageFilter
from leukoweb.delivery.hl7 import MessageRefused
from leukoweb.delivery.models import Interface, Message
from leukoweb.delivery.outbox import send_again
from leukoweb.given import whole_number
from leukoweb.refusals import Refused

PAGE_ROWS = 50
_COUNTED = {"held": Message.State.HELD, "waiting": Message.State.QUEUED, "dead": Message.State.DEAD}


@requires("manage_interfaces")
@require_safe
def interface_list(request: HttpRequest) -> HttpResponse:
    """List the laboratory's interfaces with what waits on each."""
    counts = {name: Count("messages", filter=Q(messages__state=state)) for name, state in _COUNTED.items()}
    interfaces = Interface.objects.filter(laboratory=request.user.laboratory).annotate(**counts)
    return render(request, "delivery/interface_list.html", {"interfaces": interfaces})


@requires("manage_interfaces")
@require_http_methods(["GET", "POST"])
def interface_edit(request: HttpRequest, pk: int | None = None) -> HttpResponse:
    """Add or change an interface."""
    laboratory = request.user.laboratory
    found = get_object_or_404(Interface, pk=pk, laboratory=laboratory) if pk else Interface(laboratory=laboratory)
    form = InterfaceForm(request.POST or None, instance=found)
    if request.method == "POST" and form.is_valid():
        try:
            services.save_interface(form.instance, by=request.user)
        except Refused as refused:
            form.add_error(refused.field, str(refused))
        else:
            notices.success(request, gettext("The interface is saved."))
            return redirect("interface_list")
    return render(request, "delivery/interface_edit.html", {"form": form, "interface": found})


@requires("manage_interfaces")
@require_http_methods(["GET", "POST"])
def interface_codes(request: HttpRequest, pk: int) -> HttpResponse:
    """Say what the codes mean that held messages carry; what is no longer held is applied at once."""
    interface = get_object_or_404(Interface, pk=pk, laboratory=request.user.laboratory)
    form = CodesForm(request.POST or None, interface)
    if request.method == "POST" and form.is_valid():
        settled = services.save_codes(interface, form.chosen(), by=request.user)
        notices.success(
            request,
            ngettext("Saved; %(count)s held message went on.", "Saved; %(count)s held messages went on.", settled)
            % {"count": settled},
        )
        return redirect("interface_codes", interface.pk)
    return render(request, "delivery/interface_codes.html", {"form": form, "interface": interface})


@requires("register_case")
@require_http_methods(["GET", "POST"])
def counts_upload(request: HttpRequest) -> HttpResponse:
    """Take a file of blood counts; every specimen of it is a message of its own."""
    form = CountsForm(request.POST or None, request.FILES or None, laboratory=request.user.laboratory)
    if request.method == "POST" and form.is_valid():
        interface = form.cleaned_data["interface"]
        try:
            taken = services.receive_file(interface, form.cleaned_data["file"], by=request.user)
        except MessageRefused as refused:
            form.add_error("file", refused.sentence)
        else:
            return render(request, "delivery/counts_upload.html", {"form": form, "taken": taken})
    return render(request, "delivery/counts_upload.html", {"form": form})


@requires("read_cases")
@require_safe
def message_list(request: HttpRequest) -> HttpResponse:
    """List messages, newest first, by key."""
    form = MessageFilter(request.GET, request.user)
    found = (
        form.narrow(Message.objects.visible_to(request.user)).select_related("interface", "case").defer("raw", "answer")
    )
    if (before := whole_number(request.GET.get("before"))) is not None:
        found = found.filter(pk__lt=before)
    rows = list(found.order_by("-pk")[: PAGE_ROWS + 1])
    query = request.GET.copy()
    query.pop("before", None)
    older = rows[PAGE_ROWS - 1].pk if len(rows) > PAGE_ROWS else None
    return render(
        request,
        "delivery/message_list.html",
        {"form": form, "rows": rows[:PAGE_ROWS], "older": older, "query": query.urlencode()},
    )


@requires("read_cases")
@require_safe
def message_detail(request: HttpRequest, pk: int) -> HttpResponse:
    """Show one message as it came or went, and its answer."""
    message = _message(request, pk)
    record("message.read", actor=request.user, obj=message, case=message.case)
    answer = bytes(message.answer).decode("utf-8", "replace").replace("\r", "\n")
    return render(
        request, "delivery/message_detail.html", {"message": message, "answer": answer, "form": DismissForm()}
    )


@requires("register_case")
@require_POST
def message_replay(request: HttpRequest, pk: int) -> HttpResponse:
    """Apply a held message after its cause was removed."""
    message = services.replay(_message(request, pk), by=request.user)
    if message.state == Message.State.APPLIED:
        notices.success(request, gettext("The message was applied."))
    else:
        notices.warning(request, message.sentence)
    return redirect("message_detail", message.pk)


@requires("register_case")
@require_POST
def message_dismiss(request: HttpRequest, pk: int) -> HttpResponse:
    """End a held message without effect."""
    message, form = _message(request, pk), DismissForm(request.POST)
    if form.is_valid():
        services.dismiss(message, by=request.user, reason=form.cleaned_data["reason"])
        notices.success(request, gettext("The message was dismissed."))
    else:
        notices.error(request, gettext("Write why the message is dismissed."))
    return redirect("message_detail", message.pk)


@requires("register_case")
@require_POST
def message_send(request: HttpRequest, pk: int) -> HttpResponse:
    """Send a result again that was not delivered."""
    message = _message(request, pk)
    send_again(message, by=request.user)
    notices.success(request, gettext("The message will be sent within seconds."))
    return redirect("message_detail", message.pk)


def _message(request: HttpRequest, pk: int) -> Message:
    return get_object_or_404(Message.objects.visible_to(request.user).select_related("interface", "case"), pk=pk)
