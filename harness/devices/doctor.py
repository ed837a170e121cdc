"""Checks of `harness doctor`, from the connection to the cores, each with its remedy."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from queue import SimpleQueue
from typing import Any, TypeVar

from device_agents.block_plans import why_no_energy
from device_agents.core_gate import FREE_SHARE
from device_agents.runtimes import uses_accelerator
from device_agents.throttling import ANDROID_STATUS, clock_tier, throttle_signs
from harness.devices.adb.client import Adb
from harness.devices.adb.watch import find_gauge, look_at_phone
from harness.devices.client import Deployment
from harness.devices.conditions import REMEDIES, earlier_throttling, throttle_remedy
from harness.devices.config import RUNTIMES, AdbDevice, Device, SshDevice
from harness.devices.connection import Connection, new_owner
from harness.devices.runtimes import RuntimeUse, allowed_cores, choose_runtimes, is_expected
from harness.devices.transports import open_transport
from harness.devices.trial import NOT_KNOWN, SHARED_WORKER, find_sensor, try_forms, try_runtime
from harness.errors import AgentError, DeviceError
from space.errors import ConfigError
from space.text import counted

FREE_BYTES = 200 << 20  # both formats' weights, a model being assembled, and room
EDGE_TPU = "EdgeTPU"  # a provider of tflite
HOT_C = 70.0
BUSY_SHARE = 0.5
PI_5_MA = 5000
PI_5_VOLTS = 4.8  # its firmware warns at 4.63
AT_ONCE = 32  # devices
POLL_S = 0.5
OWNER = new_owner("harness doctor")
TURNS_S = 120.0
FORM_REMEDIES = {SHARED_WORKER: "harness measure --level final: each session has a worker of its own"}

_Answer = TypeVar("_Answer")
CheckDevice = Callable[[Device, Callable[[str], None]], "list[Check]"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """Result of one check: `status` is ok, warn or FAIL; `remedy` names the command to type.

    fixable: whether `harness provision` may mend it, which `harness doctor --fix` runs.
    """

    status: str
    name: str
    found: str
    remedy: str = ""
    fixable: bool = False

    def to_json(self) -> dict[str, Any]:
        """Return the check as plain values."""
        return asdict(self)


def _check(name: str, found: str, remedy: str = "", *, fixable: bool = False) -> Check:
    """Return a check that is ok where nothing is to be done, else a warning."""
    return Check(status="warn" if remedy else "ok", name=name, found=found, remedy=remedy, fixable=fixable)


def diagnose_all(
    devices: Sequence[Device],
    on_progress: Callable[[str, str], None] = lambda name, step: None,
    check: CheckDevice | None = None,
) -> Iterator[tuple[str, list[Check]]]:
    """Check devices, several at once; yield each one's name and checks as soon as they are known.

    check: what is done with each, `diagnose` where it is None. on_progress: told a device's name and what is done with it now, an
    empty text at the end. Devices of one machine are checked one after the other, for a check of one would find the other's
    busy. Who no longer asks leaves those under way behind: their threads end with the process.
    """
    known: SimpleQueue[tuple[str, list[Check] | BaseException]] = SimpleQueue()
    machines: dict[str, list[Device]] = {}
    for device in devices:
        machines.setdefault(device.machine, []).append(device)
    waiting = deque(machines.values())

    def work() -> None:
        while True:
            try:
                of_machine = waiting.popleft()
            except IndexError:  # all are taken
                return
            for device in of_machine:
                try:
                    checks = (check or diagnose)(device, partial(on_progress, device.name))
                    on_progress(device.name, "")
                    known.put((device.name, checks))
                except BaseException as error:  # noqa: BLE001 - raised again where the caller is
                    known.put((device.name, error))

    for _ in range(min(AT_ONCE, len(machines))):
        threading.Thread(target=work, daemon=True).start()
    for _ in devices:
        name, found = known.get()
        if isinstance(found, BaseException):
            raise found
        yield name, found


def exit_status(checks: Iterable[Check]) -> int:
    """Return the command's exit status: 3 where a check failed, else 0."""
    return 3 if any(check.status == "FAIL" for check in checks) else 0


