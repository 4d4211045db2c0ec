"""Addresses of interfaces and messages."""

from django.urls import path

from leukoweb.delivery import views

urlpatterns = [
    path("interfaces/", views.interface_list, name="interface_list"),
    path("interfaces/new/", views.interface_edit, name="interface_add"),
    path("interfaces/<int:pk>/", views.interface_edit, name="interface_edit"),
    path("interfaces/<int:pk>/codes/", views.interface_codes, name="interface_codes"),
    path("blood-counts/", views.counts_upload, name="counts_upload"),
    path("messages/", views.message_list, name="message_list"),
    path("messages/<int:pk>/", views.message_detail, name="message_detail"),
    path("messages/<int:pk>/apply/", views.message_replay, name="message_replay"),
    path("messages/<int:pk>/dismiss/", views.message_dismiss, name="message_dismiss"),
    path("messages/<int:pk>/send/", views.message_send, name="message_send"),
]
