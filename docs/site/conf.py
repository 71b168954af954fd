"""The site that `make docs` builds: the Markdown files as they stand in the repository, which a forge shows as well.

The navigation is made from docs/README.md: a heading there is a heading of the side bar, and each page that the text below
it links to is an entry, in this order, under its own title, or under the link's text if that has more than one word. A page
that no heading leads to, a link to a file that is not there and an anchor that no heading makes are warnings, and warnings
end the build.
"""

import re
from pathlib import Path

from docutils import nodes
from sphinx.transforms import SphinxTransform

PROJECT = Path(__file__).resolve().parents[2]
INDEX = "docs/README"

project = "wsgi-fpm"
author = "the authors of wsgi-fpm"
project_copyright = author
version = release = re.search(r'^version = "(.+)"$', (PROJECT / "Cargo.toml").read_text(), re.MULTILINE)[1]

extensions = ["myst_parser"]
# The whole repository is the source, so that links mean the same here as in it.
root_doc = "README"
include_patterns = ["*.md", "docs/*.md", "docs/internals/*.md", "examples/*/README.md", "tests/README.md"]
exclude_patterns = ["target", ".*", "crates", "fuzz", "src", "benches", "scripts"]
# As a forge makes anchors: a heading of any depth has one.
myst_heading_anchors = 6
# What no lexer knows, in an example, is no fault of the page; clauses are headings of the third level wherever they stand.
suppress_warnings = ["misc.highlighting_failure", "myst.header"]
# Commands, mostly: nothing is guessed.
highlight_language = "text"
pygments_style = "friendly"
smartquotes = False

html_theme = "furo"
html_title = f"wsgi-fpm {version}"
html_static_path = ["static"]
html_css_files = ["wide.css"]
html_search_scorer = str(Path(__file__).with_name("scorer.js"))
templates_path = ["templates"]
html_additional_pages = {"index": "index.html"}
html_copy_source = False
html_show_sphinx = False


def navigation():
    """Headings of the index, each with the entries of a toctree for what the text below it links to."""
    found = []
    for line in (PROJECT / f"{INDEX}.md").read_text().splitlines():
        if line.startswith("## "):
            found.append((line[3:], []))
        elif found:
            for text, target in re.findall(r"\[([^\]]+)\]\(([^)#]+\.md)\)", line):
                document = (PROJECT / "docs" / target).resolve().relative_to(PROJECT).with_suffix("")
                if str(document) != root_doc:
                    found[-1][1].append(f"{text} </{document}>" if " " in text else f"/{document}")
    return found


def add_navigation(_app, docname, source):
    """Gives the front page the trees of the navigation, and the clauses theirs."""
    if docname == root_doc:
        trees = navigation()
        trees[0][1].insert(0, f"/{INDEX}")
    elif docname == "docs/internals/README":
        clauses = sorted(file.stem for file in (PROJECT / "docs/internals").glob("[a-z]*.md"))
        trees = [("Clauses", [f"/docs/internals/{name}" for name in clauses])]
    else:
        return
    for caption, entries in trees:
        lines = "\n".join(entries)
        source[0] += f"\n\n```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{lines}\n```\n"


class NameOptions(SphinxTransform):
    """Makes each option in a table of docs/options.md a place that the search leads to, by both of its names."""

    default_priority = 500

    def apply(self):
        if self.env.docname != "docs/options":
            return
        options = self.env.domains.standard_domain
        for row in self.document.findall(nodes.row):
            option = re.match(r"--[a-z-]+|[a-z]+_[a-z_]+(?= \()", row[0].astext())
            if option is None:
                continue
            key = option[0].lstrip("-").replace("-", "_")
            place = f"option-{key}"
            row[0]["ids"].append(place)
            name = ", ".join(dict.fromkeys([option[0], key]))
            options.add_program_option(None, name, self.env.docname, place)


def setup(app):
    app.connect("source-read", add_navigation)
    app.add_transform(NameOptions)
