"""Sign-in, one's own account and account administration; nothing here knows cases."""

from django.contrib.auth.decorators import login_required
from django.shortcuts import redirect


@login_required
def home(request):
    """Take each role to where its work waits."""
    return redirect("worklist" if request.user.can("read_cases") else "user_list")
