from django.contrib import admin
from django.contrib.staticfiles.urls import staticfiles_urlpatterns
from django.urls import include, path

urlpatterns = [
    path("admin/", admin.site.urls),
    path("", include("shelf.urls")),
    # Nothing unless DEBUG is on: in production the web server sends the static files.
    *staticfiles_urlpatterns(),
]
