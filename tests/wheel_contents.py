"""What the wheel in `dist` installs: two packages, one command. Run by `scripts/run wheel`."""

import shutil
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
assert not any(name.endswith(".json") for name in names)  # raw results stay in the repository
assert any(name.endswith("licenses/LICENSE") for name in names)
assert "robot-room = robot_room.app.command_line:main" in commands, commands
base = [line.split(": ")[1] for line in metadata.splitlines() if line.startswith("Requires-Dist: ")]
base = sorted(r.split("<")[0].split(">")[0] for r in base if "extra ==" not in r)
assert base == ["gymnasium", "numpy", "pygame"], base
print(f"{wheel.name}: {len(names)} files, base dependencies {base}")
