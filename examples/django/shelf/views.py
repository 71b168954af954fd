import csv

from django.contrib import messages
from django.http import FileResponse, Http404, StreamingHttpResponse
from django.shortcuts import get_object_or_404, redirect, render
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from .forms import DocumentForm
from .models import Document

SHOWN = 50


@require_http_methods(["GET", "HEAD", "POST"])
def index(request):
    """The shelf and the form that puts something on it."""
    form = DocumentForm(request.POST or None, request.FILES or None)
    if request.method == "POST" and form.is_valid():
        document = form.save()
        messages.success(request, f"{document.title} is on the shelf.")
        return redirect("index")
    visits = request.session["visits"] = request.session.get("visits", 0) + 1
    context = {"form": form, "documents": Document.objects.all()[:SHOWN], "visits": visits}
    return render(request, "shelf/index.html", context, status=400 if form.errors else 200)


@require_GET
def detail(request, pk):
    return render(request, "shelf/detail.html", {"document": get_object_or_404(Document, pk=pk)})


@require_GET
def download(request, pk):
    """The file, sent by the gateway: Django hands it over through wsgi.file_wrapper."""
    document = get_object_or_404(Document, pk=pk)
    if not document.file:
        raise Http404("this document has no file")
    return FileResponse(document.file.open("rb"), as_attachment=True, filename=document.file_name)


@require_POST
def delete(request, pk):
    document = get_object_or_404(Document, pk=pk)
    if document.file:
        document.file.delete(save=False)
    document.delete()
    messages.success(request, f"{document.title} is gone.")
    return redirect("index")


@require_GET
def export(request):
    """All documents as CSV, row by row: however many there are, memory does not grow."""
    writer = csv.writer(Line())
    header = ["id", "title", "note", "file", "created"]

    def rows():
        yield writer.writerow(header)
        for document in Document.objects.order_by("id").iterator(chunk_size=500):
            created = document.created.isoformat()
            yield writer.writerow([document.id, document.title, document.note, document.file_name, created])

    headers = {"Content-Disposition": 'attachment; filename="shelf.csv"'}
    return StreamingHttpResponse(rows(), content_type="text/csv; charset=utf-8", headers=headers)


class Line:
    """What csv.writer needs of a file: it gives each line back instead of keeping it."""

    def write(self, line):
        return line
