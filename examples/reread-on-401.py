#!/usr/bin/env python3
"""Calls an API with a key from a file, and takes the new key when the old one is refused.

A rotation in place kills the old value at once, and kubelet writes the new one into a mounted Secret within a minute or so. An
application that reads the file again when its key is refused, and then repeats the request, loses none. (With a key from its
environment it can't: that is as it was when the pod started.)

    URL=https://gateway.example.com/v1/models KEY_FILE=/var/run/keeptrusts/api-key python3 reread-on-401.py

With the OpenAI client the same goes into an httpx.Auth whose auth_flow does what call() does here:
OpenAI(http_client=httpx.Client(auth=...)).
"""

import os
import sys
import time
import urllib.error
import urllib.request

# How long a new key may take to come, in seconds.
PATIENCE = 120


class Key:
    """The key in a file."""

    def __init__(self, path):
        self.path = path
        self.value = self.read()

    def read(self):
        with open(self.path, encoding="utf-8") as file:
            return file.read().strip()

    def renew(self, refused):
        """Waits for another key than the one that was refused. False if none comes."""
        end = time.monotonic() + PATIENCE
        while (value := self.read()) == refused:
            if time.monotonic() > end:
                return False
            time.sleep(0.2)
        self.value = value
        return True


def call(url, key):
    """One request. Says whether it had to be repeated."""
    repeated = False
    while True:
        used = key.value
        request = urllib.request.Request(url, headers={"Authorization": f"Bearer {used}"})
        try:
            with urllib.request.urlopen(request, timeout=10) as response:
                response.read()
                return repeated
        except urllib.error.HTTPError as error:
            if error.code != 401 or not key.renew(used):
                raise
            repeated = True


def main():
    key = Key(os.environ["KEY_FILE"])
    url = os.environ["URL"]
    while True:
        print("repeated with the new key" if call(url, key) else "ok", flush=True)
        time.sleep(0.1)


if __name__ == "__main__":
    sys.exit(main())
