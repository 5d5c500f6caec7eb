"""What a build adds: the compiled inner loops, if there is a compiler, and absolute addresses.

The extension uses Python's stable interface, so one wheel serves every Python from 3.11 on. Where it
cannot be compiled, the wheel has no binary and the environment uses numpy, with the same results.
"""

import os
import re
import sys
import sysconfig
import tomllib
import warnings
import zlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface
from hatchling.metadata.plugin.interface import MetadataHookInterface

FLAGS = {
    # No fused multiply-adds: results must not depend on the machine.
    "posix": ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math"],
    "nt": ["/O2", "/std:c11", "/fp:precise"],
}


class KernelsHook(BuildHookInterface):
    """Build `robot_room/_kernels.c` in place and put it into the wheel."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile; a failure is reported and leaves a build without the extension."""
        from setuptools import Distribution, Extension

        source = (Path(self.root) / "robot_room/_kernels.c").read_bytes()
        extension = Extension(
            "robot_room._kernels",
            ["robot_room/_kernels.c"],
            define_macros=[("SOURCE_CRC", str(zlib.crc32(source) >> 1))],  # as `loops` has it
            extra_compile_args=FLAGS[os.name],
            py_limited_api=True,
        )
        folder = Path(self.root)
        for old in _built(folder):
            old.unlink()
        here = Path.cwd()
        os.chdir(folder)
        try:
            # What an earlier build has left must neither be taken for this one's nor be packed.
            with TemporaryDirectory() as scratch, warnings.catch_warnings():
                warnings.simplefilter("ignore")  # setuptools warns of a setup.py, and there is none
                command: Any = Distribution({"ext_modules": [extension]}).get_command_obj("build_ext")
                command.inplace, command.build_temp, command.build_lib = True, scratch, scratch
                command.ensure_finalized()
                command.run()
            (built,) = _built(folder)
        except Exception as error:  # whatever goes wrong must not stop an installation
            print(f"robot-room: built without compiled loops, numpy is used: {error}", file=sys.stderr)
            return
        finally:
            os.chdir(here)
        build_data["artifacts"].append(f"/{built.relative_to(folder).as_posix()}")
        build_data["pure_python"] = False
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"cp311-abi3-{platform}"


def _built(folder: Path) -> list[Path]:
    """The extensions that lie beside their source."""
    return [*folder.glob("robot_room/_kernels.*so"), *folder.glob("robot_room/_kernels.*pyd")]


class AddressesHook(MetadataHookInterface):
    """Give the package index absolute addresses, also in the README's links and pictures.

    The repository's address is `[tool.robot-room] repository` in pyproject.toml, or where a workflow of
    GitHub runs. While neither is known, the README is left as it is, and there are no addresses.
    """

    def update(self, metadata: dict[str, Any]) -> None:
        """Set `readme` and `urls`."""
        root = Path(self.root)
        text = (root / "README.md").read_text(encoding="utf-8")
        address = repository(root)
        if address:
            text = absolute(text, address, f"v{metadata['version']}")
            metadata["urls"] = {
                "Repository": address,
                "Changelog": f"{address}/blob/main/CHANGELOG.md",
                "Issues": f"{address}/issues",
            }
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def repository(root: Path) -> str:
    """The repository's address without a slash at its end; "" if it is not known."""
    pyproject = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    address = pyproject["tool"]["robot-room"]["repository"]
    if not address and "GITHUB_REPOSITORY" in os.environ:
        server = os.environ.get("GITHUB_SERVER_URL", "https://github.com")
        address = f"{server}/{os.environ['GITHUB_REPOSITORY']}"
    return address.rstrip("/")


def absolute(markdown: str, address: str, tag: str) -> str:
    """Markdown whose relative links and pictures lead to a tag of a repository."""

    def replaced(link: re.Match[str]) -> str:
        picture, label, target = link.groups()
        if re.match(r"[a-z]+:|#", target):
            return link[0]
        return f"{picture}[{label}]({address}/{'raw' if picture else 'blob'}/{tag}/{target})"

    return re.sub(r"(!?)\[([^\]]*)\]\(([^)\s]+)\)", replaced, markdown)
