"""`python -m deploy.image`: build the image as an archive, from a wheel that is there."""

from __future__ import annotations

import argparse
import os
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
        with tempfile.TemporaryDirectory(prefix="kube-gateway-image-") as temporary:
            image = _build(options, options.directories or Path(temporary))
    except BuildError as error:
        sys.stderr.write(f"error: {error}\nhint: {error.hint}\n")
        return 1
    _tell(image, options)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="deploy.image", description=__doc__)
    name = os.environ.get("IMAGE") or f"ghcr.io/kube-gateway/kube-gateway:{source.version(ROOT)}"
    parser.add_argument("--name", default=name, help="the name with its tag [IMAGE, %(default)s]")
    parser.add_argument("--output", type=Path, default=ROOT / "out/image/kube-gateway.tar", help="[%(default)s]")
    parser.add_argument("--wheel", type=Path, help="the product, instead of the one wheel in dist/")
    parser.add_argument("--revision", default=source.revision(ROOT), help="the commit it is built from [%(default)s]")
    parser.add_argument("--cache", type=Path, default=ROOT / ".cache/image", help="where Debian's packages are kept")
    parser.add_argument("--directories", type=Path, help="leave the directories of the layers here")
    return parser


def _build(options: argparse.Namespace, trees: Path) -> Image:
    architecture = run(["dpkg", "--print-architecture"], hint="the image is built on Debian 12").strip()
    _make_trees(options, trees, architecture)
    with ThreadPoolExecutor() as pool:  # compressing is done outside of the interpreter's lock
        layers = list(pool.map(lambda name: pack(trees / name), LAYERS))
    labels = source.labels(ROOT, options.revision)
    image = make_image(layers, architecture=architecture, created=source.time(ROOT), labels=labels)
    write_archive(image, options.name, options.output)
    return image


def _make_trees(options: argparse.Namespace, trees: Path, architecture: str) -> None:
    base, dependencies, product = (trees / name for name in LAYERS)
    for tree in (base, dependencies, product):
        if tree.exists():
            raise BuildError(f"{tree} is there already", hint="remove it, or name another directory")
        tree.mkdir(parents=True)
    make_skeleton(base)
    for package in debian.fetch(options.cache):
        debian.extract(package, base)
    byte_compile(base, base, "usr/lib/python3.11", keep_source=False)
    make_dependencies(ROOT, base, dependencies, architecture)
    make_product(options.wheel or only_wheel(ROOT / "dist"), base, product)


def _tell(image: Image, options: argparse.Namespace) -> None:
    sizes = {layer.name: (len(layer.blob), layer.content_size) for layer in image.layers}
    compressed, unpacked = zip(*sizes.values(), strict=True)
    for name, size in {**sizes, "together": (sum(compressed), sum(unpacked))}.items():
        sys.stdout.write(f"{name:<13}{size[0] / 1e6:5.1f} MB compressed {size[1] / 1e6:6.1f} MB unpacked\n")
    sys.stdout.write(f"{options.name}\n{image.digest}\n{options.output}\n")


if __name__ == "__main__":
    sys.exit(main())
