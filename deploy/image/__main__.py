"""`python -m deploy.image`: build the image as an archive, or only the directories of its layers for a Dockerfile."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from deploy.image import debian, source
from deploy.image.errors import BuildError, run
from deploy.image.layer import pack
from deploy.image.oci import Image, make_image, write_archive
from deploy.image.product import make_dependencies, make_product, only_wheel
from deploy.image.python import byte_compile
from deploy.image.skeleton import make_skeleton

ROOT = Path(__file__).resolve().parents[2]
LAYERS = ("debian", "dependencies", "product")


def main() -> int:
    """Build, and say what was built."""
    options = _parser().parse_args()
    try:
        _build(options)
    except BuildError as error:
        sys.stderr.write(f"error: {error}\nhint: {error.hint}\n")
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deploy.image", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "out/image", help="where the archive goes")
    parser.add_argument("--wheel", type=Path, help="the product, instead of the one wheel in dist/")
    default = os.environ.get("IMAGE") or "ghcr.io/kube-gateway/kube-gateway"
    parser.add_argument("--name", default=default, help="the name without tag [IMAGE, %(default)s]")
    parser.add_argument("--tag", default=source.version(ROOT), help="[%(default)s]")
    parser.add_argument("--revision", default=source.revision(ROOT), help="the commit it is built from [%(default)s]")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache/image", help="where packages are kept")
    parser.add_argument("--refresh", action="store_true", help="ask the mirror for newer packages first")
    parser.add_argument("--directories", type=Path, help="write the layers as directories, and no archive")
    return parser


def _build(options: argparse.Namespace) -> None:
    if options.directories and options.directories.exists():
        raise BuildError(f"{options.directories} is there already", hint="remove it, or name another directory")
    time = source.time(ROOT)
    architecture = run(["dpkg", "--print-architecture"], hint="the image is built on Debian 12").strip()
    with tempfile.TemporaryDirectory(prefix="kube-gateway-image-") as directory:
        trees = Path(directory)
        packages = _make_trees(options, trees, architecture)
        if options.directories:
            shutil.copytree(trees, options.directories, symlinks=True, ignore=shutil.ignore_patterns("*.requirements"))
            return
        with ThreadPoolExecutor() as pool:  # to compress takes longest, and is done outside of the interpreter's lock
            layers = list(pool.map(lambda name: pack(name, trees / name, time), LAYERS))
    image = make_image(layers, architecture, time, source.labels(ROOT, options.revision))
    target = options.output / f"kube-gateway-{options.tag}-{architecture}.tar"
    write_archive(image, options.name, options.tag, architecture, time, target)
    facts = _facts(image, f"{options.name}:{options.tag}", packages)
    target.with_suffix(".json").write_text(json.dumps(facts, indent=2) + "\n")
    _tell(image, f"{options.name}:{options.tag}", target)


def _make_trees(options: argparse.Namespace, trees: Path, architecture: str) -> list[debian.Package]:
    base, dependencies, product = (trees / name for name in LAYERS)
    for tree in (base, dependencies, product):
        tree.mkdir()
    make_skeleton(base)
    packages = debian.fetch(options.cache, refresh=options.refresh)
    for _, file in packages:
        debian.extract(file, base)
    byte_compile(base, base, "usr/lib/python3.11", keep_source=False)
    make_dependencies(ROOT, base, dependencies, architecture)
    make_product(options.wheel or only_wheel(ROOT / "dist"), base, product)
    return [package for package, _ in packages]


def _facts(image: Image, name: str, packages: list[debian.Package]) -> dict[str, object]:
    return {
        "name": name,
        "digest": image.digest,
        "layers": [
            {"name": layer.name, "digest": layer.digest, "compressed": len(layer.blob), "size": layer.content_size}
            for layer in image.layers
        ],
        "packages": {package.name: package.version for package in packages},
    }


def _tell(image: Image, name: str, target: Path) -> None:
    for layer in image.layers:
        size, compressed = layer.content_size / 1e6, len(layer.blob) / 1e6
        sys.stdout.write(f"{layer.name:<14}{compressed:6.1f} MB compressed {size:6.1f} MB\n")
    sys.stdout.write(f"{name}\n{image.digest}\n{target}\n")


if __name__ == "__main__":
    sys.exit(main())
