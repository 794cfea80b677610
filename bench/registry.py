"""A registry on the loopback interface that serves images made from tars; ends with this process."""

import gzip
import hashlib
import http.server
import json
import platform
import shutil
import threading

PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG = "application/vnd.docker.container.image.v1+json"
LAYER = "application/vnd.docker.image.rootfs.diff.tar.gzip"


def sha256_of(path):
    with open(path, "rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


class Registry:
    """Images are added by name; blobs are kept in a folder between runs."""

    def __init__(self, folder):
        self.folder, self.manifests, self.server, self.address = folder, {}, None, None
        folder.mkdir(parents=True, exist_ok=True)

    def _blob(self, content, media):
        digest = "sha256:" + hashlib.sha256(content).hexdigest()
        (self.folder / digest[7:]).write_bytes(content)
        return {"mediaType": media, "digest": digest, "size": len(content)}

    def _layer(self, tar):
        """Packs a tar; what was packed in an earlier run is used again."""
        diff_id = sha256_of(tar)
        note = self.folder / f"{diff_id[7:]}.json"
        if not note.exists():
            part = self.folder / "part"
            with open(tar, "rb") as source, gzip.GzipFile(part, "wb", 6, mtime=0) as packed:
                shutil.copyfileobj(source, packed, 1 << 20)
            descriptor = {"mediaType": LAYER, "digest": sha256_of(part), "size": part.stat().st_size}
            part.rename(self.folder / descriptor["digest"][7:])
            note.write_text(json.dumps(descriptor))
        return diff_id, json.loads(note.read_text())

    def add(self, name, tars):
        layers = [self._layer(tar) for tar in tars]
        config = {
            "architecture": machine(),
            "os": "linux",
            "config": {"Env": [PATH], "Cmd": ["sh"]},
            "rootfs": {"type": "layers", "diff_ids": [diff_id for diff_id, _ in layers]},
            "history": [{"created_by": "base"} for _ in layers],
        }
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": self._blob(json.dumps(config).encode(), CONFIG),
            "layers": [descriptor for _, descriptor in layers],
        }
        self.manifests[name] = json.dumps(manifest).encode()

    def start(self):
        handler = type("Handler", (Handler,), {"registry": self})
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.address = f"127.0.0.1:{self.server.server_address[1]}"

    def stop(self):
        if self.server:
            self.server.shutdown()
            self.server.server_close()


def machine():
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())


class Handler(http.server.BaseHTTPRequestHandler):
    registry = None
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.answer(False)

    def do_GET(self):
        self.answer(True)

    def answer(self, with_body):
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts == ["v2"]:
            return self.send(b"{}", "application/json", None, with_body)
        kind, reference = parts[-2], parts[-1]
        name = "/".join(parts[1:-2])
        if kind == "manifests" and name in self.registry.manifests:
            content = self.registry.manifests[name]
            digest = "sha256:" + hashlib.sha256(content).hexdigest()
            if reference in ("latest", digest):
                return self.send(content, MANIFEST, digest, with_body)
        if kind == "blobs" and (self.registry.folder / reference[7:]).is_file():
            return self.send_file(self.registry.folder / reference[7:], reference, with_body)
        self.send(b'{"errors":[{"code":"NOT_FOUND"}]}', "application/json", None, with_body, 404)

    def head(self, code, media, length, digest):
        self.send_response(code)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(length))
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()

    def send(self, content, media, digest, with_body, code=200):
        self.head(code, media, len(content), digest)
        if with_body:
            self.wfile.write(content)

    def send_file(self, path, digest, with_body):
        self.head(200, "application/octet-stream", path.stat().st_size, digest)
        if with_body:
            self.wfile.flush()
            with open(path, "rb") as file:
                self.connection.sendfile(file)
