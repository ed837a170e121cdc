"""Functions that make the modules of a space: shipped ones by name, others as `module:function`. Loads torch when asked for one.

A module is first looked up as a file beside the definition, then among installed packages, never in the working folder: to read
a definition runs the code that it names.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.util
import inspect
import sys
import sysconfig
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout, suppress
from functools import lru_cache
from importlib.machinery import (
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
)
from pathlib import Path
from types import CodeType, ModuleType
from typing import TYPE_CHECKING, Any

from space.chain import Option
from space.errors import ArchitectureError, did_you_mean, shown
from space.text import reason_of

if TYPE_CHECKING:
    from torch import nn

MAX_PARAMS = 1 << 28  # of one module: a gigabyte
_LARGE = 1024  # channels and options up to here make no module that fills a memory
_GIVEN = 3  # channels_in, channels_out, stride
# Modules of the standard library, and torch, that give the same whenever and wherever they are used; and what does not.
_COMPUTING = {
    "__future__", "abc", "collections", "contextlib", "copy", "dataclasses", "enum", "fractions", "functools", "itertools",
    "math", "numbers", "operator", "statistics", "string", "torch", "types", "typing", "warnings",
}  # fmt: skip
_READING = {
    "__builtins__", "accelerator", "backends", "breakpoint", "cuda", "distributed", "eval", "exec", "globals", "hub", "input",
    "mps", "open", "version", "xpu",
}  # fmt: skip
_HERE = Path(__file__).parents[1]
_LOCK = threading.RLock()  # sys.stdout, sys.path and sys.modules are the whole process's
_loading = set[str]()  # modules whose files are running
_INSTALLED = (
    Path(sysconfig.get_path("stdlib")),
    *(_HERE / room for room in ("space", "exporters", "search", "harness", "device_agents")),
)


def find_function(text: str, folder: str) -> Callable[..., Any]:
    """Return the function that a definition names, `folder` being where its file lies, empty where it has none.

    Raises:
        ArchitectureError: there is none, or its module cannot be loaded.
    """
    if ":" not in text:
        from space.candidates import SHIPPED

        if text not in SHIPPED:
            raise ArchitectureError(
                f"{shown(text)} is no shipped module{did_you_mean(text, SHIPPED)} (shipped: {', '.join(SHIPPED)}; a function of "
                "your own is written module:function)"
            )
        return SHIPPED[text]
    name, _, path = text.partition(":")
    found: Any = _module(name, folder)
    for part in path.split("."):
        found = getattr(found, part, None)
    if not callable(found):
        known = [key for key, value in vars(_module(name, folder)).items() if callable(value)]
        raise ArchitectureError(
            f"module {name} has no function {shown(path)}" + (did_you_mean(path, known) or "; see its name")
        )
    function: Callable[..., Any] = found
    return function


@contextmanager
def running() -> Iterator[None]:
    """Run another's code, one thread at a time: what it prints goes to stderr, for stdout is data."""
    with _LOCK, redirect_stdout(sys.stderr):
        yield


def build_module(
    text: str, options: tuple[tuple[str, Option], ...], folder: str, given: tuple[int, int, int]
) -> nn.Module:
    """Return the module that a function makes of `given`: channels_in, channels_out and stride.
    Raises:
        ArchitectureError: the function is not found, does not take what it is given, or returns no module.
    """
    import torch
    from torch import nn

    function = find_function(text, folder)
    _check_options(function, text, options)

    def make() -> object:
        with running(), _own_imports(text, folder):
            return function(*given, **dict(options))

    sizes = [value for value in (*given, *dict(options).values()) if isinstance(value, int)]
    if max(sizes) > _LARGE:  # its weights may not fit memory: they are counted before they are made
        planned: object = None
        with suppress(Exception, SystemExit), torch.device("meta"):
            planned = make()
        _check_params(planned, text)
    try:
        made = make()
    except ArchitectureError:
        raise
    except (Exception, SystemExit) as error:  # a user's function may raise anything
        raise ArchitectureError(
            f"{text}{given} raised {type(error).__name__}: {reason_of(error)}; see that it takes (channels_in, channels_out, "
            "stride)"
        ) from error
    if not isinstance(made, nn.Module):
        raise ArchitectureError(
            f"{text} returned {shown(made)}, which is no torch module; return an nn.Module"
        )
    _check_params(made, text)
    return made


