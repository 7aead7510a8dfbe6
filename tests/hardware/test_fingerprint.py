"""What a CPU's flags decide: the dialect of its integer kernels."""

from __future__ import annotations

import pytest

from edgekd.hardware.dialect import DialectSpec
from edgekd.hardware.fingerprint import parse_cpuinfo

ZEN3 = "cpu family\t: 25\nmodel\t\t: 1\nmodel name\t: AMD EPYC\nstepping\t: 1\nflags\t\t: fpu sse avx avx2 vaes\n"
ICELAKE = "model name\t: Intel(R) Xeon(R)\nflags\t\t: avx2 avx512f avx512_vnni\n"
PI5 = "processor\t: 0\nFeatures\t: fp asimd asimddp\nCPU part\t: 0xd0b\n"


@pytest.mark.parametrize(
    ("text", "machine", "isa", "reduced"),
    [
        (ZEN3, "x86_64", ("avx2",), True),
        (ICELAKE, "x86_64", ("avx2", "avx512f", "avx512_vnni"), False),
        (PI5, "aarch64", ("asimddp",), False),
        ("", "x86_64", (), True),
    ],
)
def test_a_cpu_without_8_bit_dot_products_gets_7_bit_weights(
    text: str, machine: str, isa: tuple[str, ...], reduced: bool
) -> None:
    cpu = parse_cpuinfo(text, machine)
    assert cpu.isa == isa
    assert DialectSpec(activation="uint8-affine").on(cpu).reduced_range is reduced
    assert DialectSpec(activation="uint8-affine", reduced_range=False).on(cpu).reduced_range is False


@pytest.mark.parametrize(
    ("flags", "halves"),
    [("avx2 avx512_bf16 amx_bf16", ("bf16",)), ("fp asimd asimdhp", ("f16",)), ("avx2 avx512f", ())],
)
def test_16_bit_floats_are_offered_where_the_cpu_multiplies_them(flags: str, halves: tuple[str, ...]) -> None:
    assert parse_cpuinfo(f"flags\t\t: {flags}\n", "any").halves == halves


def test_two_models_of_one_name_are_two_cpus() -> None:
    assert parse_cpuinfo(ZEN3, "x86_64") != parse_cpuinfo(ZEN3.replace(": 1\n", ": 17\n"), "x86_64")
