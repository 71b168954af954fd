"""The smallest page of Django, with one middleware."""

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse
from django.urls import path

settings.configure(
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="only measured",
    ROOT_URLCONF=__name__,
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
)
django.setup()


def page(request):
    return HttpResponse("Hello, world!")


urlpatterns = [path("", page)]
app = get_wsgi_application()