def diagnose(device: Device, on_progress: Callable[[str], None] = lambda step: None) -> list[Check]:
    """Check a device step by step, each told to `on_progress` before; the first that fails ends the list."""
    if isinstance(device, AdbDevice):
        on_progress("asking adb")
        checks = _cable(device)
        return checks if exit_status(checks) else [*checks, _program(device)]
    connection = Connection(device, open_transport(device), owner=OWNER)
    checks = []
    if isinstance(device, SshDevice) and device.adb:
        on_progress("asking adb")
        checks += _cable(device)
        if exit_status(checks):
            return checks
    try:
        try:
            on_progress("connecting")
            connection.open(lock=False)
        except (DeviceError, ConfigError) as error:
            return [*checks, Check(status="FAIL", name="reach", found=str(error))]
        deployment = connection.deployment
        assert deployment is not None
        if isinstance(device, SshDevice):
            named = device.known_hosts if "known_hosts" in device.model_fields_set else "known_hosts"
            key = "pinned in devices.toml" if device.host_key else f"known from {named}"
            checks.append(_check("host key", key))
        checks += [
            _python(device, deployment, connection.hello),
            _check("agent", f"{deployment.path} answers"),
        ]
        checks += _driver(connection.hello) + _runtimes(device, connection.hello)
        checks.append(_space(connection.hello))
        conditions = connection.client.probe()
        checks += _conditions(device, connection.hello, conditions)
        on_progress("trying how cores can be asked for")
        checks += _permissions(device, connection, "android" in conditions)
        checks += _trials(device, connection, on_progress)
    except (DeviceError, ConfigError) as error:
        checks.append(Check(status="FAIL", name="agent", found=str(error)))
    finally:
        connection.close()
    return checks


def _program(device: AdbDevice) -> Check:
    """Check whether the program that measures by adb alone is here."""
    path = device.program
    if path.is_file():
        return _check("program", f"{path}, which 'harness measure FILE.tflite' sends there")
    found = f"benchmark_model = {str(path)!r}: no such file; name LiteRT's program for the phone's processor"
    return Check(status="FAIL", name="program", found=found)


def _cable(device: SshDevice | AdbDevice) -> list[Check]:
    """Check whether adb reaches a phone, and what it tells of it; the first that fails ends the list."""
    adb = Adb(device.adb, device.who)
    try:
        version = adb.version()
        adb.check()
        told, absent = look_at_phone(adb)
    except DeviceError as error:
        return [Check(status="FAIL", name="adb", found=str(error))]
    checks = [_check("adb", f"{version} reaches {device.adb}")]
    if "battery" in told:
        battery = told["battery"]
        source = ", ".join(battery["powered_by"])
        found = f"Android {told.get('android', '?')}, screen {told.get('screen', '?')}, battery {battery['percent']} %"
        found += f" ({battery['status']}, {f'powered by {source}' if source else 'no charger'})"
        remedy = "" if source else "plug it into a charger: on its battery a phone saves power"
        checks.append(_check("phone", found, remedy))
    if "thermal_status" in told:
        status = told["thermal_status"]
        found = f"Android's thermal status {status} ({ANDROID_STATUS[status]})"
        checks.append(_check("thermal", found, "let it cool down first" if status else ""))
    if told.get("battery_saver"):
        found = "battery saver is on, which holds the processor back"
        checks.append(_check("phone", found, REMEDIES["battery saver"]))
    names = {"battery": "phone", "thermal_status": "thermal", "freq_khz": "phone clocks", "adb": "phone"}
    checks += [
        Check(status="warn", name=name, found=f"not told: {absent[key]}")
        for key, name in names.items()
        if key in absent
    ]
    return checks if isinstance(device, AdbDevice) else [*checks, *_fixed_performance(device, told)]


def _fixed_performance(device: SshDevice, told: Mapping[str, Any]) -> list[Check]:
    """Check Android's fixed-performance mode: whether it is known there, and whether a killed run left it on."""
    name, checks = "fixed performance", []
    if told.get("fixed_state") == "left":
        found = "its mode is still on: the guard of a run that was killed was killed, too"
        checks.append(_check(name, found, f"harness measure --device {device.name} switches it off first"))
    elif told.get("fixed_state") == "guarded":
        checks.append(_check(name, "on, a campaign is running or has ended seconds ago"))
    if told.get("fixed_known") is False and device.fixed_performance:
        found, remedy = "its Android has no such mode: Android 11 is the first", "leave fixed_performance out"
        checks.append(Check(status="FAIL", name=name, found=found, remedy=remedy))
    elif told.get("fixed_known"):
        asked = "asked for" if device.fixed_performance else "not asked for; fixed_performance = true does"
        checks.append(_check(name, f"its Android knows the mode; {asked}"))
    return checks


