from django.urls import path

from . import views

urlpatterns = [
    path("", views.index, name="index"),
    path("documents/<int:pk>/", views.detail, name="detail"),
    path("documents/<int:pk>/file", views.download, name="download"),
    path("documents/<int:pk>/delete", views.delete, name="delete"),
    path("export.csv", views.export, name="export"),
]
