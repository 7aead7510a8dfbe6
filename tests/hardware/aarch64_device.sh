#!/usr/bin/env bash
# An aarch64 device in emulation, in one command: bash tests/hardware/aarch64_device.sh FOLDER
# Afterwards FOLDER/python3 is an aarch64 Python with numpy and onnxruntime, run by qemu's user mode; nothing is
# registered with the kernel, and no other root is entered. Needs qemu-user-static and debootstrap; root installs them.
set -euo pipefail
top=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:?say in which folder: bash tests/hardware/aarch64_device.sh FOLDER}
mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
root=$folder/root site=$folder/site

if ! command -v qemu-aarch64-static >/dev/null || ! command -v debootstrap >/dev/null; then
  apt-get update -q
  apt-get install -y -q qemu-user-static debootstrap
fi

if [ ! -x "$root/usr/bin/python3.11" ]; then
  # its second stage would run programs of aarch64; unpacked packages are all that is needed
  debootstrap --arch=arm64 --foreign --variant=minbase --include=python3 bookworm "$root"
  for package in "$root"/var/cache/apt/archives/*.deb; do dpkg-deb -x "$package" "$root"; done
fi

# the host's would make ONNX Runtime believe in another processor; these features are those of -cpu neoverse-n1
mkdir -p "$root/proc"
for core in 0 1; do
  printf 'processor\t: %d\nBogoMIPS\t: 100.00\nFeatures\t: %s\nCPU implementer\t: 0x41\nCPU architecture: 8\n' "$core" \
    "fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp ssbs"
  printf 'CPU variant\t: 0x4\nCPU part\t: 0xd0c\nCPU revision\t: 1\n\n'
done >"$root/proc/cpuinfo"

wheels=$folder/wheels
python3 -m pip download -q --no-deps -d "$wheels" -c "$top/constraints.txt" --python-version 3.11 --only-binary=:all: \
  --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 --platform manylinux2014_aarch64 \
  onnxruntime numpy flatbuffers protobuf packaging
rm -rf "$site"
for wheel in "$wheels"/*.whl; do python3 -m zipfile -e "$wheel" "$site"; done

cat >"$folder/python3" <<END
#!/bin/sh
exec qemu-aarch64-static -cpu neoverse-n1 -L "$root" -E PYTHONHOME="$root/usr" -E PYTHONPATH="$site" \\
  -E OMP_NUM_THREADS=1 "$root/usr/bin/python3.11" "\$@"
END
chmod 755 "$folder/python3"
"$folder/python3" -c 'import platform, onnxruntime; print(platform.machine(), onnxruntime.__version__)'