def _in_turn(ask: Callable[[], _Answer]) -> _Answer:
    """Return an agent's answer, once no other check of this command uses its machine: two names may be of one.

    For `TURNS_S` at most: a device could claim for ever that it is so.
    """
    deadline_s = time.monotonic() + TURNS_S
    while True:
        try:
            return ask()
        except AgentError as error:
            if error.details.get("owner") != OWNER or time.monotonic() > deadline_s:
                raise
        time.sleep(POLL_S)


def _python(device: Device, deployment: Deployment, hello: Mapping[str, Any]) -> Check:
    """Report which Python runs the agent, why this one, and whether packages of `harness provision` are used by it."""
    why = "named in devices.toml" if device.python else "devices.toml names none"
    found = f"{'.'.join(map(str, deployment.python_version))} ({deployment.executable}), {why}"
    packages = hello.get("environment", {})
    if not packages:
        return _check("python", found)
    names = ", ".join(f"{name} {version}".strip() for name, version in packages["packages"].items())
    if packages["is_used"]:
        return _check("python", f"{found}; with packages of harness provision: {names}")
    found += f"; the packages of harness provision are for Python {packages['version']} ({packages['executable']}) and not used"
    return _check("python", found, f"harness provision --device {device.name}", fixable=True)


def _driver(hello: Mapping[str, Any]) -> list[Check]:
    """Tell which driver workers on a phone's GPU are led to, and why, where the table of drivers has one that is there."""
    driver = hello.get("driver") or {}
    if not driver:
        return []
    found = f"{driver['vendor']}, shown by {driver['shown_by']}"
    if trouble := driver.get("trouble"):
        is_named = "environment names" in trouble
        remedy = "" if is_named else "name LD_LIBRARY_PATH in environment = { ... } of devices.toml"
        return [_check("driver", f"{found}; not led to it: {trouble}", remedy)]
    led = ", ".join(f"{name}={value}" for name, value in driver["variables"].items())
    return [_check("driver", f"{found}; workers on the GPU alone have {led}")]


def _runtimes(device: Device, hello: Mapping[str, Any]) -> list[Check]:
    checks = [
        _check(
            "runtime", f"{r['name']} {r['version']} ({r['package']}; {', '.join(r['providers']) or 'cpu'})"
        )
        for r in hello["runtimes"]
    ]
    for broken in hello["broken"]:
        if is_expected(device, broken["name"]):
            found = f"{broken['name']} is installed but broken: {broken['message']}"
            fixable = broken["name"] in RUNTIMES
            remedy = (
                f"harness provision --device {device.name}, or " * fixable + "install it anew on the device"
            )
            checks.append(_check("runtime", found, remedy, fixable=fixable))
    try:
        choose_runtimes(device, hello, (), ())
    except ConfigError as error:
        checks.append(Check(status="FAIL", name="runtime", found=str(error), fixable=True))
    return checks


def _trials(device: Device, connection: Connection, on_progress: Callable[[str], None]) -> list[Check]:
    """Run a small model in each runtime, in all forms that are measured; a device in use is left alone."""
    try:
        uses = choose_runtimes(device, connection.hello, (), ())
    except ConfigError:
        return []  # said already, of the runtimes
    try:
        locked = _in_turn(lambda: connection.client.lock(OWNER, device.board_settings))
    except AgentError as error:
        if error.kind == "board":
            return [Check(status="FAIL", name="board", found=str(error))]
        if error.kind != "busy":
            raise
        return [
            _check("trial", str(error), "ask again once it has ended: a model that runs now would disturb it")
        ]
    checks = []
    if board := locked.get("board"):
        clocks = ", its clocks held at their highest" if board["clocks"] else ""
        found = f"set to power mode {board['power_mode']}{clocks}, for this check; {board['before']} is put back after"
        checks.append(_check("board", found))
    hello = {**connection.hello, **locked}
    on_progress("running a small model in each runtime")
    try:
        trials = try_runtimes(device, connection, uses, hello)
    except ConfigError:
        return checks  # said already, of the cores
    works = [use for use, trial in zip(uses, trials, strict=True) if trial.status == "ok"]
    cores, threads = allowed_cores(device, hello, None, ())
    checks += trials
    try:
        on_progress("trying what else is measured")
        for use in works:
            checks += _forms(use, try_forms(connection.client, use, cores[-threads:], threads))
        on_progress("looking for a sensor of energy, for up to a minute")
        checks += _sensors(device, connection, works)
    except DeviceError as error:  # what was found before stays
        checks.append(Check(status="FAIL", name="agent", found=str(error)))
    return checks


