"""What a Linux kernel tells of its machine, in plain numbers: caches, memory, clocks, heat. It runs on devices too."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

ROOT = Path("/")
CPU0 = "sys/devices/system/cpu/cpu0"
BOARDS = ("proc/device-tree/model", "sys/class/dmi/id/product_name")
CPU_SENSORS = ("coretemp", "k10temp", "zenpower", "cpu_thermal")
PI = "sys/devices/platform/soc/soc:firmware/get_throttled"
# Raspberry Pi's documentation, os.adoc, "get_throttled": bits of now; the same 16 higher have been so since it started
PI_BITS = {0: "under-voltage", 1: "frequency capped", 2: "throttled", 3: "soft temperature limit"}


def facts(root: Path = ROOT) -> dict[str, Any]:
    """Of the hardware; None for what is not told."""
    memory = re.search(r"MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo") or "")
    clock = _number(root / CPU0 / "cpufreq/cpuinfo_max_freq")
    return {
        "board": next((text for name in BOARDS if (text := _text(root / name))), None),
        "clock_mhz": clock and clock / 1e3,
        "l2_kib": cache_kib(2, root),
        "l3_kib": cache_kib(3, root),
        "ram_mib": round(int(memory[1]) / 1024) if memory else None,
    }


def cache_kib(level: int, root: Path = ROOT) -> float | None:
    """Of the first core; None where the kernel does not say."""
    for index in sorted((root / CPU0 / "cache").glob("index*")):
        if _text(index / "level") == str(level):
            size = re.fullmatch(r"(\d+)([KM]?)", _text(index / "size") or "")
            return float(size[1]) * (1024 if size[2] == "M" else 1) if size else None
    return None


def look(root: Path = ROOT) -> dict[str, Any]:
    """
    How the machine is at this moment: its hottest zone, its cores' mean clock, what holds it back.

    `throttled` names what does so now, `since_start` what has done so since it was switched on (Raspberry Pi alone
    keeps that), `throttle_count` how often cores and packages were slowed down (x86 alone counts). None where nothing
    of the kind is told.
    """
    zones = [_number(path) for path in root.glob("sys/class/thermal/thermal_zone*/temp")]
    for sensor in root.glob("sys/class/hwmon/hwmon*"):
        if _text(sensor / "name") in CPU_SENSORS:
            zones += [_number(path) for path in sensor.glob("temp*_input")]
    clocks = [_number(path) for path in root.glob("sys/devices/system/cpu/cpu[0-9]*/cpufreq/scaling_cur_freq")]
    hottest, known = max((t for t in zones if t is not None), default=None), [c for c in clocks if c is not None]
    now, since = held_back(root)
    return {
        "temperature_c": None if hottest is None else hottest / 1e3,
        "clock_mhz": sum(known) / len(known) / 1e3 if known else None,
        "throttled": now,
        "since_start": since,
        "throttle_count": _throttle_count(root),
    }


def held_back(root: Path = ROOT) -> tuple[list[str] | None, list[str] | None]:
    """What slows the processor down now, and what has since it started; None where neither is told."""
    bits = _pi_bits(root)
    now = None if bits is None else [name for bit, name in PI_BITS.items() if bits >> bit & 1]
    since = None if bits is None else [name for bit, name in PI_BITS.items() if bits >> bit + 16 & 1]
    for device in sorted(root.glob("sys/class/thermal/cooling_device*")):
        if "cpufreq" in (_text(device / "type") or ""):  # a processor that is cooled by a lower clock
            now = now or []
            if (_number(device / "cur_state") or 0) > 0:
                now = [*now, "cooling"]
    return (list(dict.fromkeys(now)) if now is not None else None), since


def _pi_bits(root: Path) -> int | None:
    text = _text(root / PI)
    if text is None and root == ROOT and (program := shutil.which("vcgencmd")):
        try:
            said = subprocess.run([program, "get_throttled"], capture_output=True, text=True, timeout=5, check=False)
        except (OSError, subprocess.TimeoutExpired):
            return None
        text = said.stdout.strip().removeprefix("throttled=0x")
    try:
        return int(text, 16) if text else None
    except ValueError:
        return None


def _throttle_count(root: Path) -> int | None:
    counts = [_number(path) for path in root.glob("sys/devices/system/cpu/cpu[0-9]*/thermal_throttle/*_throttle_count")]
    known = [int(count) for count in counts if count is not None]
    return sum(known) if known else None


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _text(path: Path) -> str | None:
    try:
        return path.read_text("utf-8", "replace").strip().strip("\0")[:200] if path.is_file() else None
    except OSError:
        return None


def _number(path: Path) -> float | None:
    try:
        return float(_text(path) or "")
    except ValueError:
        return None
