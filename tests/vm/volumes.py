#!/usr/bin/env python3
"""Stores files in a SeaweedFS, each as one needle, for the checks in the virtual machine to read.

usage: volumes.py MASTER_URL FOLDER

FOLDER gets the files, and manifest.tsv with a line for each: its file id, length in bytes, SHA-256, how SeaweedFS
keeps it (plain or gzip), name.
"""

import gzip
import hashlib
import json
import os
import sys
import urllib.request

MIB = 1 << 20
SIZES = [1, 2, 4095, 4096, 4097, 65536, MIB - 1, MIB, MIB + 1, 4 * MIB, 8 * MIB + 3, 32 * MIB]
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def call(url, **request):
    with opener.open(urllib.request.Request(url, **request), timeout=60) as response:
        return response.headers, response.read()


def files():
    """(name, data, headers it is stored with, how it must be kept) of each."""
    for size in SIZES:
        yield f"random-{size}", os.urandom(size), {"Content-Type": "application/octet-stream"}, "plain"
    text = "".join(f"{n}: the quick brown fox jumps over the lazy dog\n" for n in range(60_000)).encode()
    yield "text", text, {"Content-Type": "text/plain"}, "gzip"  # compressed by SeaweedFS
    yield "gzip", text[: MIB + 1], {"Content-Type": "text/plain", "Content-Encoding": "gzip"}, "gzip"


def store(master, data, headers):
    """Stores data; its file id, and how it is kept."""
    place = json.loads(call(f"{master}/dir/assign")[1])
    url = f"http://{place['url']}/{place['fid']}"
    body = gzip.compress(data) if "Content-Encoding" in headers else data
    call(url, data=body, headers=headers, method="PUT")
    answer, kept = call(url, headers={"Accept-Encoding": "gzip"})
    encoding = answer.get("Content-Encoding", "plain")
    if (gzip.decompress(kept) if encoding == "gzip" else kept) != data:
        sys.exit(f"{url} gives out other bytes than were stored in it")
    return place["fid"], encoding


def main(master, folder):
    with open(os.path.join(folder, "manifest.tsv"), "w") as manifest:
        for name, data, headers, expected in files():
            fid, kept = store(master, data, headers)
            if kept != expected:
                sys.exit(f"SeaweedFS was to keep {name} ({fid}) as {expected}, and keeps it as {kept}")
            with open(os.path.join(folder, name), "wb") as file:
                file.write(data)
            print(fid, len(data), hashlib.sha256(data).hexdigest(), kept, name, sep="\t", file=manifest)


main(*sys.argv[1:])
