"""A harness to be killed: `killed_campaign.py STORE DEVICE_JSON NETWORK...` measures each network twice."""

from __future__ import annotations

import json
import sys
from dataclasses import replace

from short_campaigns import ONNX, measure

from harness.devices import LocalDevice, SshDevice
from harness.store import Store


def main() -> None:
    """Run one campaign."""
    store_path, device_json, *networks = sys.argv[1:]
    fields = json.loads(device_json)
    device = (SshDevice if fields.pop("transport") == "ssh" else LocalDevice)(name="board", **fields)
    measure(device, Store(store_path), networks, options=replace(ONNX, sessions=2))


if __name__ == "__main__":
    main()
