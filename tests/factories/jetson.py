"""A Jetson's programs as shell scripts over a folder of state: what they print is what NVIDIA's own print."""

from __future__ import annotations

import time
from pathlib import Path

from device_agents.locks import MachineLock
from device_agents.refusal import Refusal

SHOW = """SOC family:tegra234  Machine:NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super
Online CPUs: 0-5
cpu0:  Online=1 Governor=schedutil MinFreq=$(cat "$S/min") MaxFreq=1728000 CurrentFreq=1728000 IdleStates: WFI=1 c7=1
cpu1:  Online=1 Governor=schedutil MinFreq=$(cat "$S/min") MaxFreq=1728000 CurrentFreq=729600 IdleStates: WFI=1 c7=1
GPU MinFreq=1020000000 MaxFreq=1020000000 CurrentFreq=1020000000
Active GPU TPCs: 8
EMC MinFreq=204000000 MaxFreq=3199000000 CurrentFreq=3199000000 FreqOverride=1
FAN Dynamic Speed Control=kernel hwmon0_pwm1=88
NV Power Mode: MAXN_SUPER
"""

NVPMODEL = """#!/bin/sh
S='{state}'
echo "nvpmodel $*" >> "$S/asked"
name() {{ case $1 in 0) echo 15W;; 1) echo 7W;; 2) echo MAXN_SUPER;; 3) echo REBOOTS;; esac; }}
case "$1" in
-q) echo "NV Power Mode: $(name $(cat "$S/mode"))"; cat "$S/mode";;
-m) case "$2" in
    [012]) {slow}echo "$2" > "$S/mode"; echo 729600 > "$S/min";;
    3) echo "NVPM WARN: Golden image context is already created"
       echo "NVPM WARN: Reboot required for changing to this power mode: 3"
       echo "NVPM WARN: DO YOU WANT TO REBOOT NOW? enter YES/yes to confirm:"
       read answer || echo "NVPM ERROR: bad input!"
       echo "NVPM ERROR: optMask is 1, no request for power mode"; exit 255;;
    *) echo "NVPM ERROR: request for bad power mode $2"; exit 255;;
    esac;;
esac
"""

JETSON_CLOCKS = """#!/bin/sh
S='{state}'
echo "jetson_clocks $*" >> "$S/asked"
case "$1" in
--show) cat <<END
{show}END
;;
--store)
    if [ -e "$2" ]; then
        echo "File $2 already exists. Can I overwrite it? Y/N:"
        read answer || {{ echo "Error: file $2 already exists!"; exit 1; }}
    fi
    echo "Storing system configuration in $2"
    echo "min:$(cat "$S/min")" > "$2";;
--restore)
    [ -e "$2" ] || {{ echo "Error: $2 file not found !"; exit 1; }}
    echo "Restoring system configuration from $2"
    {slow}cut -d: -f2 "$2" > "$S/min";;
"") {slow}echo 1728000 > "$S/min";;
esac
exit 0
"""


def await_lock() -> None:
    """Wait until no guard holds the machine's lock any more, so that the next test finds it free."""
    lock, deadline_s = MachineLock(), time.monotonic() + 20
    while True:
        try:
            lock.take()
            break
        except Refusal:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(0.02)
    lock.release()


class FakeJetson:
    """The programs on a PATH of their own, and the state that they change. slow: shell commands before each change."""

    def __init__(self, folder: Path, *, slow: str = "", mode: int = 0, lowest_khz: int = 729600) -> None:
        self.bin, self.state = folder / "bin", folder / "state"
        for made in (self.bin, self.state):
            made.mkdir(parents=True)
        (self.state / "mode").write_text(f"{mode}\n")
        (self.state / "min").write_text(f"{lowest_khz}\n")
        self.write("nvpmodel", NVPMODEL.format(state=self.state, slow=slow))
        self.write("jetson_clocks", JETSON_CLOCKS.format(state=self.state, slow=slow, show=SHOW))

    def write(self, name: str, text: str) -> None:
        """Put a program in its folder."""
        (self.bin / name).write_text(text)
        (self.bin / name).chmod(0o755)

    @property
    def now(self) -> tuple[int, int]:
        """Return the power mode's number and the lowest clock in kHz."""
        return self._number("mode"), self._number("min")

    def _number(self, name: str) -> int:
        while not (text := (self.state / name).read_text()):  # a program is about to write it
            pass
        return int(text)

    @property
    def asked(self) -> list[str]:
        """Return the commands that ran."""
        try:
            return (self.state / "asked").read_text().splitlines()
        except FileNotFoundError:
            return []
