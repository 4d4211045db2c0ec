"""Addresses of sign-in, one's own account and account administration."""

from allauth.account import views as allauth_views
from django.urls import include, path

from leukoweb.accounts import language, views, views_manage

urlpatterns = [
    path("", views.home, name="home"),
    # django-allauth asks for its own names; each stands for the same page.
    path("sign-in/", allauth_views.login, name="sign_in"),
    path("sign-in/", allauth_views.login, name="account_login"),
    path("sign-out/", allauth_views.logout, name="sign_out"),
    path("sign-out/", allauth_views.logout, name="account_logout"),
    path("account/inactive/", allauth_views.account_inactive, name="account_inactive"),
    path("account/sign-up/", allauth_views.signup, name="account_signup"),
    path("account/password/", allauth_views.password_change, name="password_change"),
    path("account/password/", allauth_views.password_change, name="account_change_password"),
    path("account/password/none/", views.no_password, name="account_set_password"),
    path("account/confirm/", allauth_views.reauthenticate, name="account_reauthenticate"),
    path("account/second-factor/", include("allauth.mfa.urls")),
    path("account/sessions/", include("allauth.usersessions.urls")),
    path("account/sessions/<int:pk>/end/", views.session_end, name="session_end"),
    path("account/hospital/", include("allauth.socialaccount.urls")),
    path("account/hospital/", include("allauth.socialaccount.providers.openid_connect.urls")),
    path("account/invitation/<str:uidb64>/<str:token>/", views.Invitation.as_view(), name="invitation"),
    path("account/statement/", views.statement, name="statement"),
    path("account/language/", language.language, name="language"),
    path("sentences.js", language.Sentences.as_view(), name="javascript_catalog"),
    path("account/session/", views.session_state, name="session_state"),
    path("account/session/stay/", views.session_stay, name="session_stay"),
    path("manage/users/", views_manage.user_list, name="user_list"),
    path("manage/users/new/", views_manage.user_invite, name="user_invite"),
    path("manage/users/import/", views_manage.user_import, name="user_import"),
    path("manage/users/<int:pk>/", views_manage.user_detail, name="user_detail"),
    path("manage/users/<int:pk>/invitation/", views_manage.user_invitation, name="user_invitation"),
    path("manage/users/<int:pk>/active/", views_manage.user_active, name="user_active"),
    path("manage/users/<int:pk>/reset-password/", views_manage.user_reset_password, name="user_reset_password"),
    path("manage/users/<int:pk>/reset-factor/", views_manage.user_reset_factor, name="user_reset_factor"),
    path("manage/users/<int:pk>/unlock/", views_manage.user_unlock, name="user_unlock"),
    path("manage/users/<int:pk>/end-sessions/", views_manage.user_end_sessions, name="user_end_sessions"),
    path("manage/emergencies/", views_manage.emergency_list, name="emergency_list"),
    path("manage/emergencies/<int:pk>/", views_manage.emergency_follow_up, name="emergency_follow_up"),
    path("manage/laboratories/", views_manage.laboratory_list, name="laboratory_list"),
    path("manage/laboratories/new/", views_manage.laboratory_edit, name="laboratory_create"),
    path("logos/<str:sha256>.png", views_manage.laboratory_logo, name="laboratory_logo"),
    path("manage/laboratories/<int:pk>/", views_manage.laboratory_edit, name="laboratory_edit"),
]
