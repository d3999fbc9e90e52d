#!/usr/bin/env python3
"""Writes one docker-archive with every image that the conformance tests run. Images share layers; nothing is pulled.

Each tag is an image of its own (with its own configuration), as upstream's are, so that no two names share an image ID.
"""
import argparse
import hashlib
import io
import json
import pathlib
import subprocess
import tarfile

WHEN = "2024-01-01T00:00:00Z"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Applets that would take the place of something that must be Debian's.
NOT_LINKED = {"busybox", "init", "linuxrc", "dpkg", "dpkg-deb", "rpm", "start-stop-daemon", "mount", "umount", "su", "login"}
NGINX = """user www-data;
worker_processes 1;
error_log /dev/stderr notice;
pid /run/nginx.pid;
events { worker_connections 256; }
http {
  include /etc/nginx/mime.types;
  access_log /dev/stdout;
  server { listen 80; server_name localhost; location / { root /usr/share/nginx/html; index index.html; } }
}
"""
WELCOME = "<!DOCTYPE html>\n<html>\n<head>\n<title>Welcome to nginx!</title>\n</head>\n<body>\n<h1>Welcome to nginx!</h1>\n</body>\n</html>\n"
# Upstream's images are made from Alpine and one test asks a volume made of such an image for its name.
OS_RELEASE = 'NAME="Alpine Linux"\nID=alpine\nVERSION_ID=3.0.0\nPRETTY_NAME="Alpine Linux, as rebuilt for the conformance suite"\n'
PASSWD = """root:x:0:0:root:/root:/bin/sh
daemon:x:1:1:daemon:/usr/sbin:/bin/false
www-data:x:33:33:www-data:/var/www:/bin/false
nobody:x:65534:65534:nobody:/home:/bin/false
"""
GROUP = "root:x:0:\ndaemon:x:1:\ntty:x:5:\nwheel:x:10:root\nwww-data:x:33:\nusers:x:100:\nnogroup:x:65534:\n"


class Layer:
    """A layer under construction: an uncompressed tar with fixed times."""

    def __init__(self):
        self.buffer = io.BytesIO()
        self.tar = tarfile.open(fileobj=self.buffer, mode="w", format=tarfile.GNU_FORMAT)

    def add(self, path, kind, mode, uid=0, gid=0, data=b"", target=""):
        info = tarfile.TarInfo(path.lstrip("/"))
        info.type, info.mode, info.uid, info.gid, info.mtime = kind, mode, uid, gid, 1704067200
        info.size, info.linkname = len(data), target
        self.tar.addfile(info, io.BytesIO(data))
        return self

    def dir(self, path, mode=0o755, uid=0, gid=0):
        return self.add(path, tarfile.DIRTYPE, mode, uid, gid)

    def file(self, path, data, mode=0o644):
        return self.add(path, tarfile.REGTYPE, mode, data=data.encode() if isinstance(data, str) else data)

    def copy(self, path, source, mode=0o755):
        return self.file(path, pathlib.Path(source).read_bytes(), mode)

    def link(self, path, target):
        return self.add(path, tarfile.SYMTYPE, 0o777, target=target)

    def bytes(self):
        self.tar.close()
        return self.buffer.getvalue()


class Archive:
    """A docker-archive: blobs by digest, and the images made of them."""

    def __init__(self, names):
        self.names, self.blobs, self.images = names, {}, []

    def blob(self, data):
        digest = hashlib.sha256(data).hexdigest()
        self.blobs[digest] = data
        return digest

    def layer(self, layer):
        return self.blob(layer.bytes())

    def image(self, name, layers, entrypoint=None, cmd=None, user="", ports=()):
        """One image for each tag that the suite knows of `name` (the last part of the repository)."""
        for ref in (n for n in self.names if n.rsplit(":", 1)[0].endswith("/" + name)):
            config = {"Env": [PATH], "WorkingDir": "/", "User": user, "Labels": {"skiff.dev/conformance": ref}}
            if entrypoint:
                config["Entrypoint"] = entrypoint
            if cmd:
                config["Cmd"] = cmd
            if ports:
                config["ExposedPorts"] = {p: {} for p in ports}
            text = json.dumps({
                "architecture": "amd64", "os": "linux", "created": WHEN, "config": config,
                "rootfs": {"type": "layers", "diff_ids": ["sha256:" + x for x in layers]},
                "history": [{"created": WHEN, "created_by": "images.py"} for _ in layers],
            }, sort_keys=True)
            digest = self.blob(text.encode())
            self.images.append({"Config": digest + ".json", "RepoTags": [ref], "Layers": [x + ".tar" for x in layers]})

    def write(self, path):
        part = path.with_suffix(".part")
        with tarfile.open(part, "w", format=tarfile.GNU_FORMAT) as out:
            def put(name, data):
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), 0o644
                out.addfile(info, io.BytesIO(data))

            put("manifest.json", json.dumps(self.images).encode())
            done = set()
            for image in self.images:
                for name in [image["Config"], *image["Layers"]]:
                    if name not in done:
                        done.add(name)
                        put(name, self.blobs[name.split(".")[0]])
        part.rename(path)


