#!/usr/bin/env python3
"""A registry to pull from, made of a docker-archive: `registry.py ARCHIVE ADDRESS:PORT NAME...`.

Serves images whose repository ends in NAME, read-only, straight from the archive: layers go out as they lie there, uncompressed,
so that their digests are the ones in the image's configuration.
"""
import hashlib
import http.server
import json
import re
import shutil
import sys
import tarfile

MANIFEST = "application/vnd.oci.image.manifest.v1+json"


class Images:
    """Manifests by repository and tag or digest; blobs by digest, as bytes or as the name of a file in the archive."""

    def __init__(self, archive, names):
        self.archive, self.manifests, self.blobs = archive, {}, {}
        with tarfile.open(archive) as tar:
            for image in json.load(tar.extractfile("manifest.json")):
                for ref in image["RepoTags"]:
                    repository, tag = ref.split("/", 1)[1].rsplit(":", 1)
                    if repository.rsplit("/", 1)[-1] in names:
                        self.add(tar, image, repository, tag)

    def add(self, tar, image, repository, tag):
        config = tar.extractfile(image["Config"]).read()
        layers = []
        for digest, name in zip(json.loads(config)["rootfs"]["diff_ids"], image["Layers"]):
            self.blobs[digest] = tar.getmember(name)
            layers.append({"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": digest, "size": self.blobs[digest].size})
        described = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": self.keep(config), "size": len(config)}
        manifest = json.dumps({"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": layers}).encode()
        for reference in (tag, self.keep(manifest)):
            self.manifests[repository, reference] = manifest

    def keep(self, data):
        digest = "sha256:" + hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self, body=True):
        # A mirror is told by `ns` whom it stands in for.
        path = self.path.split("?")[0]
        if path in ("/v2", "/v2/"):
            return self.answer(b"{}", "application/json", body)
        found = re.fullmatch(r"/v2/(.+)/(manifests|blobs)/([^/]+)", path)
        images = self.server.images
        if found and found[2] == "manifests" and (found[1], found[3]) in images.manifests:
            return self.answer(images.manifests[found[1], found[3]], MANIFEST, body)
        if found and found[2] == "blobs" and found[3] in images.blobs:
            return self.answer(images.blobs[found[3]], "application/octet-stream", body)
        return self.answer(b'{"errors":[{"code":"NAME_UNKNOWN"}]}', "application/json", body, 404)

    def do_HEAD(self):
        self.do_GET(body=False)

    def answer(self, content, kind, body, code=200):
        in_archive = isinstance(content, tarfile.TarInfo)
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(content.size if in_archive else len(content)))
        if kind == MANIFEST:
            self.send_header("Docker-Content-Digest", "sha256:" + hashlib.sha256(content).hexdigest())
        self.end_headers()
        if body and in_archive:
            with tarfile.open(self.server.images.archive) as tar:
                shutil.copyfileobj(tar.extractfile(content), self.wfile)
        elif body:
            self.wfile.write(content)


def main():
    address, port = sys.argv[2].rsplit(":", 1)
    server = http.server.ThreadingHTTPServer((address, int(port)), Handler)
    server.images = Images(sys.argv[1], sys.argv[3:])
    server.serve_forever()


if __name__ == "__main__":
    main()
