"""An app in another language: any server that listens on PORT will do. Streams the time and its grant, one line a second."""

import json
import os
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


def grant():
    """What this app may use now; the file is replaced at every change."""
    path = os.environ.get("BELLOWS_GRANT_FILE")
    if path is None:
        return None
    with open(path, encoding="utf-8") as file:
        return json.load(file)


class Clock(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "application/x-ndjson")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        try:
            while True:
                now = {"time": time.strftime("%H:%M:%S"), "pid": os.getpid(), "grant": grant()}
                self.wfile.write((json.dumps(now) + "\n").encode())
                self.wfile.flush()
                time.sleep(1)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the client has seen enough


if __name__ == "__main__":
    ThreadingHTTPServer(("127.0.0.1", int(os.environ["PORT"])), Clock).serve_forever()
