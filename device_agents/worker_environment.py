"""Variables and libraries of the processes that import a runtime: those given, those carried, and a GPU driver's by a table.

Libraries that the harness carries are parts of the cache, put under their names in a folder of their own. A driver's folders on
Android, where no linker looks by itself, are those that this device has, by rows of the harness's: a row has `vendor`; `shows`,
files of which one shows that the row fits; `paths`, folders in the order of LD_LIBRARY_PATH. In both `{lib}` is `lib64`, or `lib`
of a 32-bit Python, and `{chip}` a folder of any name; in `paths`, `{prefix}` is Termux's.

Variables that change how fast models run are told by name with a digest of the value, which may be secret. Those that
devices.toml gives all count. Of those that the agent inherits, from a login shell or a batch system, the ones that the runtimes
and what is below them heed:
    man7.org/linux/man-pages/man3/mallopt.3.html, sourceware.org/glibc/manual/latest/html_node/Tunables.html (memory)
    docs.nvidia.com/cuda/cuda-c-programming-guide/#cuda-environment-variables
    onnxruntime.ai/docs/execution-providers/TensorRT-ExecutionProvider.html (ORT_TENSORRT_*)
    uxlfoundation.github.io/oneDNN (run-time controls)
    vulkan.lunarg.com/doc/sdk/latest/linux/LoaderInterfaceArchitecture.html (which GPU's driver)
    docs.mesa3d.org/envvars.html (which GPU)
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import sys
from pathlib import Path
from typing import Any, Mapping

from device_agents.fields import Fields, refuse, show
from device_agents.models import missing_parts, part_path
from device_agents.whole_files import file_digest, replacing

VARIABLES_LIMIT = 64
VARIABLE = re.compile("[A-Za-z_][A-Za-z0-9_]*")
LIBRARY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_+-]*\.so")
LIBRARIES_LIMIT = 64
SEARCHED = "LD_LIBRARY_PATH"
ROWS_LIMIT = 64
LISTS = ("shows", "paths")
CHIP = "{chip}"
OWN = "HARNESS_"  # tells the agent where libraries are, whose versions are recorded
INHERITED = (
    "CUDA_DEVICE_MAX_CONNECTIONS",
    "CUDA_DEVICE_ORDER",
    "CUDA_DISABLE_PTX_JIT",
    "CUDA_FORCE_PTX_JIT",
    "CUDA_LAUNCH_BLOCKING",
    "CUDA_MODULE_LOADING",
    "CUDA_VISIBLE_DEVICES",
    "DRI_PRIME",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
    "LIBGL_ALWAYS_SOFTWARE",
    "MESA_VK_DEVICE_SELECT",
    "NVIDIA_TF32_OVERRIDE",
    "VK_ADD_DRIVER_FILES",
    "VK_DRIVER_FILES",
    "VK_ICD_FILENAMES",
)
INHERITED_BY_PREFIX = ("DNNL_", "MALLOC_", "ONEDNN_", "ORT_TENSORRT_")
DIGITS = 8


def parse_environment(fields: Fields) -> dict[str, str]:
    """Read `environment`, values by their names; empty where none are given. Raises: Refusal."""
    given = fields.values.get("environment")
    if given is None:
        return {}
    if not isinstance(given, dict) or len(given) > VARIABLES_LIMIT:
        expected = "an object of at most %d variables" % VARIABLES_LIMIT
        raise refuse(fields.name + ": environment", given, expected)
    for name, value in given.items():
        if not isinstance(value, str) or not VARIABLE.fullmatch(name) or "\0" in value:
            raise refuse("%s: environment: %s" % (fields.name, show(name)), value, "a variable's text")
    return dict(given)


def told_variables(given: Mapping[str, str], inherited: Mapping[str, str]) -> dict[str, str]:
    """Return the first hex digits of the sha256 of each variable's value, by its name; one that is given replaces another."""
    heeded = {
        name: value
        for name, value in inherited.items()
        if name in INHERITED or name.startswith(INHERITED_BY_PREFIX)
    }
    counted = dict(heeded, **{name: value for name, value in given.items() if not name.startswith(OWN)})
    return {
        name: hashlib.sha256(value.encode("utf-8", "surrogateescape")).hexdigest()[:DIGITS]
        for name, value in sorted(counted.items())
    }


