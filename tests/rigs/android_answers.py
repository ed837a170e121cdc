"""What the shells of Android 11 to 16 answer: forms from public sources, numbers made up.

Nothing here was recorded. What phones answered, as people published it, is in tests/harness/devices/adb/recorded_answers.json: of
`dumpsys thermalservice` and `dumpsys battery` alone, for no public answer of the others was found. These forms are as the sources
of each Android print them, in AOSP's services, read where one release stands by itself:
13 https://github.com/ArrowOS-T/android_frameworks_base/tree/e26dec95fdef7d0b6c691f0a715fefcbbaf9e559,
14 https://github.com/CredenceID/C2_a14_frameworks_base/tree/5b6d2ceedf4dd0c6d65ec637e1eec0c758cc2d01,
15 https://github.com/muhomorr/platform_frameworks_base-15/tree/2b9c8cc900085a0b05e55186a2815afa933f6cff,
16 https://github.com/bluestacks/frameworks-base-a16/tree/70f41069a8aa70549d3902a29ad1139f1e6eb10f; the services print:

- `dumpsys thermalservice`: services/core/java/com/android/server/power/ThermalManagerService.java. Android 11 to 13 name the HAL
  `ThermalHAL 2.0`, 14 `AIDL 1`, 15 `AIDL 2`, 16 `AIDL 3`; the headroom thresholds come with 15. A HAL of 1.0 tells no throttling.
  Thresholds are printed as the HAL's own class does first, `{.type = SKIN, ...}`, then as `TemperatureThreshold{...}`. Sensors of
  type -1 and such of voltages as a Pixel 6 has them: google/skia-buildbot, machine/go/machine/processor/impl_test.go.
- `dumpsys battery`: services/core/java/com/android/server/BatteryService.java; `Dock powered` comes with 13 or 14, charging state
  and policy with 15, the capacity level and three lines of one space, on what was broadcast last, with 16. A Samsung S24 prints
  lines of its own between, too, and logs behind: The-Gekko/gekko-adb, tests/fixtures/battery_samsung_s24.txt.
- `cmd battery get -f current_now`: the Shell of BatteryService.java: a number in uA from 15 on, or nothing where the build has
  switched it off; before that an unknown option.
- `dumpsys deviceidle get screen`: DeviceIdleController.java, `true` or `false`, alike in all.
- `settings get global low_power`: SettingsService.java prints what BatterySaverStateMachine.java sets, 0 or 1, or `null`. What
  only other makers have is `null`, too.
- `cmd power set-fixed-performance-mode-enabled`: PowerManagerShellCommand.java: nothing and status 0, or two lines on standard
  error and status 255 (-1), alike in all; before Android 11 `Unknown command` (android.os.BasicShellCommandHandler). Its help
  grows by a few commands in each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

UNKNOWN_COMMAND = "Unknown command: set-fixed-performance-mode-enabled\n"
NO_POWER_HAL = (
    "Failed to set FIXED_PERFORMANCE mode\n"
    "This is likely because Power HAL AIDL is not implemented on this device\n"
)
DENIED = (
    "Permission Denial: can't dump ThermalManagerService from from pid=4711, uid=10234 due to missing "
    "android.permission.DUMP permission\n"
)
NO_CURRENT = "Unknown get option: current_now\n"
NO_SERVICE = "Can't find service: thermalservice\n"
POWER_HELP = (
    "Power manager (power) commands:\n  help\n    Print this help text.\n\n"
    "  set-mode MODE\n    sets the power mode of the device to MODE.\n"
)
FIXED_HELP = (
    "  set-fixed-performance-mode-enabled [true|false]\n    enables or disables fixed performance mode\n"
)
THRESHOLDS = (
    "\tTemperatureThreshold{mType=3, mName=VIRTUAL-SKIN, mHotThrottlingThresholds=[NaN, 39.0, 43.0, 45.0, 46.5, 52.0, 55.0], "
    "mColdThrottlingThresholds=[NaN, NaN, NaN, NaN, NaN, NaN, NaN]}\n"
)
OLD_THRESHOLDS = "\t{.type = SKIN, .name = VIRTUAL-SKIN, .hotThrottlingThresholds = [NaN, 39.0, 43.0, 45.0, 46.5, 52.0, 55.0]}\n"


def thermal(
    status: int = 0,
    *,
    hal: str = "ThermalHAL AIDL 3  connected: yes",
    headroom: bool = True,
    override: bool = False,
    ready: bool = True,
    thresholds: str = THRESHOLDS,
    skin_c: str = "31.25",
) -> str:
    """Return an answer of `dumpsys thermalservice`; what it remembers is hotter than what it reads."""
    listeners = "\tcallbacks: 1\n\tkilled: false\n\tbroadcasts count: -1\n"
    text = (
        f"IsStatusOverride: {str(override).lower()}\nThermalEventListeners:\n{listeners}ThermalStatusListeners:\n{listeners}"
        f"Thermal Status: {status}\nCached temperatures:\n"
        "\tTemperature{mValue=99.0, mType=3, mName=VIRTUAL-SKIN, mStatus=3}\n"
        f"HAL Ready: {str(ready).lower()}\n"
    )
    if ready:
        text += (
            f"HAL connection:\n\t{hal}\nCurrent temperatures from HAL:\n"
            "\tTemperature{mValue=44.800003, mType=0, mName=BIG, mStatus=0}\n"
            f"\tTemperature{{mValue={skin_c}, mType=3, mName=VIRTUAL-SKIN, mStatus={status}}}\n"
            "\tTemperature{mValue=NaN, mType=3, mName=disp_therm, mStatus=0}\n"
            "\tTemperature{mValue=-5700.0, mType=-1, mName=virtual, mStatus=0}\n"
            "\tTemperature{mValue=4200.0, mType=6, mName=vbat, mStatus=0}\n"
            "Current cooling devices from HAL:\n\tCoolingDevice{mValue=0, mType=2, mName=thermal-cpufreq-2}\n"
            f"Temperature static thresholds from HAL:\n{thresholds}"
        )
    if headroom:
        text += "Temperature headroom thresholds:\n[NaN, 0.8, 0.9, 1.0, 1.05, 1.2, 1.3]\n"
    return text


def battery(
    *,
    dock: bool = True,
    charging: bool = True,
    level: int = 85,
    status: int = 2,
    usb: bool = True,
    tail: str = "",
) -> str:
    """Return an answer of `dumpsys battery`."""
    return (
        f"Current Battery Service state:\n  AC powered: false\n  USB powered: {str(usb).lower()}\n"
        "  Wireless powered: false\n"
        + "  Dock powered: false\n" * dock
        + "  Max charging current: 500000\n  Max charging voltage: 5000000\n  Charge counter: 3270000\n"
        + f"  status: {status}\n  health: 2\n  present: true\n  level: {level}\n  scale: 100\n  voltage: 4352\n"
        + "  temperature: 274\n"
        + "  technology: Li-ion\n"
        + "  Charging state: 0\n  Charging policy: 0\n" * charging
        + tail
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Answers of one Android by what is asked: the service or property. `clocks_khz` by core."""

    android: str
    files: Mapping[str, str]
    clocks_khz: Mapping[int, int] = field(default_factory=lambda: {0: 1_803_000, 4: 2_348_000, 7: 2_850_000})


