"""A harness to be killed: `rigs.killed_campaign STORE ROOT NETWORK...` measures the first network, then all, for long.

It prints a line between the two.
"""

from __future__ import annotations

import sys
from dataclasses import replace

from harness.devices import client
from harness.devices.config import LocalDevice
from harness.store import Store
from rigs.compiled_agent import build_compiled
from rigs.short_campaigns import LONG
from rigs.sleeping_models import SLEEPING, measure, sleeping_installed


def main() -> None:
    """Run both campaigns."""
    store_path, root, *networks = sys.argv[1:]
    client.build_archive = build_compiled
    device = LocalDevice(name="board", root=root)
    store = Store(store_path)
    with sleeping_installed():
        measure(device, store, networks[:1])
        print("the first is measured", flush=True)  # noqa: T201
        measure(device, store, networks, options=replace(SLEEPING, level=LONG))


if __name__ == "__main__":
    main()
