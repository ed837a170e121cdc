"""Words of docstrings and documents: US spelling, a noun phrase or an imperative first."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest
from import_graph import ROOMS, ROOT, modules

# `distil` is also a name that stored keys have.
BRITISH = re.compile(
    r"\b(?:behaviour|colour|favour|flavour|honour|neighbour|labour|harbour|catalogue|centre|fibre|grey|judgement|licence|artefact"
    r"|(?:label|level|model|travel)l(?:ed|ing|er)\b|analys(?:e|ed|es|ing)\b|distils\b"
    r"|distil(?= (?:a|all|blocks?|each|every|one|the)\b)"
    r"|fulfil(?:s|ment)?\b|towards\b|whilst\b|programmes?\b"
    r"|(?:general|initial|maxim|minim|normal|optim|organ|penal|quant|random|real|recogn|regular|serial|special|standard|summar"
    r"|synchron|util|visual)is(?:e|ed|er|ers|es|ing|ation|ations)\b)",
    re.IGNORECASE,
)
FORMER = (
    "CHANGELOG.md",
    "docs/how-to/search-methods.md",
    "search/methods/registry.py",
    "tests/search/methods/test_methods.py",
)
UNDERSTOOD = {"programme": FORMER}
# Of modules and classes a noun phrase, of functions an imperative whose object is a noun.
RIDDLES = {
    ast.Module: re.compile(r"(?:What|Who|Whoever|Which|Those|How|Tells?|Says?|Holds?)\b"),
    ast.ClassDef: re.compile(r"(?:What|Who|Whoever|Which|Those|How|Tells?|Says?|Holds?)\b"),
    ast.FunctionDef: re.compile(
        r"(?:What|Who|Which|Those|How|Tell (?:whether|if)|Say (?:whether|if)|(?:Return|Yield|Give) what)\b"
    ),
}

# `3 of 20 networks are`, where the first number, here \0, may be 1.
PLURAL_VERB = re.compile(
    r"\0 of (?:the )?\0 (?:[a-z-]+ ){0,2}[a-z]+s (?:\S+ ){0,4}?(?:are|have|were|do|meet|begin|count)\b"
)


def british_words(text: str) -> list[str]:
    """Return the words of a text that Britons alone spell so."""
    return BRITISH.findall(text)


def riddles(source: str) -> list[str]:
    """Return the first lines of a module's docstrings that open with a clause where a noun or a verb belongs."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            text = (ast.get_docstring(node) or "").partition("\n")[0]
            found += [text] if RIDDLES[type(node)].match(text) else []
    return found


def plural_verbs(source: str) -> list[str]:
    """Return the texts of f-strings that are wrong of one: a number of a number, followed by a verb of several."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.JoinedStr):
            text = "".join(str(one.value) if isinstance(one, ast.Constant) else "\0" for one in node.values)
            found += PLURAL_VERB.findall(text)
    return found


@pytest.mark.parametrize("folder", [*ROOMS, "benchmarks", "docs", "examples", "tests", "."])
def test_spelling_is_american(folder: str) -> None:
    paths = (ROOT / folder).glob("*") if folder == "." else (ROOT / folder).rglob("*")
    found = {
        f"{path.relative_to(ROOT)}: {word}"
        for path in paths
        if path.suffix in {".py", ".md", ".toml", ".html", ".js", ".ipynb"}
        and path.is_file()
        and path != Path(__file__)
        for word in british_words(path.read_text(encoding="utf-8"))
        if str(path.relative_to(ROOT)) not in UNDERSTOOD.get(word.lower(), ())
    }
    assert not found


@pytest.mark.parametrize("room", ROOMS)
def test_docstrings_open_with_a_noun_phrase_or_an_imperative(room: str) -> None:
    found = {
        f"{name}: {text}"
        for name, path in modules().items()
        if name.partition(".")[0] == room
        for text in riddles(path.read_text(encoding="utf-8"))
    }
    assert not found


@pytest.mark.parametrize("room", ROOMS)
def test_verbs_agree_with_their_numbers(room: str) -> None:
    found = {
        f"{name}: {text}"
        for name, path in modules().items()
        if name.partition(".")[0] == room
        for text in plural_verbs(path.read_text(encoding="utf-8"))
    }
    assert not found


def test_what_is_asked_of_words_can_be_missed() -> None:
    assert british_words("Neighbours optimised; a size in general.") == ["Neighbour", "optimised"]
    source = (
        '"""What a module is."""\nclass A:\n    """Hold values."""\ndef f():\n    """Return what it is."""\n'
    )
    assert plural_verbs('f"{a} of {b} networks {c} are"; f"{a} of {b} networks {c}"') == [
        "\0 of \0 networks \0 are"
    ]
    assert riddles(source) == ["What a module is.", "Hold values.", "Return what it is."]
