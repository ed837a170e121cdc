"""Options of a recipe, derived from its fields: a file, and single values that override it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from harness.commands.option_groups import takes
from search.checked import Checked, Field, fields_of
from search.training.augment import AUGMENTATIONS, Augmentation, parse_augmentation

AnyRecipe = TypeVar("AnyRecipe", bound=Checked)
Command = Callable[..., None]
# Of true and of false, where a field's own name says only one of them.
_FLAGS = {
    "mixed_precision": "--mixed-precision/--full-precision",
    "channels_last": "--channels-last/--channels-first",
    "keep_own": "--keep-own/--train-own",
    "shared": "--shared/--apart",
}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class RecipeOptions:
    """Recipe values given on the command line; None where an option was not given."""

    recipe: Path | None = None

    def given(self, recipe: type[AnyRecipe]) -> AnyRecipe | dict[str, Any]:
        """Return the given values, in JSON's types; with a file the whole recipe, which has defaults for the rest.

        Raises: ConfigError when the file cannot be used, or a value with it.
        """
        changes: dict[str, Any] = {
            one.name: value
            for one in dataclasses.fields(self)
            if one.name != "recipe" and (value := getattr(self, one.name)) is not None
        }
        if "augmentation" in changes:
            changes["augmentation"] = parse_augmentation(changes["augmentation"]).to_plain()
        if self.recipe is None:
            return changes
        return recipe.from_plain(recipe.from_file(self.recipe, option="--recipe").to_plain() | changes)


def takes_recipe(file_help: str, *usual: Checked) -> Callable[[Command], Command]:
    """Add to a command an option for each described field of the default recipes' class, as its argument `typed`.

    A default is shown where these agree; `file_help` describes `--recipe`.
    """
    file = Annotated[Path | None, typer.Option("--recipe", metavar="FILE.json", help=file_help)]
    return takes(_group({"recipe": file} | _options(fields_of(type(usual[0])), usual)), "typed")


def _group(options: Mapping[str, Any]) -> type[RecipeOptions]:
    """Return a class of recipe options, None where one was not given."""
    named = [(name, hint, dataclasses.field(default=None)) for name, hint in options.items()]
    return dataclasses.make_dataclass("Typed", named, bases=(RecipeOptions,), frozen=True, kw_only=True)


def _options(fields: Mapping[str, Field], usual: Sequence[Checked]) -> dict[str, Any]:
    """Return the option of each described field, by name."""
    return {
        name: _option(name, field, {_text(name, getattr(one, name)) for one in usual})
        for name, field in fields.items()
        if field.help
    }


def _option(name: str, field: Field, defaults: set[str]) -> Any:
    default = f" [default: {defaults.pop()}]" if len(defaults) == 1 else ""
    least = int(field.range.least) if field.kind is int else None
    flag = _FLAGS.get(name, f"--{name.replace('_', '-')}")
    kind = str if field.kind is Augmentation else field.kind
    return Annotated[kind | None, typer.Option(flag, min=least, help=field.help + default)]


def _text(name: str, value: object) -> str:
    """Return how the command line names a value."""
    if isinstance(value, bool):
        return _FLAGS[name].split("/")[not value].removeprefix("--")
    return next((word for word, one in AUGMENTATIONS.items() if one == value), str(value))
