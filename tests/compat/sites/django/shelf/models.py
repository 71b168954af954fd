from django.db import models


class Book(models.Model):
    title = models.CharField(max_length=100)
    scan = models.FileField(blank=True, upload_to="scans")

    def __str__(self):
        return self.title
