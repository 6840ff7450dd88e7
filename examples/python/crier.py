#!/usr/bin/env python3
"""Sends through Crier's HTTP gateway: one code, or a text to a list of any size.

    crier.py code login-4711 u1 "Your code is 123456"
    crier.py campaign spring-sale customers.txt "Spring sale: 20 % off"

Python 3.8 or later, its standard library alone. CRIER_URL is where the gateway
is, CRIER_API_KEY the key that it asks for, if it asks for one. Both commands
print the id of the job, and may be run again: the same id is the same job.
"""

import http.client
import json
import os
import random
import sys
import time
import urllib.parse
import zlib


class Problem(Exception):
    """What repeating would not cure."""


class Crier:
    """A client of the gateway. Not for several threads at a time."""

    def __init__(self, url, key=""):
        self.url = urllib.parse.urlsplit(url)
        self.key = key

    def send(self, job_id, job, patience=60):
        """Sends a whole job: the document of docs/http.md. Returns its status."""
        headers = {"Idempotency-Key": job_id, "Content-Type": "application/json"}
        return self.call("POST", "/v1/jobs", headers, json.dumps(job), timeout=10, patience=patience)

    def stream(self, job_id, job, names, patience=3600):
        """Sends a job without "target" to all that names() yields, and returns its status.

        names is called for each try, so it must yield the same again. Nothing of a list is
        kept in memory. If it raises, nothing of it is stored, and nothing is sent.
        """
        status = self.send(job_id, job, patience)
        if status["state"] == "cancelled":  # by somebody, or since no list came for a day
            raise Problem(f"job {job_id} was cancelled: delete it, or take another id")
        if status["state"] != "loading":
            return status  # this very job was started before
        path = "/v1/jobs/" + job_id
        headers = {"Content-Type": "application/x-ndjson", "Content-Encoding": "gzip"}
        # A list waits up to a minute for others, so the answer may take a while.
        self.call("POST", path + "/targets", headers, lambda: packed(names()), timeout=120, patience=patience)
        return self.call("POST", path + "/start", timeout=120, patience=patience)

    def call(self, method, path, headers=None, body=None, timeout=10, patience=60):
        """Makes a request until it is answered for good, for patience seconds.

        To repeat it is safe: a job has an id, under which the gateway knows it again, and it
        tells the targets of a list apart. timeout is for each step of a try.
        """
        headers = dict(headers or {})
        if self.key:
            headers["Authorization"] = "Bearer " + self.key
        until, pause = time.monotonic() + patience, 0.5
        while True:
            told = 0.0
            try:
                status, told, text = self.once(method, path, headers, body, timeout)
                if 200 <= status < 300:
                    return json.loads(text)
                what = f"{method} {path}: {status} {text.strip()}"
                # 501 says that the gateway is not set up for this; other 5xx pass.
                if not told and status not in (408, 429) and (status < 500 or status == 501):
                    raise Problem(what)
            except (OSError, http.client.HTTPException) as lost:  # no answer: it may have been done, or not
                what = f"{method} {path}: {lost or type(lost).__name__}"
            pause = min(2 * pause, 30)
            wait = max(told, random.uniform(0, pause))  # not all clients at once
            if time.monotonic() + wait > until:
                raise TimeoutError(what)
            time.sleep(wait)

    def once(self, method, path, headers, body, timeout):
        """Makes one request: its status, the seconds of its Retry-After, its text."""
        kind = http.client.HTTPSConnection if self.url.scheme == "https" else http.client.HTTPConnection
        connection = kind(self.url.netloc, timeout=timeout)
        try:
            try:
                # A generator goes out in chunks as it comes. If it raises, the last chunk
                # is missing, by which the gateway knows that the list is not whole.
                connection.request(method, self.url.path.rstrip("/") + path, body() if callable(body) else body, headers)
            except (BrokenPipeError, ConnectionResetError):
                pass  # it may have answered before it had read everything
            response = connection.getresponse()
            retry_after = response.getheader("Retry-After", "")
            return response.status, float(retry_after if retry_after.isdigit() else 0), response.read().decode()
        finally:
            connection.close()


def packed(names):
    """Yields names as gzip data, one JSON string a line: so whatever is in a name, it stays one."""
    gzip = zlib.compressobj(wbits=31)
    try:
        for name in names:
            yield gzip.compress(json.dumps(name).encode() + b"\n")
    except (OSError, ValueError) as broken:  # to call, it would look like a lost answer
        raise Problem(f"the list cannot be read: {broken}") from broken
    yield gzip.flush()


def names_of(file):
    """Yields a name a line. In your backend it is a query whose rows are fetched as they are needed."""
    with open(file, encoding="utf-8") as lines:
        for line in lines:
            if line.strip():
                yield line.strip()


def main(command, job_id, who, text):
    crier = Crier(os.environ.get("CRIER_URL") or "http://127.0.0.1:8080", os.environ.get("CRIER_API_KEY", ""))
    job = {"target_type": "users", "msg": {"type": "txt", "msg": text}}
    if command == "code":
        job["target"] = [who]
        job["options"] = {"priority": "urgent"}  # never waits behind bulk
        status = crier.send(job_id, job)
    else:
        status = crier.stream(job_id, job, lambda: names_of(who))
    print(status["id"])


if __name__ == "__main__":
    if len(sys.argv) != 5 or sys.argv[1] not in ("code", "campaign"):
        sys.exit(__doc__)
    try:
        main(*sys.argv[1:])
    except (Problem, OSError) as error:
        sys.exit(f"crier: {error}")
