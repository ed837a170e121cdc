"""A harness to be killed: `rigs.killed_campaign STORE DEVICE_JSON NETWORK...` measures the first network, then all, for long.

It prints a line between the two.
"""

from __future__ import annotations

import json
import sys
from dataclasses import replace

from harness.devices.config import LocalDevice, SshDevice
from harness.store import Store
from rigs.short_campaigns import LONG, ONNX, measure


def main() -> None:
    """Run both campaigns."""
    store_path, device_json, *networks = sys.argv[1:]
    fields = json.loads(device_json)
    device = (SshDevice if fields.pop("transport") == "ssh" else LocalDevice)(name="board", **fields)
    store = Store(store_path)
    measure(device, store, networks[:1])
    print("the first is measured", flush=True)  # noqa: T201
    measure(device, store, networks, options=replace(ONNX, level=LONG))


if __name__ == "__main__":
    main()