def try_runtimes(
    device: Device, connection: Connection, uses: Iterable[RuntimeUse], hello: Mapping[str, Any]
) -> list[Check]:
    """Run a small model in each runtime of a device that this connection has locked. Raises: ConfigError of its cores.

    hello: what the agent says of itself, now that the device is locked.
    """
    cores, threads = allowed_cores(device, hello, None, ())
    return [_trial(connection, use, cores[-threads:], threads) for use in uses]


def _trial(connection: Connection, use: RuntimeUse, cores: tuple[int, ...], threads: int) -> Check:
    what = f"{use.name} ({use.provider})"
    if use.provider == EDGE_TPU:
        found = "no model is compiled for the Edge TPU here, so none was tried"
        remedy = "harness measure A_edgetpu.tflite --reference B_edgetpu.tflite --runtime tflite:edgetpu"
        return _check("trial", found, remedy)
    if wrong := try_runtime(connection.client, use, cores, threads):
        found, remedy = f"{what} cannot run a model: {wrong}", "install it anew on the device"
        return Check(status="FAIL", name="trial", found=found, remedy=remedy)
    return _check("trial", f"{what} runs a model of {use.format} in a worker, its outputs are right")


def _forms(use: RuntimeUse, tried: Mapping[str, str]) -> list[Check]:
    """Report which forms of measuring work in a runtime; `tried`: by name, with what is wrong."""
    what = f"{use.name} ({use.provider})"
    works = ", ".join(name for name, trouble in tried.items() if not trouble)
    checks = [_check("forms", f"{what}: {works}")] if works else []
    for name, trouble in tried.items():
        if trouble == NOT_KNOWN:
            found = f"{what}: {name}: not known: {trouble}"
            checks.append(_check("forms", found, "stop what else runs there, and ask again"))
        elif trouble:
            remedy = FORM_REMEDIES.get(name, f"measure there without {name}")
            checks.append(_check("forms", f"{what}: no {name}: {trouble}", remedy))
    return checks


def _sensors(device: Device, connection: Connection, uses: Sequence[RuntimeUse]) -> list[Check]:
    """Report the energy sensor of each runtime's processor: one for all that run on the CPU."""
    places = {use.provider if uses_accelerator(use.provider) else "processor": use.provider for use in uses}
    checks, gauge = [], None
    if isinstance(device, SshDevice) and device.adb:
        gauge = partial(find_gauge, Adb(device.adb, device.who))
    for place, provider in places.items():
        try:
            found = find_sensor(connection.client, provider, gauge)
            trouble = why_no_energy(found)
        except AgentError as error:
            trouble = str(error)
        if trouble:
            checks.append(Check(status="warn", name="energy", found=f"{place}: no --energy: {trouble}"))
        else:
            sensor, update_s = found["sensor"], found["update_s"]
            told = f"{place}: {sensor['kind']} ({sensor['scope']}), measured every {update_s:.2g} s"
            checks.append(_check("energy", told))
    return checks


def _space(hello: Mapping[str, Any]) -> Check:
    free_bytes = hello.get("free_bytes")
    if free_bytes is None:
        return Check(status="warn", name="free space", found="the device does not say")
    found = f"{free_bytes / 1e9:.1f} GB in {hello.get('root', '')}"
    if free_bytes < FREE_BYTES:
        remedy = f'free {FREE_BYTES >> 20} MiB, or name another folder with root = "..."'
        return Check(status="FAIL", name="free space", found=found, remedy=remedy)
    return _check("free space", found)


