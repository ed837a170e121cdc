"""Pages of the documentation site that are made when it is built: from README.md, from typer, and from the keys of devices."""

from __future__ import annotations

import html
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from pydantic.fields import FieldInfo

ROOT = Path(__file__).parents[1]
EXIT_STATUSES = {
    "0": "all done",
    "1": "another error; `harness gate`: a file became slower; `harness store check`: something is wrong",
    "2": "bad input (the command line, `devices.toml`, a file), of which nothing was stored; or a store that takes nothing: "
    "sessions wait beside it; `harness gate`: a file could not be judged",
    "3": "a device or a measurement failed; the rest was measured and stored",
    "4": "a model could not be made",
    "130": "stopped, by Ctrl-C, SIGTERM or SIGHUP",
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the made pages to those of the folder docs/."""
    made = {
        "index.md": of_root("README.md"),
        "CHANGELOG.md": of_root("CHANGELOG.md"),
        "commands.md": commands(),
        "devices-file.md": devices_file(),
    }
    for name, text in made.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_content(html: str, **_: Any) -> str:
    """Keep numbers with their units, and options of commands within sentences, on one line."""
    return "".join(map(_unbroken, re.split(r"(<pre.*?</pre>|<code>[^<]*</code>)", html, flags=re.DOTALL)))


def _unbroken(html: str) -> str:
    """Return a block of code as it is, inline code that breaks after slashes and not in options, text with unbroken amounts."""
    if html.startswith("<pre"):
        return html
    if html.startswith("<code>"):
        options = re.sub(r"(?<![\w-])--?\w[\w-]+", r'<span class="unbroken">\g<0></span>', html)
        return re.sub(r"(?<!<)/", "/<wbr>", options)
    return re.sub(r"(?<=\d)\s(?=(?:%|ms|s|us|[KMG]i?B|x)(?!\w))", "\u00a0", html)


def of_root(name: str) -> str:
    """Return a page of the repository with its links into docs/ as links of the site; of others it keeps the text."""
    text = (ROOT / name).read_text().replace("](docs/", "](")
    return re.sub(r"\[([^\]]+)\]\((?!http|#)(?![\w/-]+\.(?:md|png))[^)]+\)", r"\1", text)


def commands() -> str:
    """Return the page of all commands with their options, as `--help` has them."""
    import typer.main

    from harness.commands.app import app

    group = typer.main.get_command(app)
    context = group.context_class(group, info_name="harness")
    parts = [
        "# Commands",
        "`harness COMMAND --help` prints the same in a terminal. Data goes to standard output, messages to standard error.",
        "| exit status | meaning |\n|---|---|\n"
        + "\n".join(f"| {status} | {meaning} |" for status, meaning in EXIT_STATUSES.items()),
    ]
    return "\n\n".join(parts + _command(group, context)) + "\n"


def devices_file() -> str:
    """Return the page of the keys of devices.toml, as its JSON schema has them."""
    from harness.devices.config import LOCAL, AdbDevice, LocalDevice, SshDevice

    parts = [
        "# devices.toml",
        f"A table `[devices.NAME]` for each device; `{LOCAL}`, this machine, is there without one. What devices share may be in "
        "`[defaults]`: every key, for each device that the file names and that does not have it itself. Names, also of groups, "
        "hold letters, digits and `-`.",
        "The file is the one of `--devices`, else of the variable `HARNESS_DEVICES`, else `devices.toml` of the working folder. "
        "`#:schema ./devices.schema.json` as its first line lets editors complete and check it (`harness devices --schema`).",
        '```toml\n[devices.pi4]\ntransport = "ssh"\naddress = "pi@192.168.1.40"\ncores = [2, 3]\nthreads = 2\n```',
    ]
    shared = set(LocalDevice.model_fields)
    for title, fields, names in (
        (
            "Keys of every device",
            SshDevice.model_fields,
            [name for name in LocalDevice.model_fields if name != "name"],
        ),
        *(
            (
                f'Keys of a device with `transport = "{transport}"`',
                of.model_fields,
                [name for name in of.model_fields if name not in shared],
            )
            for transport, of in (("ssh", SshDevice), ("adb", AdbDevice))
        ),
    ):
        rows = [f"| `{name}` | {_key_text(fields[name])} |" for name in names]
        parts += [f"## {title}", "\n".join(["| key | |", "|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def _key_text(field: FieldInfo) -> str:
    text = html.escape(
        field.description or "`ssh`, `local` or `adb`, or one of another package.", quote=False
    )
    return f"{text} `true` or `false`, the default." if field.default is False else text


def _command(command: Any, context: Any) -> list[str]:
    """Return a command's section, then those of its subcommands."""
    path = context.command_path
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    parts = [f"## {path}", html.escape(command.help, quote=False), f"```text\n{usage}\n```"]
    records = [parameter.get_help_record(context) for parameter in command.get_params(context)]
    parts += [
        f"`{names}`\n:   {_meaning(text)}" for names, text in filter(None, records) if names != "--help"
    ]
    for name, subcommand in sorted(getattr(command, "commands", {}).items()):
        parts += _command(subcommand, context.__class__(subcommand, info_name=name, parent=context))
    return parts


def _meaning(text: str) -> str:
    """Return an option's help as Markdown that shows every character as it is."""
    return re.sub(r"([\\`*_\[\]{}|])", r"\\\1", html.escape(text, quote=False))
