"""Layers as an image, and the image as one archive that containerd and Docker both load.

The archive is an OCI layout with Docker's manifest.json beside its index.json, as `docker save` writes it today. containerd
and skopeo read the one, Docker and kind the other, and both name the same blobs.
"""

from __future__ import annotations

import datetime
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from deploy.image.errors import BuildError
from deploy.image.layer import TIME, Layer, digest

_MEDIA = "application/vnd.oci.image"
ENTRYPOINT = ("/usr/local/bin/kube-gateway",)
ENVIRONMENT = {
    "PATH": "/usr/local/bin:/usr/bin",
    "LANG": "C.UTF-8",
    "PYTHONDONTWRITEBYTECODE": "1",
    "PYTHONUNBUFFERED": "1",
}


@dataclass(frozen=True)
class Image:
    """An image without a name: its layers, and the two documents that describe them."""

    layers: tuple[Layer, ...]
    platform: Mapping[str, str]
    config: bytes
    manifest: bytes

    @property
    def digest(self) -> str:
        """What a registry will call the image."""
        return digest(self.manifest)


def make_image(
    layers: Sequence[Layer], *, architecture: str, created: datetime.datetime, labels: Mapping[str, str]
) -> Image:
    """Describe an image. The same arguments give the same digest."""
    platform = {"architecture": architecture, "os": "linux"}
    time = created.strftime("%Y-%m-%dT%H:%M:%SZ")
    config = _json(
        {
            "created": time,
            **platform,
            "config": {
                "User": "0",
                "Env": [f"{name}={value}" for name, value in ENVIRONMENT.items()],
                "Entrypoint": ENTRYPOINT,
                "WorkingDir": "/",
                "Labels": dict(sorted(labels.items())),
            },
            "rootfs": {"type": "layers", "diff_ids": [layer.content_digest for layer in layers]},
            "history": [{"created": time, "created_by": layer.name} for layer in layers],
        }
    )
    manifest = _json(
        {
            "schemaVersion": 2,
            "mediaType": f"{_MEDIA}.manifest.v1+json",
            "config": _descriptor("config.v1+json", config),
            "layers": [_descriptor("layer.v1.tar+gzip", layer.blob) for layer in layers],
        }
    )
    return Image(tuple(layers), platform, config, manifest)


def write_archive(image: Image, name: str, target: Path) -> None:
    """Write the archive from which loaders know the image as `name`, which ends in a tag."""
    tag = name.rpartition("/")[2].partition(":")[2]
    if not tag:
        raise BuildError(f"{name} has no tag", hint=f"call it {name}:TAG")
    blobs = [image.config, image.manifest, *(layer.blob for layer in image.layers)]
    files = {_path(digest(blob)): blob for blob in blobs}
    files["oci-layout"] = _json({"imageLayoutVersion": "1.0.0"})
    listed = _descriptor("manifest.v1+json", image.manifest) | {
        "platform": image.platform,
        "annotations": {"io.containerd.image.name": name, "org.opencontainers.image.ref.name": tag},
    }
    files["index.json"] = _json({"schemaVersion": 2, "mediaType": f"{_MEDIA}.index.v1+json", "manifests": [listed]})
    docker = {
        "Config": _path(digest(image.config)),
        "RepoTags": [name],
        "Layers": [_path(layer.digest) for layer in image.layers],
    }
    files["manifest.json"] = _json([docker])
    target.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(target, "w", format=tarfile.PAX_FORMAT) as archive:
        for path, content in sorted(files.items()):
            entry = tarfile.TarInfo(path)
            entry.size, entry.mtime = len(content), TIME
            archive.addfile(entry, io.BytesIO(content))


def _descriptor(kind: str, content: bytes) -> dict[str, object]:
    return {"mediaType": f"{_MEDIA}.{kind}", "digest": digest(content), "size": len(content)}


def _path(named: str) -> str:
    return f"blobs/{named.replace(':', '/')}"


def _json(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()
