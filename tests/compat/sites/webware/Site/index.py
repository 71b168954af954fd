from urllib.parse import quote

from Page import Page


class index(Page):
    def title(self):
        return "Compatibility"

    def writeContent(self):
        request = self.request()
        name = self.htmlEncode(request.field("name", "world"))
        self.writeln(f"<h1>Hello, {name}!</h1>")
        link = request.servletPath() + "/greet/" + quote("Jürgen €")
        self.writeln(f'<p><a href="{link}">Greet</a></p>')
