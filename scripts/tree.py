#!/usr/bin/env python3
"""Fails when the tree holds a Rust file that no `mod` names, or a document names a test that is not there.

Such a file is compiled by nobody: the roots are what Cargo compiles by itself; from there each `mod name;` is
followed. Such a document says that a promise is held, and nothing holds it.
"""

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
    return 1 if lost or stale else 0


def stale_names():
    """What documents write in the way of a test's name and no source has; `…` stands for any end."""
    sources = "".join(path.read_text() for pattern in SOURCES for path in ROOT.glob(pattern) if path.is_file())
    for document in [ROOT / "ARCHITECTURE.md", *(ROOT / "docs").rglob("*.md")]:
        for name in set(TEST_NAME.findall(document.read_text())):
            if name.rstrip("…") not in sources:
                yield document, name


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
