#!/usr/bin/env python3
"""Fails when the tree holds a Rust file that no `mod` names, a document names a test that is not there, or a page
and its Chinese version have different code.

Such a file is compiled by nobody: the roots are what Cargo compiles by itself; from there each `mod name;` is
followed. Such a document says that a promise is held, and nothing holds it. Of two such pages one was left behind.
"""

import difflib
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
ROOTS = ("src/lib.rs", "src/main.rs", "build.rs", "src/bin/*.rs", "tests/*.rs", "examples/*.rs", "benches/*.rs")
# A sub-folder with a main.rs is one target too.
ROOTS += ("src/bin/*/main.rs", "tests/*/main.rs", "examples/*/main.rs", "benches/*/main.rs", "fuzz_targets/*.rs")

SOURCES = ("crates/**/*.rs", "tests/**/*.py", "scripts/*")
# Tests are called by sentences: four words or more.
TEST_NAME = re.compile(r"`([a-z][a-z0-9]*(?:_[a-z0-9…]+){3,})`")

# A guide has the same name in both folders.
GUIDES, CHINESE_GUIDES = ROOT / "docs/guide", ROOT / "docs/zh-CN/guide"
BLOCK = re.compile(r"^```(?P<language>\w*)\n.*?^```$", re.M | re.S)
SPAN = re.compile(r"`[^`]+`")
# What a comment begins with, which is in the language of its page; blocks of any other kind have none.
COMMENT_MARKS = {"sh": "#", "python": "#", "toml": "#", "rust": "//"}

COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.S)
ATTRIBUTE = r"(?:#\[[^\]]*\]\s*)*"
MODULE = re.compile(rf'(?:#\[path\s*=\s*"(?P<path>[^"]+)"\]\s*{ATTRIBUTE})?(?:pub(?:\([^)]*\))?\s+)?\bmod\s+(?P<name>\w+)\s*;')


def main():
    packages = [manifest.parent for manifest in ROOT.glob("crates/*/Cargo.toml")]
    packages += [manifest.parent for manifest in ROOT.glob("fuzz/Cargo.toml")]
    lost = [path for package in packages for path in unnamed(package)]
    for path in sorted(lost):
        print(f"{path.relative_to(ROOT)}: no `mod` names this file\nhint: name it in its parent module, or delete it")
    stale = sorted(stale_names())
    for document, name in stale:
        print(f"{document.relative_to(ROOT)}: there is no `{name}`\nhint: it was renamed or taken away; name what holds this now")
    drifted = [(page, difference) for page, translation in translated() if (difference := drift(page, translation))]
    for page, difference in drifted:
        print(f"{page.relative_to(ROOT)}: its Chinese version has other code", *difference, sep="\n    ")
        print("hint: say in both what holds now; only comments in blocks may differ")
    return 1 if lost or stale or drifted else 0


def stale_names():
    """What documents write in the way of a test's name and no source has; `…` stands for any end."""
    sources = "".join(path.read_text() for pattern in SOURCES for path in ROOT.glob(pattern) if path.is_file())
    for document in [ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")]:
        for name in set(TEST_NAME.findall(document.read_text())):
            if name.rstrip("…") not in sources:
                yield document, name


def translated():
    """Each page that is there in Chinese, too, or should be, or should no longer."""
    yield ROOT / "README.md", ROOT / "README.zh-CN.md"
    for name in sorted({page.name for folder in (GUIDES, CHINESE_GUIDES) for page in folder.glob("*.md")}):
        yield GUIDES / name, CHINESE_GUIDES / name


def drift(page, translation):
    """What stands in the page alone, after a minus, and what in its translation alone, after a plus."""
    lines = list(difflib.unified_diff(code(page), code(translation), n=0, lineterm=""))
    # The first two name files.
    return [line for line in lines[2:] if not line.startswith("@@")]


def code(page):
    """The lines of its blocks, without comments, then whatever else stands in backticks, each once."""
    text = page.read_text() if page.exists() else ""
    lines = [line for block in BLOCK.finditer(text) for line in without_comments(block).splitlines()]
    words = {" ".join(span.split()) for span in SPAN.findall(BLOCK.sub("", text))}
    return lines + sorted(words)


def without_comments(block):
    mark = COMMENT_MARKS.get(block["language"])
    return re.sub(rf"\s+{mark}.*", "", block[0]) if mark else block[0]


def unnamed(package):
    roots = {path for pattern in ROOTS for path in package.glob(pattern)}
    todo, named = list(roots), set()
    while todo:
        path = todo.pop()
        if path not in named and path.exists():
            named.add(path)
            # The modules of a root and of a mod.rs lie beside it, those of any other file in its folder.
            beside = path in roots or path.name == "mod.rs"
            todo += children(path, path.parent if beside else path.with_suffix(""))
    return {path for path in package.rglob("*.rs") if "target" not in path.parts} - named


def children(path, folder):
    """The files that the `mod` lines of `path` may mean; the ones that do not exist are dropped later."""
    for found in MODULE.finditer(COMMENT.sub("", path.read_text())):
        if found["path"]:
            yield (path.parent / found["path"]).resolve()
        else:
            yield folder / f"{found['name']}.rs"
            yield folder / found["name"] / "mod.rs"


if __name__ == "__main__":
    sys.exit(main())
