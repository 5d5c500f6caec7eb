"""What the wheel in `dist` installs: two packages, a command, licences. Run by `scripts/run wheel`."""

import re
import shutil
import tarfile
import zipfile
from pathlib import Path

(wheel,) = Path("dist").glob("robot_room-*.whl")
with zipfile.ZipFile(wheel) as archive:
    names = set(archive.namelist())

    def of_wheel(name):
        return archive.read(next(n for n in names if n.endswith(f".dist-info/{name}"))).decode()

    metadata, commands = of_wheel("METADATA"), of_wheel("entry_points.txt")
packages = {name.split("/")[0] for name in names if ".dist-info/" not in name}
assert packages == {"robot_room", "agent"}, packages
assert {"robot_room/py.typed", "agent/py.typed", "robot_room/app/command_line.py"} <= names
compiled = any(name.endswith(("_kernels.abi3.so", "_kernels.pyd")) for name in names)
assert compiled == (shutil.which("cc") is not None), names
fonts = {"Inter-Regular.otf", "Inter-SemiBold.otf", "OFL.txt"}  # its licence must be beside a font
assert {f"robot_room/fonts/{name}" for name in fonts} <= names
assert "robot_room/app/watching/page.html" in names
assert any(name.endswith("licenses/LICENSE") for name in names)
assert any(name.endswith("licenses/robot_room/fonts/OFL.txt") for name in names)
assert "License-Expression: MIT AND OFL-1.1" in metadata
OURS = (
    "agent/pretrained/",
    "robot_room/app/figures.mplstyle",
    "robot_room/app/watching/page.html",
    "robot_room/_kernels",
)  # MIT, as the code
assets = {n for n in names if ".dist-info/" not in n and not n.endswith((".py", "/py.typed"))}
assert all(name.startswith((*OURS, "robot_room/fonts/")) for name in assets), assets
assert any(name.endswith("/model.safetensors") for name in assets)
assert wheel.stat().st_size < 20e6
assert "robot-room = robot_room.app.command_line:main" in commands, commands
base = [line.split(": ")[1] for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]
base = sorted(r.split("<")[0].split(">")[0] for r in base if "extra ==" not in r)
assert base == ["gymnasium", "numpy", "pygame"], base
if "Project-URL: Repository" in metadata:  # else the address is not known, as in a plain clone
    relative = re.findall(r"\]\((?!https?:|#)([^)]+)\)", metadata)
    assert not relative, relative
(sdist,) = Path("dist").glob("robot_room-*.tar.gz")
with tarfile.open(sdist) as archive:
    held = {name.partition("/")[2] for name in archive.getnames()}
assert {
    "README.md",
    "LICENSE",
    "hatch_build.py",
    "robot_room/_kernels.c",
    "robot_room/fonts/OFL.txt",
} <= held
assert not any(name.startswith("benchmarks/results/") for name in held)
print(f"{wheel.name}: {len(names)} files, base dependencies {base}")
