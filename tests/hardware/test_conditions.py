"""Heat, clock and throttling, as kernels tell of them, and what a measurement says of a device that was held back."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from edgekd.engine.events import Progress, Silent
from edgekd.hardware import sysfs
from edgekd.hardware.fingerprint import Cpu
from edgekd.hardware.measure.compare import Model, Place, observe
from edgekd.hardware.measure.result import Comparison, Conditions, Look
from edgekd.hardware.profile import Measuring, load_profile

PI_MODEL = "proc/device-tree/model"


def machine(root: Path, files: Mapping[str, str]) -> Path:
    """A kernel's files."""
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_a_raspberry_pi_tells_its_board_its_heat_and_what_holds_it_back(tmp_path: Path) -> None:
    """0x50005: under-voltage and throttled, now (bits 0 and 2) and since it started (bits 16 and 18)."""
    root = machine(
        tmp_path,
        {
            PI_MODEL: "Raspberry Pi 5 Model B Rev 1.0\0",
            "proc/meminfo": "MemTotal:        8245280 kB\nMemFree: 1 kB\n",
            "sys/class/thermal/thermal_zone0/temp": "84700\n",
            "sys/devices/system/cpu/cpu0/cpufreq/cpuinfo_max_freq": "2400000\n",
            "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq": "1500000\n",
            "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq": "1700000\n",
            sysfs.PI: "50005\n",
        },
    )
    assert sysfs.facts(root) == {
        "board": "Raspberry Pi 5 Model B Rev 1.0", "clock_mhz": 2400, "l2_kib": None, "l3_kib": None, "ram_mib": 8052,
    }  # fmt: skip
    assert sysfs.look(root) == {
        "temperature_c": 84.7,
        "clock_mhz": 1600,
        "throttled": ["under-voltage", "throttled"],
        "since_start": ["under-voltage", "throttled"],
        "throttle_count": None,
    }


def test_another_boards_cooling_and_an_x86_processors_counters_are_read(tmp_path: Path) -> None:
    root = machine(
        tmp_path,
        {
            "sys/class/thermal/cooling_device0/type": "pwm-fan\n",
            "sys/class/thermal/cooling_device0/cur_state": "3\n",
            "sys/class/thermal/cooling_device1/type": "cpufreq-cpu0\n",
            "sys/class/thermal/cooling_device1/cur_state": "2\n",
            "sys/class/hwmon/hwmon0/name": "nvme\n",
            "sys/class/hwmon/hwmon0/temp1_input": "99000\n",
            "sys/class/hwmon/hwmon1/name": "coretemp\n",
            "sys/class/hwmon/hwmon1/temp1_input": "55000\n",
            "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count": "4\n",
            "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count": "3\n",
        },
    )
    found = sysfs.look(root)
    assert (found["throttled"], found["throttle_count"], found["temperature_c"]) == (["cooling"], 7, 55)
    machine(root, {"sys/class/thermal/cooling_device1/cur_state": "0\n"})
    assert sysfs.look(root)["throttled"] == []


def test_a_machine_that_tells_nothing_is_no_fault(tmp_path: Path) -> None:
    assert set(sysfs.look(tmp_path).values()) == {None}
    assert set(sysfs.facts(tmp_path).values()) == {None}
    machine(tmp_path, {"sys/class/thermal/thermal_zone0/temp": "not a number", sysfs.PI: "what?"})
    assert set(sysfs.look(tmp_path).values()) == {None}


def test_caches_are_read_by_their_level(tmp_path: Path) -> None:
    for index, (level, size) in enumerate((("1", "32K"), ("2", "512K"), ("3", "2M"))):
        machine(tmp_path, {f"{sysfs.CPU0}/cache/index{index}/{name}": text
                           for name, text in (("level", level), ("size", size))})  # fmt: skip
    assert [sysfs.cache_kib(level, tmp_path) for level in (1, 2, 3, 4)] == [32, 512, 2048, None]


def measured(before: Look, during: Look, after: Look) -> Comparison:
    """On a device whose clock, counters and processes are scripted."""
    looks = iter([before, after])

    def run(request: dict[str, Any]) -> dict[str, Any]:
        times = [[1_000_000] * 25]
        told = {"load_ns": 1, "first_ns": 1, "warmup_runs": 10, "instructions": None}
        return {"m": told | {"cpu": times, "wall": times, "looks": [json.loads(during.model_dump_json())]}}

    model = Model(Path(__file__), load_profile("local-cpu").runtime(), {})
    place = Place(Cpu(model="scripted", architecture="aarch64", isa=()), lambda: (None, next(looks)))
    return observe({"m": model}, Measuring(processes=2), (), Progress(Silent()), run, place)


COOL = Look(temperature_c=48, clock_mhz=2400, throttled=(), since_start=(), throttle_count=5)


def test_temperature_and_clock_before_during_and_after_are_in_the_record() -> None:
    found = measured(COOL, COOL.model_copy(update={"temperature_c": 61, "clock_mhz": 2300}), COOL)
    assert found.conditions is not None
    assert found.conditions.before == COOL
    assert [look.temperature_c for look in found.conditions.during] == [61, 61]
    assert str(found.conditions) == "48 to 61 °C, 2300 to 2300 MHz while it ran, throttled: no"
    assert found.noise.reasons == ()
    assert Comparison.model_validate_json(found.model_dump_json(by_alias=True)) == found


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"during": {"throttled": ("throttled", "under-voltage")}}, "throttled, under-voltage"),
        ({"after": {"since_start": ("soft temperature limit",)}}, "soft temperature limit"),
        ({"after": {"throttle_count": 9}}, "slowed down 4 times"),
    ],
)
def test_a_throttled_run_says_so(changed: dict[str, dict[str, Any]], says: str) -> None:
    looks = {name: COOL.model_copy(update=changed.get(name, {})) for name in ("before", "during", "after")}
    found = measured(**looks)
    assert found.noise.noisy
    assert found.noise.reasons[0].startswith(f"the device was throttled while it measured ({says})")


def test_what_had_slowed_the_device_down_before_is_not_held_against_the_run() -> None:
    tired = COOL.model_copy(update={"since_start": ("under-voltage",)})
    assert measured(tired, COOL, tired).noise.reasons == ()


def test_nothing_is_claimed_of_a_device_that_does_not_tell() -> None:
    assert str(Conditions(before=Look(), during=(Look(),), after=Look())) == ""