def _check_params(made: object, text: str) -> None:
    from torch import nn

    if not isinstance(made, nn.Module) or any(nn.parameter.is_lazy(one) for one in made.parameters()):
        return
    if (params := sum(one.numel() for one in made.parameters())) > MAX_PARAMS:
        raise ArchitectureError(
            f"{text} makes {params:,} parameters, more than {MAX_PARAMS:,}; give fewer channels, or smaller options"
        )


def source_digest(text: str, folder: str) -> str:
    """Return the sha256 of the file beside a definition that holds a function; empty for a function of a package."""
    file = Path(folder) / f"{text.partition(':')[0]}.py"
    if not folder or ":" not in text or not file.is_file():
        return ""
    return hashlib.sha256(file.read_bytes()).hexdigest()


def code_digest(folder: str) -> str:
    """Return the sha256 of the files of code beside a definition; empty for a definition without functions of its own.

    What a function makes may depend on any of them, and by which names it calls its weights is in no graph.
    """
    digest = hashlib.sha256()
    for file in sorted(Path(folder).glob("*.py")) if folder else ():
        if file.is_file():
            digest.update(f"{file.name} {hashlib.sha256(file.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest() if folder else ""


def is_self_contained(text: str, folder: str) -> bool:
    """Return whether the file beside a definition that holds a function is all that decides what the function makes.

    It then imports nothing but torch and modules that compute alone, and calls nothing of theirs that reads or looks round.
    """
    file = Path(folder) / f"{text.partition(':')[0]}.py"
    try:
        tree = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError):
        return False
    modules, names = set[str](), set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            modules.add("." if node.level else node.module or ".")
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.Name):
            names.add(node.id)
        elif isinstance(node, ast.Attribute):
            names.add(node.attr)
    names |= {part for module in modules for part in module.split(".")}
    return {module.partition(".")[0] for module in modules} <= _COMPUTING and not any(map(_may_read, names))


def _may_read(name: str) -> bool:
    return name in _READING or any(word in name.lower() for word in ("load", "file", "import"))


def forget_modules() -> None:
    """Have the files of functions run again when they are next asked for: what they read may be another by then."""
    _loaded.cache_clear()
    _helpers.cache_clear()


def written_as(function: Callable[..., Any], name: str) -> tuple[str, str]:
    """Return how a definition names a function of Python, and the folder of its file; the folder is empty for a package's.

    Raises:
        ArchitectureError: another process cannot find it: it is a lambda, local, or was typed at a prompt.
    """
    path, module = getattr(function, "__qualname__", ""), getattr(function, "__module__", "")
    try:
        file = Path(inspect.getsourcefile(function) or "").absolute()
    except TypeError:
        file = Path()
    if "<" in path or not path or not file.is_file():
        raise ArchitectureError(
            f"{name}: {shown(function)} cannot be found by other processes; define it by name, at the top of a file"
        )
    if module != "__main__" and (file.parent / "__init__.py").is_file():
        return f"{module}:{path}", ""
    return f"{file.stem}:{path}", str(file.parent)


def _check_options(function: Callable[..., Any], text: str, options: tuple[tuple[str, Option], ...]) -> None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters):
        return
    named = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    known = [one.name for one in list(parameters)[_GIVEN:] if one.kind in named]
    for key, _ in options:
        if key not in known:
            listed = f"it takes {', '.join(known)}" if known else "it takes none"
            raise ArchitectureError(
                f"{text} has no option {shown(key)}" + (did_you_mean(key, known) or f"; {listed}")
            )


def _module(name: str, folder: str) -> ModuleType:
    file = Path(folder) / f"{name}.py"
    try:
        with running():
            if digest := source_digest(f"{name}:", folder):
                return _loaded(file, digest)
            with _search_path():
                return importlib.import_module(name)
    except (Exception, SystemExit) as error:  # to import another's code may raise anything at all
        if loop := _loop(error):
            raise loop from None
        if isinstance(error, ModuleNotFoundError) and error.name == name.partition(".")[0]:
            beside = f"no {file} is there, and " if folder else ""
            raise ArchitectureError(
                f"module {name}: {beside}no installed package has this name; check the name before the colon"
            ) from error
        raise ArchitectureError(
            f"module {name} cannot be loaded: {type(error).__name__}: {reason_of(error)}; repair it"
        ) from error