def base(archive, img):
    """Debian's userland, and over it busybox for the applets that Alpine has and Debian has not; its shell is /bin/sh, because
    Debian's drops environment variables with odd names."""
    data = (img / "base.tar").read_bytes()
    present, text = set(), {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for m in tar:
            name = "/" + m.name.lstrip("./")
            present.add(name.rsplit("/", 1)[-1] if "/bin/" in name or "/sbin/" in name else "")
            if name in ("/etc/passwd", "/etc/group"):
                text[name] = tar.extractfile(m).read().decode()
    busybox = img / "busybox"
    applets = subprocess.check_output([busybox, "--list"], text=True).split()
    over = Layer().copy("/usr/bin/busybox", busybox).link("/usr/bin/sh", "busybox")
    for a in applets:
        if a not in NOT_LINKED and a not in present:
            over.link("/usr/bin/" + a, "busybox")
    over.file("/etc/nginx/nginx.conf", NGINX).file("/usr/share/nginx/html/index.html", WELCOME).file("/etc/os-release", OS_RELEASE)
    return [archive.blob(data), archive.layer(over)], text, applets


def busybox(archive, img, applets):
    layer = Layer()
    for d in ("bin", "dev", "etc", "home", "lib", "usr", "usr/bin", "usr/sbin", "var", "var/spool", "var/www"):
        layer.dir(d)
    layer.dir("root", 0o700).dir("tmp", 0o1777).copy("/bin/busybox", img / "busybox")
    for a in applets:
        if a != "busybox":
            layer.link("/bin/" + a, "busybox")
    layer.link("/usr/bin/env", "../../bin/env")
    layer.file("/etc/passwd", PASSWD).file("/etc/group", GROUP).file("/etc/shadow", "root:*:19000:0:99999:7:::\n", 0o600)
    return archive.layer(layer)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    for option, what in (("source", "upstream's test/images"), ("bin", "upstream's programs"), ("img", "where archives are made")):
        parser.add_argument("--" + option, type=pathlib.Path, required=True, help=what)
    args = parser.parse_args()
    listed = (args.img / "names.txt").read_text().split()
    archive = Archive(sorted({n for n in listed if ":" in n}))

    debian, text, applets = base(archive, args.img)
    agnhost = Layer().copy("/agnhost", args.bin / "agnhost").link("/agnhost-2", "agnhost").copy("/coredns", args.bin / "coredns")
    for f in ("localhost.crt", "localhost.key"):
        agnhost.copy("/" + f, args.source / "agnhost/porter" / f, 0o644)
    # The user and the supplementary group that tests of fsGroup and supplementalGroupsPolicy expect in the image.
    agnhost.dir("/uploads").dir("/home/user-defined-in-image", 0o755, 1000, 1000)
    agnhost.file("/etc/passwd", text["/etc/passwd"] + "user-defined-in-image:x:1000:1000::/home/user-defined-in-image:/bin/sh\n")
    agnhost.file("/etc/group", text["/etc/group"] + "user-defined-in-image:x:1000:\ngroup-defined-in-image:x:50000:user-defined-in-image\n")
    agnhost = archive.layer(agnhost)
    ports = ("80/tcp", "8080/tcp", "8081/tcp", "9376/tcp", "5000/tcp")
    archive.image("agnhost", [*debian, agnhost], ["/agnhost"], ["pause"], ports=ports)
    for name in ("kitten", "nautilus"):
        pages = Layer()
        for f in sorted((args.source / name / "html").iterdir()):
            pages.copy("/" + f.name, f, 0o644)
        archive.image(name, [*debian, agnhost, archive.layer(pages)], ["/agnhost"], ["test-webserver"])

    archive.image("busybox", [busybox(archive, args.img, applets)], cmd=["sh"])
    archive.image("nginx", debian, cmd=["nginx", "-g", "daemon off;"], ports=("80/tcp",))
    dns = archive.layer(Layer().copy("/coredns", args.bin / "coredns"))
    for name in ("jessie-dnsutils", "glibc-dns-testing"):
        archive.image(name, [*debian, dns], cmd=["/bin/bash"])
    archive.image("nonewprivs", [*debian, archive.layer(Layer().copy("/usr/local/bin/nnp", args.bin / "nnp", 0o6755))], cmd=["nnp"])
    archive.image("nonroot", debian, cmd=["/bin/sh"], user="1234")
    archive.image("perl", debian, cmd=["perl", "-de0"])
    archive.image("ipc-utils", debian, cmd=["/bin/sh"])
    sample = Layer().copy("/sample-apiserver", args.bin / "sample-apiserver").dir("/apiserver.local.config")
    archive.image("sample-apiserver", [*debian, archive.layer(sample)], ["/sample-apiserver"])
    etcd = archive.layer(Layer().copy("/usr/local/bin/etcd", args.bin / "etcd"))
    archive.image("etcd", [*debian, etcd], cmd=["/usr/local/bin/etcd"])
    archive.image("pause", [archive.layer(Layer().copy("/pause", args.img / "pause"))], ["/pause"], user="65535:65535")

    archive.write(args.img / "all.tar")
    (args.img / "refs.txt").write_text("".join(r + "\n" for i in archive.images for r in i["RepoTags"]))


if __name__ == "__main__":
    main()
