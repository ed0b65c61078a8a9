"""Sphinx extension: what makes sense among files only is said as a site says it.

- Where documents are listed, and where the text of a link is a document's file name, as in
  ``[plan.md](plan.md)``, its title is shown, up to a colon if that much is no other's.
- A folder has no page. A link to one leads to the ``README.md`` above it, and is plain text where
  there is none, or where that is the page it is on.
"""

from __future__ import annotations

from collections import Counter
from pathlib import PurePosixPath
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform


def shorten(_app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Give every document the title that lists and links show; its page keeps the whole one."""
    whole = {name: title.astext() for name, title in env.longtitles.items()}
    begins = Counter(title.partition(":")[0] for title in whole.values())
    for name, title in whole.items():
        begin = title.partition(":")[0]
        shown = begin if begins[begin] == 1 else title
        env.titles[name] = nodes.title("", shown)
        listed = next(iter(env.tocs[name].findall(nodes.reference)))
        listed.children = [nodes.Text(shown)]
    return []


class RepositoryLinks(SphinxPostTransform):
    """Changes links before MyST resolves them."""

    default_priority = 5

    def run(self, **_kwargs: Any) -> None:
        """Go through the links of a document."""
        for link in list(self.document.findall(addnodes.pending_xref)):
            if link.get("refdomain") == "doc":
                self._name(link)
            elif link.get("reftype") == "myst" and self._is_folder(link):
                self._lead_to_page(link)

    def _name(self, link: addnodes.pending_xref) -> None:
        if link.astext().endswith(".md"):
            text = self.env.titles[link["reftarget"]].astext()
            link.children = [nodes.inline("", text, classes=["doc"])]

    def _is_folder(self, link: addnodes.pending_xref) -> bool:
        place = self.env.doc2path(link["refdoc"]).parent / link["reftarget"]
        return place.is_dir()

    def _lead_to_page(self, link: addnodes.pending_xref) -> None:
        place = (self.env.doc2path(link["refdoc"]).parent / link["reftarget"]).resolve()
        above = place.parent.relative_to(self.env.srcdir)
        page = str(PurePosixPath(above) / "README")
        if page in self.env.found_docs - {link["refdoc"], "README"}:
            link.attributes |= {"refdomain": "doc", "reftarget": page, "reftargetid": None}
        else:
            link.replace_self(link.children)


def setup(app: Sphinx) -> dict[str, bool]:
    """Say to Sphinx what there is."""
    app.connect("env-updated", shorten)
    app.add_post_transform(RepositoryLinks)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