def _answers(android: int, sdk: int, thermal_text: str, battery_text: str, screen: str) -> Answers:
    return Answers(
        android=str(android),
        files={
            "thermalservice": thermal_text,
            "battery": battery_text,
            "deviceidle": f"{screen}\n",
            "current_now": "-512000\n" if android >= 15 else NO_CURRENT,
            "power-help": POWER_HELP + FIXED_HELP,
            "ro.build.version.release": f"{android}\n",
            "ro.build.version.sdk": f"{sdk}\n",
            "ro.serialno": "R5CT10ABCDE\n",
            "low_power": "0\n" if android > 11 else "null\n",
            "POWER_SAVE_MODE_OPEN": "null\n",
            "SmartModeStatus": "null\n",
        },
    )


_HIDL = "ThermalHAL 2.0 connected: yes"
_BROADCAST = " Time when the latest updated value of the {} was sent via battery changed broadcast: {}\n"
_BROADCAST_CURRENT = "  Max charging current: 500000\n" + _BROADCAST.format(
    "Max charging current", "+14h58m53s789ms"
)
_BROADCAST_VOLTAGE = (
    "  voltage: 4352\n"
    + _BROADCAST.format("voltage", "0")
    + " The last voltage value sent via the battery changed broadcast: 4411\n"
)
_SAMSUNG_LOG = (
    "  Capacity level: -1\n  current now: 1531\nLLB MAN: \nFEATURE_HICCUP_CONTROL: true\n mProtectBatteryMode: 1\n\n"
    "[EventLogBuffer]\n08-11 18:34:14.721  Sending ACTION_BATTERY_CHANGED: level:72, temperature:345\n\n"
    "BatteryInfoBackUp\n  level: 1\n  scale: 1\n"
)


def _with_broadcasts(text: str) -> str:
    text = text.replace("  Max charging current: 500000\n", _BROADCAST_CURRENT)
    return text.replace("  voltage: 4352\n", _BROADCAST_VOLTAGE)


_SAMSUNG = _with_broadcasts(battery(tail=_SAMSUNG_LOG))
ANSWERS = (
    _answers(
        11,
        30,
        thermal(hal=_HIDL, headroom=False, thresholds=OLD_THRESHOLDS),
        battery(dock=False, charging=False),
        "true",
    ),
    _answers(12, 31, thermal(hal=_HIDL, headroom=False), battery(dock=False, charging=False), "false"),
    _answers(13, 33, thermal(hal=_HIDL, headroom=False), battery(charging=False), "true"),
    _answers(
        14,
        34,
        thermal(hal="ThermalHAL AIDL 1  connected: yes", headroom=False),
        battery(charging=False),
        "false",
    ),
    _answers(15, 35, thermal(hal="ThermalHAL AIDL 2  connected: yes"), _SAMSUNG, "true"),
    _answers(16, 36, thermal(), _with_broadcasts(battery(tail="  Capacity level: 3\n")), "true"),
)