def _conditions(device: Device, hello: Mapping[str, Any], conditions: Mapping[str, Any]) -> list[Check]:
    try:
        cores, threads = allowed_cores(device, hello, None, ())
    except ConfigError as error:
        return [Check(status="FAIL", name="cores", found=str(error))]
    clusters = " + ".join(",".join(map(str, cluster)) for cluster in hello["clusters"])
    chosen = f"would run on {threads} of {','.join(map(str, cores))}"
    cpu = conditions.get("cpu_model", "unknown CPU")
    checks = [_check("cores", f"{cpu}; clusters {clusters}; {chosen}")]
    tier = clock_tier(conditions, cores)
    governors = sorted(set(conditions.get("governors", {}).values()))
    found = f"tier {tier}" + (f", governor {', '.join(governors)}" if governors else ", no governor visible")
    remedy = "" if tier != "C" else f"paired timing cancels drift; {_lock_clocks(conditions)}"
    checks.append(_check("clocks", found, remedy))
    if temps := conditions.get("temps_c", {}):
        hottest = max(temps, key=lambda zone: float(temps[zone]))
        remedy = "let it cool down first" if temps[hottest] >= HOT_C else ""
        checks.append(_check("temperature", f"{temps[hottest]:.0f} C ({hottest})", remedy))
    checks += [_check("gpu", _gpu_text(gpu)) for gpu in conditions.get("gpus", [])]
    if unknown := conditions.get("probe_errors", {}).get("used_gpu"):
        unseen = (
            "until then a session on a GPU has grade C at best (gpu-unseen): nobody sees what else runs on it"
        )
        checks.append(_check("gpu", unknown, unseen))
    load, count = conditions.get("load_1m"), len(hello["cores"])
    if load is not None:
        remedy = "stop what else runs on the device" if load > BUSY_SHARE * count else ""
        checks.append(_check("load", f"{load:.2f} over {counted(count, 'core')}", remedy))
    for sign in throttle_signs(conditions, cores if tier == "A" else ()):
        remedy = f"{throttle_remedy([sign])}; a campaign waits until this is gone, 5 minutes at most"
        checks.append(_check("throttled", sign, remedy))
    return checks + _board(conditions)


def _board(conditions: Mapping[str, Any]) -> list[Check]:
    """Describe a board's supply, fans and power mode, as far as it tells of them."""
    checks = []
    if earlier := earlier_throttling(conditions):
        remedy = f"{throttle_remedy([f'earlier: {earlier}'])}; a restart clears these marks"
        checks.append(_check("throttled before", earlier, remedy))
    is_pi = str(conditions.get("board", "")).startswith("Raspberry Pi")
    if is_pi and "throttled" not in conditions:
        reason = conditions.get("probe_errors", {}).get("throttled", "no vcgencmd")
        remedy = "install it (libraspberrypi-bin, raspi-utils) and permit it: sudo usermod -aG video USER; then log in anew"
        checks.append(_check("throttled", f"whether the board is throttled cannot be read: {reason}", remedy))
    if supply := conditions.get("supply", {}):
        is_weak = supply.get("max_ma", PI_5_MA) < PI_5_MA or supply.get("volts", PI_5_VOLTS) < PI_5_VOLTS
        known = {"max_ma": "agreed to give {:.0f} mA", "volts": "{:.2f} V arrive"}
        found = ", ".join(text.format(supply[key]) for key, text in known.items() if key in supply)
        checks.append(_check("supply", found, REMEDIES["under-voltage"] if is_weak else ""))
    checks += [_check("fan", f"{name}: {rpm} rpm") for name, rpm in conditions.get("fans_rpm", {}).items()]
    if "power_mode" in conditions:
        checks.append(_check("power mode", conditions["power_mode"]))
    elif any(word in str(conditions.get("board", "")).lower() for word in ("jetson", "nvidia")):
        reason = conditions.get("probe_errors", {}).get("power_mode", "no nvpmodel, as in a container")
        remedy = (
            "keep the board in one mode, or let harness reach the board itself: sessions of two modes would count as one "
            "device's"
        )
        checks.append(_check("power mode", f"which mode the board is in cannot be read: {reason}", remedy))
    return checks


def _gpu_text(gpu: Mapping[str, Any]) -> str:
    """Describe a GPU and its state, as far as they are known."""
    known = {
        "temp_c": "{:.0f} C",
        "clock_mhz": "clock {:.0f} MHz now",
        "max_clock_mhz": "{:.0f} MHz at most",
        "power_w": "{:.0f} W",
        "programs": "{} programs on it",
        "busy_percent": "{} % busy",
    }
    values = [text.format(gpu[key]) for key, text in known.items() if key in gpu]
    if "busy_percent" in gpu and "programs" not in gpu:
        values.append("other programs are not seen from a container")
    return ", ".join([f"{gpu.get('index', '?')}: {gpu.get('name', 'no name told')}", *values])


def _permissions(device: Device, connection: Connection, is_phone: bool) -> list[Check]:
    """Check which scheduling the cores can get and what else limits them; a device in use is not probed."""
    try:
        cores, threads = allowed_cores(device, connection.hello, None, ())
        answer = _in_turn(lambda: connection.client.permissions(OWNER, cores, threads))
    except ConfigError:
        return []  # said already, of the cores
    except AgentError as error:
        if error.kind != "busy":
            raise
        remedy = "ask again once it has ended: trying how the core can be asked for would disturb it"
        return [_check("core request", str(error), remedy)]
    return [
        *_grants(answer["grants"], str(answer.get("user", "USER")), is_phone),
        _busy_cores(answer["waited"], connection.hello),
        *_limits(answer),
        _machine_lock(str(answer.get("machine_lock"))),
    ]


