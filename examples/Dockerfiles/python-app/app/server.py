"""A page that greets by name: http://127.0.0.1:8000/?name=Ada"""

import argparse
import http.server
import urllib.parse

import jinja2

PAGE = jinja2.Template("<h1>Hello, {{ name|e }}!</h1>\n")


def render(path):
    """Returns status and body for a request path."""
    url = urllib.parse.urlsplit(path)
    if url.path == "/health":
        return 200, "ok\n"
    if url.path != "/":
        return 404, "not found\n"
    query = urllib.parse.parse_qs(url.query)
    return 200, PAGE.render(name=query.get("name", ["world"])[0])


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        status, body = render(self.path)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body.encode())


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument("--reload", action="store_true", help="accepted for development")
    options = parser.parse_args()
    http.server.ThreadingHTTPServer(("", options.port), Handler).serve_forever()
