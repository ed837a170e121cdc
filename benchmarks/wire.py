"""Bytes on the wire over real SSH: weights once, then what each further network costs; against sending whole files.

    python benchmarks/wire.py [--networks 20]

An sshd on loopback stands in for the device; a proxy before it counts what the harness sends, SSH's own framing, keys and
compression included. Sessions are short: nothing is timed here.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
import zlib
from pathlib import Path

from campaigns import run
from machine import describe_machine, option_parser
from rigs.faulty_link import FaultyLink, faulty_link
from rigs.sshd import Sshd, start_sshd

from exporters import FORMATS, Format, FragmentLibrary
from harness.measurement.plan import Level, Options, SessionPlan
from harness.models.exported import cache_folder
from harness.store import Store
from space import Architecture
from space.selection import select_models

PLAN = SessionPlan(min_slices=2, max_s=0.1, warmup_min_runs=2, warmup_min_s=0.0, warmup_max_s=0.1)
SHORT = Level(name="short", sessions=1, plan=PLAN)


def main() -> None:
    """Measure both formats and print the table."""
    parser = option_parser(__doc__)
    parser.add_argument("--networks", type=int, default=20)
    networks = select_models(f"sample:{parser.parse_args().networks}@3")
    print(describe_machine())
    print(f"{'bytes sent to a device over SSH':<44}{'onnx':>14}{'tflite':>14}   target")
    with (
        contextlib.redirect_stderr(io.StringIO()),  # sshd's log
        tempfile.TemporaryDirectory() as name,
        start_sshd(Path(name) / "sshd") as server,
    ):
        columns = [measure(model_format, networks, server, Path(name)) for model_format in FORMATS]
    for row in range(len(columns[0])):
        label, _, target = columns[0][row]
        print(f"{label:<44}" + "".join(f"{column[row][1]:>14,.0f}" for column in columns) + f"   {target}")


def measure(
    model_format: Format, networks: list[Architecture], server: Sshd, folder: Path
) -> list[tuple[str, float, str]]:
    """Return the rows of one format."""
    with Store(str(folder / f"{model_format}.sqlite")) as store, faulty_link(server.port) as proxy:
        every_part = select_models("conv+conv/conv+conv/conv+conv,mbconv+mbconv/mbconv+mbconv/mbconv+mbconv")
        every_part += select_models("bconv+bconv/bconv+bconv/bconv+bconv")
        first = campaign(model_format, every_part, server, proxy, store)
        again = campaign(model_format, every_part, server, proxy, store)
        more = campaign(model_format, networks, server, proxy, store)
    library = FragmentLibrary.open(model_format, cache_dir=cache_folder())
    whole = [len(zlib.compress(library.assembly(a).whole(), 6)) for a in networks]
    each = (more - again) / len(networks)
    return [
        ("agent, all weights and three networks", first, "<= 30 MB"),
        ("a campaign with nothing to measure", again, ""),
        ("each further network", each, "<= 2 KB"),
        ("each further network as a zlib-packed file", sum(whole) / len(whole), ""),
        ("  ratio", sum(whole) / len(whole) / each, ""),
    ]


def campaign(
    model_format: Format, networks: list[Architecture], server: Sshd, proxy: FaultyLink, store: Store
) -> int:
    """Measure the networks that the store lacks and return the bytes sent."""
    before = proxy.up_bytes
    options = Options(formats=(model_format,), level=SHORT)
    run([str(network) for network in networks], store, options, server.device(port=proxy.port))
    return proxy.up_bytes - before


if __name__ == "__main__":
    main()
