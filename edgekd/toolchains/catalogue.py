"""What may be installed in a room of its own, with the versions that were tried together."""

from __future__ import annotations

from difflib import get_close_matches

from pydantic import Field

from edgekd.engine.digest import digest_of
from edgekd.errors import ConfigError
from edgekd.settings import Settings


class Toolchain(Settings):
    name: str
    packages: tuple[str, ...] = Field(min_length=1)  # all at once, so that pip sees what does not go together
    alone: tuple[str, ...] = ()  # then these, without their dependencies, whose pins are wrong
    module: str  # that imports where the installation is whole
    purpose: str
    licence: str
    disk_mib: int  # about
    called: bool  # else it can be installed, and edgekd does not use it yet

    @property
    def digest(self) -> str:
        """Of its pins: another set of them is another room."""
        return digest_of(self.model_dump(mode="json", include={"packages", "alone"}))[:12]


CATALOGUE = {
    one.name: one
    for one in (
        Toolchain(
            name="neural-compressor",
            packages=("onnx-neural-compressor==1.0", "numpy==1.26.4", "onnx==1.17.0", "onnxruntime==1.20.1",
                      "prettytable==3.18.0", "scipy==1.17.1"),
            module="onnx_neural_compressor.quantization.config",
            purpose="static QDQ as one more recipe: edgekd export --recipe neural-compressor",
            licence="Apache-2.0", disk_mib=420, called=True,
        ),
        Toolchain(
            name="optimum",
            packages=("optimum-onnx[onnxruntime]==0.1.0", "optimum==2.1.0", "transformers==4.57.6", "torch==2.13.0",
                      "datasets==5.0.1", "huggingface_hub==0.36.2"),
            module="optimum.onnxruntime",
            purpose="Optimum's loader, export and quantiser: a proof that it takes edgekd's bundles, and a peer",
            licence="Apache-2.0", disk_mib=1500, called=True,
        ),
        Toolchain(
            name="rknn",
            packages=("torch==2.13.0", "numpy==1.26.4", "onnx==1.18.0", "onnxruntime==1.22.1", "protobuf==4.25.8",
                      "opencv-python-headless==4.11.0.86", "fast-histogram==0.14", "psutil==7.0.0",
                      "ruamel.yaml==0.18.14", "scipy==1.15.3", "tqdm==4.67.1", "setuptools==79.0.1"),
            alone=("rknn-toolkit2==2.5.0",),
            module="rknn.api",
            purpose="Rockchip NPUs, with their simulator: edgekd build --target rockchip-rk3588",
            licence="RKNN SDK License", disk_mib=1370, called=True,
        ),
        Toolchain(
            name="executorch",
            packages=("executorch==1.5.1", "torch==2.13.0", "ethos-u-vela==5.2.0", "jsonschema==4.26.0",
                      "semver==3.1.1", "ml_dtypes==0.6.0"),
            alone=("tosa-tools==2026.8.0",),
            module="executorch.exir",
            purpose="transformers for Ethos-U",
            licence="BSD-3-Clause", disk_mib=1570, called=False,
        ),
    )
}  # fmt: skip


def toolchain(name: str) -> Toolchain:
    if name in CATALOGUE:
        return CATALOGUE[name]
    close = get_close_matches(name, CATALOGUE, n=1)
    hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(CATALOGUE)}"
    raise ConfigError(f"toolchain: no {name!r}; {hint}")
