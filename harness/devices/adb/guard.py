"""Android's fixed-performance mode, switched on and off by a guard: a shell script that runs on the phone by itself.

The guard switches the mode on, and off again as soon as its heartbeat stops, whatever becomes of this process, this machine and
the cable. So there is no moment at which the mode is on and nobody is left to end it; a restart of the phone ends both. What ends
the guard itself (adbd starting again, as when USB debugging is switched off) leaves the file `held` behind, by which the next
connection knows that the mode is to be switched off.
Source of the mode: https://developer.android.com/games/optimize/adpf/fixed-performance-mode
"""

from __future__ import annotations

import shlex
from typing import final

from harness.devices.adb.answers import fixed_refusal
from harness.devices.adb.client import Adb
from harness.errors import DeviceError

FOLDER = "/data/local/tmp/harness-fixed-performance"
SILENCE_S = 10  # without a heartbeat, after which the guard ends the mode
PERIOD_S = 1.0  # in which it looks for one
TIMEOUT_S = 20.0  # a guard of before may have to be ended first

# The beginning of each script, whose first argument is the folder. `guard` sets `pid` to the guard of this phone, and fails where
# none runs; `end` ends that one. A process is known by its id and the time at which it began, the 22nd field of its stat
# (proc(5)): an id alone is given again. Nothing but the shell is needed: Android's own grep, for one, reads `cmdline` only up to
# its first NUL.
_FIND = """
folder=$1
guard() {
    read pid born <"$folder/pid" && read stat <"/proc/$pid/stat" && set -- $stat && [ "${22}" = "$born" ] && [ "$3" != Z ]
} 2>/dev/null
end() {
    kill -TERM "$pid"
    tries=0
    while guard && [ "$tries" -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
}
"""

# Arguments: the folder, the seconds between two looks, and how many of them in silence end it. It minds no hang-up: the shell
# that starts it goes.
GUARD = """
folder=$1 period=$2 limit=$3
off() {
    trap "" TERM INT
    tries=0
    until cmd power set-fixed-performance-mode-enabled false; do
        tries=$((tries + 1))
        [ "$tries" -lt 60 ] || exit 1
        sleep "$period"
    done
    rm -f "$folder/held" "$folder/pid"
    exit 0
}
trap "" HUP
trap off TERM INT
read stat </proc/$$/stat
set -- $stat
echo "$1 ${22}" >"$folder/pid"
: >"$folder/held"
if ! said=$(cmd power set-fixed-performance-mode-enabled true 2>&1); then
    rm -f "$folder/held" "$folder/pid"
    echo "refused: $said" >"$folder/state"
    exit 1
fi
echo on >"$folder/state"
silent=0 last=
while [ "$silent" -lt "$limit" ]; do
    sleep "$period"
    beat=
    read beat <"$folder/beat"
    if [ "$beat" = "$last" ]; then silent=$((silent + 1)); else silent=0 last=$beat; fi
done
off
"""

# Arguments: the folder, the guard's text and its further arguments. Answers `on`, or why not. A guard of before is ended first,
# for it would switch the mode off later.
_START = """
mkdir -p "$folder" || exit 1
command -v setsid >/dev/null || { echo "refused: there is no program 'setsid'"; exit 1; }
if guard; then
    end
    guard && kill -KILL "$pid"
fi
echo start >"$folder/beat"
rm -f "$folder/state"
setsid sh -c "$2" harness-guard "$folder" "$3" "$4" </dev/null >/dev/null 2>&1 &
tries=0
while [ ! -s "$folder/state" ] && [ "$tries" -lt 100 ]; do sleep 0.1; tries=$((tries + 1)); done
cat "$folder/state"
"""

# Argument: the folder. Ends the guard, or does what one that was killed left undone. Answers `off`, or `held` where it failed.
_END = """
if guard; then end; fi
if [ -e "$folder/held" ] && ! guard && cmd power set-fixed-performance-mode-enabled false; then
    rm -f "$folder/held" "$folder/pid"
fi
if [ -e "$folder/held" ]; then echo held; else echo off; fi
"""

# Arguments: the folder, and a text that differs from the one before. Answers `on`, or `off` where there is no guard any more.
BEAT = (
    _FIND
    + """
echo "$2" >"$folder/beat"
if guard && [ -e "$folder/held" ]; then echo on; else echo off; fi
"""
)

# Argument: the folder. Answers `guarded`, `left` by a guard that was killed, or `off`.
STATE = (
    _FIND
    + """
if [ ! -e "$folder/held" ]; then echo off; elif guard; then echo guarded; else echo left; fi
"""
)


@final
class FixedPerformance:
    """Fixed-performance mode of one phone."""

    def __init__(self, adb: Adb, *, silence_s: float = SILENCE_S, period_s: float = PERIOD_S) -> None:
        self._adb = adb
        self._period, self._looks = f"{period_s:g}", str(max(1, round(silence_s / period_s)))

    def start(self) -> None:
        """Start the guard, which switches the mode on. Raises: DeviceError where the phone refuses; LinkError."""
        said = self._run(_START, GUARD, self._period, self._looks)
        if said != "on":
            raise DeviceError(
                self._adb.who,
                f"fixed_performance = true, but the phone has no fixed-performance mode: {fixed_refusal(said)}; "
                "leave fixed_performance out",
            )

    def end(self) -> None:
        """End the guard, if there is one, and with it the mode. Raises: DeviceError where the mode stays on; LinkError."""
        said = self._run(_END)
        if said != "off":
            raise DeviceError(
                self._adb.who,
                f"its fixed-performance mode could not be switched off ({said or 'no answer'}); switch it off: adb -s "
                f"{shlex.quote(self._adb.serial)} shell cmd power set-fixed-performance-mode-enabled false, or restart the phone",
            )

    def _run(self, script: str, *arguments: str) -> str:
        return self._adb.script(_FIND + script, FOLDER, *arguments, timeout_s=TIMEOUT_S).strip()
