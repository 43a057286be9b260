#!/usr/bin/env python3
"""Lists the public interface of the crate, by its rendered documentation.

    .ci/public_api.py FOLDER [--check | --write]

FOLDER is the crate's folder below `target/doc`, built with all features. Each
line is an item, a field, a variant, a method or a trait implementation. With
`--check` the listing is compared with docs/public-api.txt, with `--write` it
becomes that file. Only stable rustdoc is needed.
"""

from __future__ import annotations

import argparse
import difflib
import re
import sys
from html.parser import HTMLParser
from pathlib import Path

LISTING = Path(__file__).parent.parent / "docs" / "public-api.txt"
# Implementations that every type has, or that derive from its fields.
BLANKET = re.compile(r"impl-(Auto|Send|Sync|Unpin|Freeze|RefUnwindSafe|UnwindSafe|UnsafeUnpin)")
SECTIONS = ("method.", "tymethod.", "variant.", "structfield.", "associatedconstant.", "impl-")


class Page(HTMLParser):
    """Collects the declaration and the members of one item's page."""

    def __init__(self) -> None:
        """Begins with no member."""
        super().__init__()
        self.declaration = ""
        self.members: list[tuple[str, str]] = []
        self.target: str | None = None
        self.depth = 0
        self.text: list[str] = []
        self.section = ""
        self.blanket = False

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Notes where a declaration or a member begins."""
        values = dict(attrs)
        name = values.get("id") or ""
        classes = (values.get("class") or "").split()
        if name in {"synthetic-implementations", "blanket-implementations"}:
            self.blanket = True
        if self.target is not None:
            self.depth += tag not in {"br", "wbr", "img", "input"}
            if {"docblock", "rightside", "src", "where"} & set(classes):
                self.text.append("\0")
            return
        if name.startswith(SECTIONS):
            self.section = name
        if tag == "pre" and "item-decl" in classes:
            self.begin("declaration")
        elif tag in {"h3", "h4", "code"} and ("code-header" in classes or tag == "code"):
            in_field = tag == "code" and self.section.startswith("structfield.")
            if self.section and ("code-header" in classes or in_field):
                self.begin("member")

    def begin(self, target: str) -> None:
        """Collects text from here on."""
        self.target, self.depth, self.text = target, 1, []

    def handle_endtag(self, tag: str) -> None:
        """Notes where a declaration or a member ends."""
        if self.target is None or tag in {"br", "wbr", "img", "input"}:
            return
        self.depth -= 1
        if self.depth:
            return
        text = " ".join("".join(self.text).replace("\0", " ").replace("ⓘ", "").split())
        if self.target == "declaration":
            self.declaration = self.declaration or text
        elif not self.blanket:
            self.members.append((self.section, text))
        self.target, self.section = None, ""

    def handle_data(self, data: str) -> None:
        """Collects text."""
        if self.target is not None:
            self.text.append(data)


def listing(folder: Path) -> list[str]:
    """Returns a sorted line for each public item and each of its members."""
    lines = set()
    for path in sorted(folder.rglob("*.html")):
        kind, _, rest = path.name.partition(".")
        if kind not in {"struct", "enum", "trait", "fn", "constant", "type", "macro", "static"}:
            continue
        name = rest.removesuffix(".html")
        module = "::".join([folder.name, *path.parent.relative_to(folder).parts])
        page = Page()
        page.feed(path.read_text())
        if not page.declaration:
            continue  # A redirection of rustdoc's.
        declaration = page.declaration.split(" {")[0].split(" where ")[0]
        lines.add(f"{module}::{name}: {declaration}")
        is_trait = kind == "trait"
        for section, text in page.members:
            is_impl = section.startswith("impl-")
            # Methods of implementations follow from the trait, and derived
            # markers from the others.
            inherited = text.startswith(("fn ", "type ")) and not is_trait
            derived = is_impl and (" for " not in text or " StructuralPartialEq " in text)
            if inherited or derived or (is_trait and is_impl) or BLANKET.match(section):
                continue
            lines.add(f"{module}::{name} {text}")
    return sorted(lines)


def main() -> int:
    """Prints, checks or writes the listing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    lines = listing(options.folder)
    text = "\n".join(lines) + "\n"
    if options.write:
        LISTING.write_text(text)
    elif options.check:
        before = LISTING.read_text().splitlines()
        changes = list(difflib.unified_diff(before, lines, "docs/public-api.txt", "now", "", "", 0))
        sys.stdout.writelines(f"{line}\n" for line in changes)
        if changes:
            print("the public interface changed: run .ci/public_api.py FOLDER --write")
            return 1
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
