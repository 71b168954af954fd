from django import forms

from .models import Document


class DocumentForm(forms.ModelForm):
    class Meta:
        model = Document
        fields = ["title", "note", "file"]
        widgets = {"note": forms.Textarea(attrs={"rows": 3})}

    def save(self, commit=True):
        file = self.cleaned_data["file"]
        if file:
            self.instance.file_name = file.name
        return super().save(commit)
