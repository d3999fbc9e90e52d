#!/usr/bin/env python3
"""Lays images of a docker-archive out as docker-registry stores them: `registry.py ARCHIVE DIRECTORY NAME...`.

Writing the storage directly needs no client and no push. Only images whose repository ends in NAME are written.
"""
import gzip
import hashlib
import json
import pathlib
import sys
import tarfile


def main():
    archive, root, names = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]) / "docker/registry/v2", sys.argv[3:]

    def blob(data):
        digest = hashlib.sha256(data).hexdigest()
        path = root / "blobs/sha256" / digest[:2] / digest / "data"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        return digest

    def link(path, digest):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("sha256:" + digest)

    with tarfile.open(archive) as tar:
        read = lambda name: tar.extractfile(name).read()
        for image in json.loads(read("manifest.json")):
            for ref in image["RepoTags"]:
                repository, tag = ref.split("/", 1)[1].rsplit(":", 1)
                if repository.rsplit("/", 1)[-1] not in names:
                    continue
                repo = root / "repositories" / repository
                describe = lambda kind, data: {"mediaType": kind, "size": len(data), "digest": "sha256:" + blob(data)}
                config = describe("application/vnd.docker.container.image.v1+json", read(image["Config"]))
                layers = [describe("application/vnd.docker.image.rootfs.diff.tar.gzip", gzip.compress(read(x), 1, mtime=0))
                          for x in image["Layers"]]
                kind = "application/vnd.docker.distribution.manifest.v2+json"
                manifest = blob(json.dumps({"schemaVersion": 2, "mediaType": kind, "config": config, "layers": layers}).encode())
                for d in [config, *layers]:
                    digest = d["digest"].split(":")[1]
                    link(repo / "_layers/sha256" / digest / "link", digest)
                link(repo / "_manifests/revisions/sha256" / manifest / "link", manifest)
                link(repo / "_manifests/tags" / tag / "current/link", manifest)
                link(repo / "_manifests/tags" / tag / "index/sha256" / manifest / "link", manifest)


if __name__ == "__main__":
    main()