class _Source(SourceFileLoader):
    """Runs a file as it stands: compiled ones count as current for a second, in which a file may have changed to one as long."""

    def get_code(self, fullname: str) -> CodeType:
        """Return the compiled file."""
        path = self.get_filename(fullname)
        code: CodeType = self.source_to_code(self.get_data(path), path)
        return code


@lru_cache(maxsize=64)
def _loaded(file: Path, digest: str) -> ModuleType:
    """Run a file as a module of a name of its own: two spaces may have files of one name, and one may change."""
    name = f"_space_{digest[:16]}_{file.stem}"
    if name in _loading:
        raise _Loop(
            f"{file} defines its space while it is being loaded; put that under `if __name__ == '__main__':`, or the "
            "functions into a file of their own"
        )
    loader = _Source(name, str(file))
    spec = importlib.util.spec_from_file_location(name, file, loader=loader)
    assert spec is not None  # as its loader is given
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    _loading.add(name)
    try:
        with _own_imports(f"{file.stem}:", str(file.parent)):
            loader.exec_module(module)
    except BaseException:
        sys.modules.pop(name, None)
        raise
    finally:
        _loading.remove(name)
    return module


class _Loop(ArchitectureError):
    """A file asks for its own functions while it is being loaded."""


def _loop(error: BaseException | None) -> _Loop | None:
    """Return the loop that an error comes from: definitions raise it again with their own names before it."""
    while error is not None and not isinstance(error, _Loop):
        error = error.__cause__
    return error


@lru_cache(maxsize=64)
def _helpers(file: Path, digest: str) -> dict[str, ModuleType]:
    """Return the modules that a file has imported from beside it so far, by name; filled by `_own_imports`."""
    return {}


@contextmanager
def _own_imports(text: str, folder: str) -> Iterator[None]:
    """Have a function's file import from beside it first, and leave none of that to others, whose files may be called alike."""
    if not (digest := source_digest(text, folder)):
        yield
        return
    helpers = _helpers(Path(folder) / f"{text.partition(':')[0]}.py", digest)
    names = {path.stem for path in Path(folder).glob("*.py")}
    names |= {path.parent.name for path in Path(folder).glob("*/*.py")}
    names.discard("__main__")
    others = _taken_out(names)
    sys.modules |= helpers
    try:
        with _search_path(folder):
            yield
    finally:
        helpers |= _taken_out(names)
        sys.modules |= others


def _taken_out(names: set[str]) -> dict[str, ModuleType]:
    """Return the loaded modules of some names, which are then no longer loaded; without those that are installed."""
    # Mostly none: to look at every module takes a millisecond.
    loaded = {name for name in names if name in sys.modules}
    if not loaded:
        return {}
    found = {
        name: module
        for name, module in sys.modules.items()
        if name.partition(".")[0] in loaded and not _is_installed(module)
    }
    for name in found:
        del sys.modules[name]
    return found


def _is_installed(module: ModuleType) -> bool:
    """Return whether a module is the standard library's, of an installed package, or harness's own."""
    places = [getattr(module, "__file__", None), *getattr(module, "__path__", ())]
    places = [Path(place) for place in places if place]
    if not places:
        return True  # is built in
    folder = places[0].parent
    packages = {"site-packages", "dist-packages"} & set(folder.parts)
    return bool(packages) or any(folder.is_relative_to(root) for root in _INSTALLED)


@contextmanager
def _search_path(*first: str) -> Iterator[None]:
    """Search modules in `first` and where packages are installed, and not in the working folder."""
    kept = sys.path[:]
    sys.path[:] = [*first, *(entry for entry in kept if entry not in ("", str(Path.cwd())))]
    for folder in first:
        loaders = (ExtensionFileLoader, EXTENSION_SUFFIXES), (_Source, SOURCE_SUFFIXES)
        sys.path_importer_cache[folder] = FileFinder(folder, *loaders)
    try:
        yield
    finally:
        sys.path[:] = kept
        for folder in first:
            sys.path_importer_cache.pop(folder, None)
