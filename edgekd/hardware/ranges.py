"""What was measured, as ranges: beyond them a prediction would be a guess, and forests guess the nearest leaf."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgekd.hardware.kernels import Kernel, Kind

Range = tuple[int, int]  # the least and the largest that was measured
SIZES = ("rows", "columns", "channels_in", "channels")


@dataclass(frozen=True)
class Ranges:
    sizes: Mapping[tuple[Kind, str], Range]
    steps: frozenset[tuple[Kind, int, int, bool]]  # kind, kernel, stride, and whether it adds: these do not vary freely
    nets: Mapping[str, Range]

    def why_not(self, net: Sequence[Kernel]) -> str | None:
        """What of this net was not measured, or None."""
        for kernel in net:
            if why := self._why_not(kernel):
                return why
        for name, value in _of_net(net).items():
            if why := _outside(value, self.nets[name], f"{value:,} {name}"):
                return why
        return None

    def _why_not(self, kernel: Kernel) -> str | None:
        if _step(kernel) not in self.steps:
            adds = " that adds" if kernel.adds and kernel.kind != "add" else ""
            return (
                f"a {kernel.kind} kernel{adds} of {kernel.kernel} x {kernel.kernel}, stride {kernel.stride}: none was"
            )
        for name in SIZES:
            value = getattr(kernel, name)
            if why := _outside(value, self.sizes[kernel.kind, name], f"a {kernel.kind} kernel of {value} {name}"):
                return why
        return None


def ranges_of(nets: Iterable[Sequence[Kernel]]) -> Ranges:
    nets = list(nets)
    every = [kernel for net in nets for kernel in net]
    values: dict[tuple[Kind, str], list[int]] = {}
    for kernel in every:
        for name in SIZES:
            values.setdefault((kernel.kind, name), []).append(getattr(kernel, name))
    totals = [_of_net(net) for net in nets]
    return Ranges(
        sizes={key: (min(found), max(found)) for key, found in values.items()},
        steps=frozenset(map(_step, every)),
        nets={name: (min(t[name] for t in totals), max(t[name] for t in totals)) for name in totals[0]},
    )


def _step(kernel: Kernel) -> tuple[Kind, int, int, bool]:
    return kernel.kind, kernel.kernel, kernel.stride, kernel.adds


def _of_net(net: Sequence[Kernel]) -> dict[str, int]:
    return {"multiplications": sum(kernel.macs for kernel in net), "kernels": len(net)}


def _outside(value: int, measured: Range, what: str) -> str | None:
    low, high = measured
    return None if low <= value <= high else f"{what}: measured were {low:,} to {high:,}"