def _grants(grants: list[Mapping[str, Any]], user: str, is_phone: bool) -> list[Check]:
    """Describe the effect of each scheduling request; where none helps, how to permit one."""
    helped = any(grant["verified"] for grant in grants)
    checks = []
    for grant in grants:
        waits = f"waits {_percent(grant['waited_after'])} beside a busy program, {_percent(grant['waited_before'])} unasked"
        if grant["verified"]:
            found = f"permitted and works: {waits}"
        elif grant["granted"]:
            found = f"{grant['reason']}: {waits}"
        else:
            found = f"refused: {grant['reason']}"
        is_open = not helped and not grant["granted"]
        remedy = _permit(str(grant["method"]), user, is_phone) if is_open else ""
        status = "ok" if helped else "warn"
        checks.append(Check(status=status, name=f"core: {grant['method']}", found=found, remedy=remedy))
    return checks


def _permit(method: str, user: str, is_phone: bool) -> str:
    """Return the commands that permit a scheduling request, if any."""
    if is_phone:
        return ""  # Android grants apps what it grants them
    item = {"realtime": "rtprio 10", "autogroup": "nice -20"}.get(method)
    if item is None:
        return ""
    if user == "root":
        return "a container refuses even root: start it with --cap-add SYS_NICE"
    unit = {"realtime": "LimitRTPRIO=10", "autogroup": "LimitNICE=-20"}[method]
    line = f"echo '{user} - {item}' | sudo tee -a /etc/security/limits.conf"
    return f"{line}; log in anew (under systemd without PAM: {unit} in the unit's [Service])"


def _busy_cores(waited: Mapping[str, Any], hello: Mapping[str, Any]) -> Check:
    """Report the share of time that a process waits for each of the fastest like cores."""
    cores = [str(core) for core in (hello.get("clusters") or [hello["cores"]])[0]]
    alike: dict[str, list[str]] = {}  # a machine of many cores has few shares
    for core in cores:
        alike.setdefault(_percent(waited.get(core)), []).append(core)
    found = ", ".join(f"core {','.join(same)} {share}" for share, same in alike.items())
    shares = [share for core in cores if (share := waited.get(core)) is not None]
    if not shares:
        return Check(status="warn", name="waiting", found="the device does not tell how busy each core is")
    is_busy = min(shares) > FREE_SHARE
    remedy = "no fast core is free: stop what else runs (top shows it)" if is_busy else ""
    return _check("waiting", f"a process waits for {found}", remedy)


def _limits(answer: Mapping[str, Any]) -> list[Check]:
    checks = [_check("quota", "none")]
    if quota := answer.get("quota"):
        found = f"{quota['cores']:.2g} cores' time, set for control group {quota['group']}"
        remedy = "a quota stops a program in mid-run: raise it (docker run --cpus, systemd CPUQuota=)"
        checks = [_check("quota", found, remedy)]
    if withheld := ",".join(map(str, answer["withheld"])):
        found = f"cores {withheld} may not be used: a cpuset or an affinity withholds them"
        checks.append(_check("cpuset", found))
    threads = sorted({tuple(group) for group in answer["siblings"].values() if len(group) > 1})
    found = ", ".join("+".join(map(str, group)) for group in threads)
    found = f"{found} are one core each; a session takes one of each" if found else "none; each core is one"
    return [*checks, _check("hyperthreads", found)]


def _machine_lock(state: str) -> Check:
    if state == "held":
        return _check("machine lock", "works: one campaign at a time, whatever account or name")
    return _check("machine lock", state, "measure with one account and folder at a time")


def _percent(share: float | None) -> str:
    return "an unknown time" if share is None else f"{100 * share:.0f} %"


def _lock_clocks(conditions: Mapping[str, Any]) -> str:
    if "android" in conditions:
        return "Android lets only root lock clocks"
    if not conditions.get("governors"):
        return "the clocks cannot be set here, as in most virtual machines"
    if "power_mode" in conditions:
        return "to lock a Jetson's clocks while it is measured: jetson_clocks = true in devices.toml"
    return "to lock clocks: sudo cpupower frequency-set -g performance"
