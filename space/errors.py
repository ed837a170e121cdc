"""The family of errors, each with its exit status; packages define their own kinds in their own modules.

```
HarnessError            exit 1    caught by the command line, which catches nothing broader
  ConfigError           exit 2    devices.toml, the command line, a bad file
    ArchitectureError   exit 2    no network, block or space is meant by what was given
    DatasetError        exit 2    a data file cannot be read or written, or is not what it claims to be
      MissingMetric     exit 2    the files are whole, and lack the accuracy or seeds asked for
    StoreError          exit 2    the store cannot be opened or was written by a newer version (harness.errors)
  DeviceError           exit 3    unreachable, host key, timeout, agent, runtime missing (harness.errors)
  ConversionError       exit 4    a model could not be made (exporters.errors)
```

A message names the thing, the value and the remedy. `HarnessError("device 'pi4'", "not connected")` keeps the thing apart, for
readers who see it anyway, such as beside the bar of that device. Foreign errors are translated where they enter.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

_SHOWN_CHARACTERS = 120
_COMMAND = re.compile(r"\bharness [a-z][^;)'\n]*")  # to be typed as it stands
_OPTION = re.compile(r"(?<![\w-])--([a-z]+(?:-[a-z]+)*)")


class HarnessError(Exception):
    """A failure that the user can act on; everything that harness raises on purpose is one.

    >>> error = HarnessError("device 'pi4'", "not connected")
    >>> str(error), error.reason, error.exit_status
    ("device 'pi4': not connected", 'not connected', 1)
    """

    exit_status = 1

    def __reduce__(self) -> tuple[Any, ...]:
        """Return how to make it again in another process: kinds take other arguments than those that they keep."""
        return _made_again, (type(self), self.args, self.__dict__)

    def __str__(self) -> str:
        return ": ".join(map(str, self.args))

    def note_arguments(self, names: Iterable[str]) -> None:
        """Add a note, for tracebacks: which of a function's arguments, `names`, are the options that the message gives."""
        options = dict.fromkeys(_OPTION.findall(_COMMAND.sub("", str(self))))
        named = {option: {option.replace("-", "_"), f"{option}s".replace("-", "_")} for option in options}
        told = [f"{name} for --{option}" for option, of in named.items() for name in names if name in of]
        if told:
            self.add_note(f"In Python, options are arguments: {', '.join(told)}.")

    @property
    def reason(self) -> str:
        """The message without the thing, where that was given apart."""
        return ": ".join(map(str, self.args[1:] or self.args))


def _made_again(
    kind: type[HarnessError], arguments: tuple[object, ...], state: dict[str, object]
) -> HarnessError:
    error = kind.__new__(kind, *arguments)
    error.__dict__.update(state)
    return error


class ConfigError(HarnessError):
    """Bad input: devices.toml, the command line, an argument or a file.

    >>> import harness
    >>> try:
    ...     harness.load_devices()["lokal"]
    ... except harness.ConfigError as error:
    ...     print(str(error).partition(" (")[0])
    unknown device 'lokal'; did you mean 'local'?
    """

    exit_status = 2


class ArchitectureError(ConfigError):
    """A text, vector, index, hash, selection or configuration that is not in a search space."""


class DatasetError(ConfigError):
    """A data file that cannot be read or written, or whose content is not what it claims to be.

    The message names the file, the place in it, the reason and the remedy.
    """


class MissingMetric(DatasetError):
    """Whole files without an accuracy of the name or the seeds that were asked for."""


def shown(value: object) -> str:
    """Return `repr(value)` on one line, cut so that a message stays readable whatever was passed."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else text[: _SHOWN_CHARACTERS - 3] + "..."


def did_you_mean(text: str, known: Iterable[str], otherwise: str = "") -> str:
    """Return `; did you mean 'x'?` for the known word nearest to `text`; where none is near all of them behind `otherwise`.

    Without `otherwise` an empty string in their place.
    """
    words = list(known)
    nearest = difflib.get_close_matches(text[:_SHOWN_CHARACTERS], words, n=1, cutoff=0.5)
    if nearest:
        return f"; did you mean {nearest[0]!r}?"
    return f"; {otherwise} {', '.join(words)}" if otherwise else ""
