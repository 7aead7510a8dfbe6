"""Spaces of students, as settings: named axes of choices, and the shape that a point on them is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import product
from math import ceil
from pathlib import Path
from typing import Annotated, Any, Literal, Protocol

from pydantic import Field, model_validator

from edgekd.engine.code import member, run_file
from edgekd.engine.digest import digest_named
from edgekd.errors import ConfigError
from edgekd.models.shape import BlockKind, NetShape, shape_of
from edgekd.settings import Settings, read_yaml, validate

Width = Annotated[int, Field(ge=1)]
Stride = Annotated[int, Field(ge=1, le=4)]
Kernel = Annotated[int, Field(ge=1, le=8)]
Choice = int | float | str
Axes = Mapping[str, tuple[Choice, ...]]
Point = Mapping[str, Choice]


class Space(Protocol):
    """What a search needs to know: every axis with its choices, and the net of a point that has one of each."""

    def axes(self) -> Axes: ...

    def shape(self, point: Point) -> NetShape: ...


class ResidualCnnSpace(Settings):
    """
    CNNs of stages, each of which halves the image, the first one where it is said to: every layer's width in steps,
    depth, kernel, stem.

    Stages never narrow. `kinds` may be had stage by stage: `skip` is a plain convolution and then skip blocks,
    `encoder` a plain one where the width or the size changes, and then as many blocks with attention.
    """

    name: Literal["residual-cnn"] = "residual-cnn"
    stem_widths: tuple[Width, ...] = Field(default=(8, 16, 24), min_length=1)
    stem_strides: tuple[Stride, ...] = Field(default=(1, 2), min_length=1)
    stem_kernels: tuple[Kernel, ...] = Field(default=(3,), min_length=1)  # those that a stride needs: see `stems`
    first_strides: tuple[Literal[1, 2], ...] = Field(default=(1,), min_length=1)  # of the first stage
    stages: tuple[Width, ...] = Field(default=(2, 3), min_length=1)
    blocks: tuple[Width, ...] = Field(default=(1, 2), min_length=1)  # of a stage
    kinds: tuple[BlockKind, ...] = Field(default=("residual",), min_length=1)  # of a stage
    kernels: tuple[Literal[3, 5, 7], ...] = Field(default=(3,), min_length=1)  # of a stage
    inner: tuple[float, ...] = Field(default=(0.5, 0.75, 1.0), min_length=1)  # of a residual block's width
    expand: tuple[Width, ...] = Field(default=(3, 6), min_length=1)  # inner width of inverted and encoder blocks
    head_width: int = Field(default=32, ge=1)  # channels of one of an encoder's heads
    heads: tuple[float, ...] = Field(default=(1.0,), min_length=1)  # of those that an encoder's width has room for
    width_min: int = Field(default=16, ge=1)
    width_max: int = Field(default=96, ge=1)
    width_step: int = Field(default=8, ge=1)

    @model_validator(mode="after")
    def _has_widths(self) -> ResidualCnnSpace:
        if self.width_max < self.width_min:
            raise ValueError(f"width_max {self.width_max} is below width_min {self.width_min}; raise it")
        if not all(0 < share <= 1 for share in self.heads):
            raise ValueError(f"heads {self.heads}: shares of the heads that a width has room for, above 0 to 1")
        if "encoder" in self.kinds and (self.width_min % self.head_width or self.width_step % self.head_width):
            raise ValueError(
                f"width_min {self.width_min} and width_step {self.width_step} are no multiples of head_width "
                f"{self.head_width}, and encoders have whole heads; change one of them"
            )
        if not self.stems:
            raise ValueError(
                f"no stem is left of kernels {self.stem_kernels} and strides {self.stem_strides}: a kernel is not "
                "below its stride, and one of even size needs a stride; add 3"
            )
        return self

    @property
    def stems(self) -> tuple[str, ...]:
        """Kernel and stride together: an even kernel without a stride makes images smaller by a pixel."""
        pairs = product(self.stem_kernels, self.stem_strides)
        return tuple(
            f"{kernel}/{stride}" for kernel, stride in pairs if kernel >= stride and (kernel % 2 or stride > 1)
        )

    def axes(self) -> Axes:
        widths = tuple(range(self.width_min, self.width_max + 1, self.width_step))
        found: dict[str, tuple[Choice, ...]] = {
            "stem_width": self.stem_widths, "stem": self.stems, "stages": self.stages,
        }  # fmt: skip
        if len(self.first_strides) > 1:
            found["first_stride"] = self.first_strides
        for stage in range(max(self.stages)):
            found |= {f"stage{stage}.width": widths, f"stage{stage}.blocks": self.blocks}
            found |= {f"stage{stage}.kind": self.kinds, f"stage{stage}.kernel": self.kernels}
            if "residual" in self.kinds:
                found |= {f"stage{stage}.inner{block}": self.inner for block in range(max(self.blocks))}
            if {"inverted", "encoder"} & set(self.kinds):
                found[f"stage{stage}.expand"] = self.expand
            if "encoder" in self.kinds and self.heads != (1.0,):
                found[f"stage{stage}.heads"] = self.heads
        return found

    def shape(self, point: Point) -> NetShape:
        kernel, stride = str(point["stem"]).split("/")
        widths = sorted(int(point[f"stage{stage}.width"]) for stage in range(int(point["stages"])))
        before, rows = int(point["stem_width"]), []
        for stage, width in enumerate(widths):
            for row in self._stage(point, stage, before, width):
                rows.append(row)
                before = width
        return NetShape.model_validate(
            {"stem_width": point["stem_width"], "stem_stride": int(stride), "stem_kernel": int(kernel)}
            | {name: tuple(row[name] for row in rows) for name in ("widths", "strides", "kinds", "kernels")}
            | (self._heads(rows) if any(row["kinds"] == "encoder" for row in rows) else {})
        )

    def _heads(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Not said where every encoder has as many as its width has room for: one shape is written in one way."""
        heads = tuple(row.get("heads", 0) for row in rows)
        every = tuple(row["widths"][1] // self.head_width if row["kinds"] == "encoder" else 0 for row in rows)
        return {"head_width": self.head_width} | ({"heads": heads} if heads != every else {})

    def _stage(self, point: Point, stage: int, before: int, width: int) -> Iterator[dict[str, Any]]:
        kind, kernel = point[f"stage{stage}.kind"], point[f"stage{stage}.kernel"]
        first = 2 if stage else int(point.get("first_stride", self.first_strides[0]))
        if kind == "encoder" and (first > 1 or before != width):
            yield {"widths": (width, width), "strides": first, "kinds": "plain", "kernels": 3}
            before, first = width, 1
        for block in range(int(point[f"stage{stage}.blocks"])):
            stride = 1 if block else first
            inner, own = width, kind
            if kind in ("inverted", "encoder"):
                inner = before * int(point[f"stage{stage}.expand"])
            elif kind == "residual":
                inner = self._rounded(width * float(point[f"stage{stage}.inner{block}"]), width)
            elif kind == "skip" and (stride > 1 or before != width):
                own = "plain"
            row = {"widths": (inner, width), "strides": stride, "kinds": own, "kernels": kernel}
            if kind == "encoder":
                share = float(point.get(f"stage{stage}.heads", self.heads[0]))
                row["heads"] = max(1, round(share * width / self.head_width))
            yield row
            before = width

    def _rounded(self, width: float, at_most: int) -> int:
        """To a step, as device kernels like it; never below the narrowest, nor above what it is inside of."""
        step = self.width_step
        return min(max(self.width_min, step * ceil(width / step)), at_most)


class PlainCnnSpace(ResidualCnnSpace):
    """Plain convolutions, with and without an addition: what NPUs and wide kernels run best."""

    name: Literal["plain-cnn"] = "plain-cnn"  # type: ignore[assignment]
    stem_strides: tuple[int, ...] = (1, 2)
    stem_kernels: tuple[int, ...] = (3, 4)
    kinds: tuple[BlockKind, ...] = ("plain", "skip")
    blocks: tuple[int, ...] = (1, 2, 3)
    width_max: int = Field(default=128, ge=1)


class MobileCnnSpace(ResidualCnnSpace):
    """Inverted residuals: few parameters and multiplications, many operators."""

    name: Literal["mobile-cnn"] = "mobile-cnn"  # type: ignore[assignment]
    kinds: tuple[BlockKind, ...] = ("inverted",)
    kernels: tuple[Literal[3, 5, 7], ...] = (3, 5)
    blocks: tuple[int, ...] = (1, 2, 3)


class VitSpace(ResidualCnnSpace):
    """Small vision transformers: patches, and stages of encoders, between which a convolution halves the image."""

    name: Literal["vit"] = "vit"  # type: ignore[assignment]
    stem_widths: tuple[Width, ...] = (32, 64)
    stem_strides: tuple[Stride, ...] = (2, 4)
    stem_kernels: tuple[Kernel, ...] = (4, 6)
    stages: tuple[Width, ...] = (1, 2)
    blocks: tuple[Width, ...] = (1, 2, 3, 4)
    kinds: tuple[BlockKind, ...] = ("encoder",)
    expand: tuple[Width, ...] = (1, 2, 4)
    width_min: int = Field(default=32, ge=1)
    width_max: int = Field(default=192, ge=1)
    width_step: int = Field(default=32, ge=1)


class TeacherBlocksSpace(Settings):
    """
    Parts of the teacher: some of each stage's blocks, a share of all widths. With `distill.start: teacher` students
    start from its weights.

    Teacher-free truncation, [235]: a subset of layers, taken as they are.
    """

    name: Literal["teacher-blocks"] = "teacher-blocks"
    widths: tuple[float, ...] = Field(default=(0.5, 0.75, 1.0), min_length=1)  # of the teacher's
    width_step: int = Field(default=8, ge=1)
    teacher: NetShape | None = None  # the pipeline's own, where it is a net of edgekd's

    def axes(self) -> Axes:
        found: dict[str, tuple[Choice, ...]] = {"width": self.widths}
        for stage, blocks in enumerate(self._stages()):
            found[f"stage{stage}.blocks"] = tuple(range(1, len(blocks) + 1))
        return found

    def shape(self, point: Point) -> NetShape:
        teacher, share = self._given(), float(point["width"])
        kept: list[int] = []
        for stage, blocks in enumerate(self._stages()):
            count = int(point[f"stage{stage}.blocks"])
            kept += [blocks[round(spot * (len(blocks) - 1) / max(count - 1, 1))] for spot in range(count)]
        rows: dict[str, Any] = {
            "widths": tuple(tuple(self._part(width, share) for width in teacher.widths[block]) for block in kept),
            "strides": tuple(teacher.strides[block] for block in kept),
            "kernels": tuple(teacher.blocks[block].kernel for block in kept),
        }
        stem = {name: getattr(teacher, name) for name in ("stem_stride", "stem_kernel")}
        return NetShape(stem_width=self._part(teacher.stem_width, share), **stem, **rows)

    def _part(self, width: int, share: float) -> int:
        step = self.width_step
        return width if share == 1 else min(width, max(step, step * round(width * share / step)))

    def _given(self) -> NetShape:
        if self.teacher is None or any(block.kind != "residual" for block in self.teacher.blocks):
            raise ConfigError(
                "search.space: teacher-blocks: the teacher is no net of edgekd's residual blocks, which students "
                "could be parts of; take residual-cnn"
            )
        return self.teacher

    def _stages(self) -> list[list[int]]:
        found: list[list[int]] = [[]]
        for number, stride in enumerate(self._given().strides):
            if number and stride > 1:
                found.append([])
            found[-1].append(number)
        return found


class CodeSpace(Settings):
    """
    A space from the person's own Python file, with `--allow-code`.

    It has two functions: `axes()`, a dict of names to choices, and `shape(point)`, a dict of what NetShape takes.
    """

    name: Literal["code"] = "code"
    path: str
    digest: str | None = None

    def pinned(self) -> CodeSpace:
        return self.model_copy(update={"digest": digest_named(self.path, "search.space.path")})

    def axes(self) -> Axes:
        return {str(name): tuple(choices) for name, choices in self._function("axes")().items()}

    def shape(self, point: Point) -> NetShape:
        return shape_of(self._function("shape")(dict(point)))

    def _function(self, name: str) -> Any:
        return member(run_file(Path(self.path), self.digest), name, "search.space")


AnySpace = Annotated[
    ResidualCnnSpace | PlainCnnSpace | MobileCnnSpace | VitSpace | TeacherBlocksSpace | CodeSpace,
    Field(discriminator="name"),
]


NAMED: dict[str, Space] = {
    space.name: space for space in (ResidualCnnSpace(), PlainCnnSpace(), MobileCnnSpace(), VitSpace())
}


def read_space(name: str) -> Space:
    """One by its name as it ships, or a person's own by a path that ends in .yaml."""
    if name in NAMED:
        return NAMED[name]
    path = Path(name)
    if path.suffix not in (".yaml", ".yml"):
        raise ConfigError(f"space {name}: no such space; there are {', '.join(NAMED)}, or give a .yaml of one")
    if not path.is_file():
        raise ConfigError(f"{path}: no such file")
    return validate(_OneSpace, {"space": read_yaml(path.read_text("utf-8"), name)}, name).space


class _OneSpace(Settings):
    """Of those that stand for themselves: without a teacher, and without code."""

    space: Annotated[ResidualCnnSpace | PlainCnnSpace | MobileCnnSpace | VitSpace, Field(discriminator="name")]


def for_teacher(space: AnySpace, teacher: NetShape | None) -> AnySpace:
    """The space with what it takes from the pipeline's teacher."""
    if isinstance(space, TeacherBlocksSpace) and space.teacher is None:
        return space.model_copy(update={"teacher": teacher})
    return space
