from django.db import models


class Document(models.Model):
    """Something on the shelf: a title, a note and perhaps a file."""

    title = models.CharField(max_length=100)
    note = models.TextField(blank=True)
    file = models.FileField(upload_to="documents", blank=True)
    # As the visitor called it: storage may have to choose another name.
    file_name = models.CharField(max_length=255, blank=True, editable=False)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ["-created", "-id"]

    def __str__(self):
        return self.title
