"""A harness to be killed: `killed_campaign.py STORE DEVICE_JSON NETWORK...` measures the first network, then all, for long."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

from short_campaigns import LONG, ONNX, measure

from harness.devices.config import LocalDevice, SshDevice
from harness.store import Store


def main() -> None:
    """Run both campaigns."""
    store_path, device_json, *networks = sys.argv[1:]
    fields = json.loads(device_json)
    device = (SshDevice if fields.pop("transport") == "ssh" else LocalDevice)(name="board", **fields)
    store = Store(store_path)
    measure(device, store, networks[:1])
    measure(device, store, networks, options=replace(ONNX, level=LONG))


if __name__ == "__main__":
    main()
