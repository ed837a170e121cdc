"""Docstrings for the site: indented lines and examples as code, errors as a paragraph of their own."""

from __future__ import annotations

import re

from griffe import Extension, Object

RAISES = re.compile(r"\s+Raises:\s+(?:    )?")
CODE = re.compile(r"(?:^ {4}.*\n?|^\n(?= {4}))+|(?:^>>> .*\n?)(?:^(?!\n).+\n?)*", re.MULTILINE)


class Examples(Extension):
    """Give examples in docstrings a fence, so that Markdown keeps their lines."""

    def on_object(self, *, obj: Object, **_: object) -> None:
        """Rewrite an object's docstring."""
        if obj.docstring:
            text = RAISES.sub("\n\n**Raises:** ", obj.docstring.value)
            obj.docstring.value = CODE.sub(_fenced, text)


def _fenced(found: re.Match[str]) -> str:
    kind = "pycon" if found[0].startswith(">>>") else "python"
    return f"\n```{kind}\n{found[0].rstrip()}\n```\n"