def parse_libraries(fields: Fields) -> dict[str, str]:
    """Read `libraries`, the digest of each by its name; empty where none are carried. Raises: Refusal."""
    given = fields.values.get("libraries")
    libraries = Fields(fields.name + ": libraries", {} if given is None else given)
    for name in libraries.values:
        if not LIBRARY.fullmatch(name) or len(libraries.values) > LIBRARIES_LIMIT:
            raise refuse(
                libraries.name,
                show(name),
                "at most %d names such as libLiteRt.so, without a folder" % LIBRARIES_LIMIT,
            )
    return {name: libraries.digest(name) for name in libraries.values}


def place_libraries(root: Path, parts_dir: Path, libraries: dict[str, str]) -> Path:
    """Put libraries under their names below `root`, unless they are there unaltered, and return their folder.

    libraries: digests of parts that are in the cache, by name. Raises: Refusal when one is not, OSError.
    """
    named = "".join("%s %s\n" % pair for pair in sorted(libraries.items()))
    folder = root / "libraries" / hashlib.sha256(named.encode()).hexdigest()[:16]
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for name, digest in libraries.items():
        path = folder / name
        if not (path.is_file() and file_digest(path) == digest):
            place(part_path(parts_dir, digest), path, digest)
    return folder


def place(part: Path, path: Path, digest: str) -> None:
    """Put a part under another name, without a second copy where the file system can. Raises: Refusal, OSError."""
    if not part.is_file() or file_digest(part) != digest:
        raise missing_parts([digest])
    with replacing(path) as partial:
        try:
            os.link(part, partial)
        except OSError:  # FAT, some phones
            shutil.copyfile(part, partial)


def parse_rows(fields: Fields) -> list[dict[str, Any]]:
    """Read `vendor_libraries`, the table's rows; none where none are given. Raises: Refusal."""
    given = fields.values.get("vendor_libraries")
    if given is None:
        return []
    name = fields.name + ": vendor_libraries"
    if not isinstance(given, list) or len(given) > ROWS_LIMIT:
        raise refuse(name, given, "a list of at most %d rows" % ROWS_LIMIT)
    for row in given:
        if (
            not isinstance(row, dict)
            or not isinstance(row.get("vendor"), str)
            or not all(map(row.get, LISTS))
        ):
            raise refuse(name, row, "an object with vendor, shows and paths")
        for path in [one for key in LISTS for one in row[key]]:
            if not isinstance(path, str) or not path.startswith(("/", "{prefix}/")) or "\0" in path:
                raise refuse(name, path, "a path from the root on")
    return list(given)


def find_driver(rows: list[dict[str, Any]], given: Mapping[str, str]) -> dict[str, Any]:
    """Return the first row that fits: `vendor`, `shown_by`, and `variables` or `trouble`; nothing where none fits.

    given: variables that the user named, which win.
    """
    for row in rows:
        shown = sorted(found for path in row["shows"] for found in matches(path))
        if not shown:
            continue
        driver = {"vendor": row["vendor"], "shown_by": shown[0][0]}
        chips = sorted({chip for _, chip in shown})
        if SEARCHED in given:
            return dict(driver, trouble="environment names %s" % SEARCHED)
        if len(chips) > 1:
            return dict(driver, trouble="it has folders of %d chips: %s" % (len(chips), ", ".join(chips)))
        filled = [fill(path).replace(CHIP, chips[0]) for path in row["paths"]]
        folders = [path for path in filled if Path(path).is_dir()]
        return dict(driver, variables={SEARCHED: os.pathsep.join(folders)})
    return {}


def matches(path: str) -> list[tuple[str, str]]:
    """Return the files that a path of `shows` names, each with its chip's folder, empty where it names none."""
    pattern = fill(path)
    place = Path(pattern).parts.index(CHIP) if CHIP in Path(pattern).parts else None
    found = Path("/").glob(pattern.replace(CHIP, "*").lstrip("/"))
    return [(str(one), "" if place is None else one.parts[place]) for one in found]


def fill(path: str) -> str:
    """Return a path with what is of this Python and of Termux put in."""
    lib = "lib64" if sys.maxsize > 1 << 32 else "lib"
    return path.replace("{lib}", lib).replace("{prefix}", os.environ.get("PREFIX", "/nowhere"))
