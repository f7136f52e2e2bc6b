#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""pings.py ADDRESS%INTERFACE: an echo request every 10 ms, and beside it one a second,
until SIGINT or SIGTERM; then a line: the longest silence between two answers, in ms, how
many of the slow ones had no answer within a second, and how many of the fast ones had
none. Says "up" at the first answer.

pings.py --migrate FROM.qmp TO.qmp URI: plain QEMU's migration, as a peer to measure
beside: limits as ours, then cont on the other side and quit on this one.
"""
import json
import os
import select
import signal
import socket
import struct
import sys
import time


def ping(target):
    host, _, link = target.partition("%")
    where = (host, 0, 0, socket.if_nametoindex(link))
    sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
    sock.setblocking(False)
    ids = (os.getpid() & 0x7FFF, os.getpid() & 0x7FFF | 0x8000)
    every = (0.01, 1.0)
    due = [time.monotonic()] * 2
    seq = [0, 0]
    sent = ({}, {})
    answered = (set(), set())
    last = None
    gap = 0.0
    stop = []
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.append(1))
    while not stop:
        now = time.monotonic()
        for i in (0, 1):
            if now < due[i]:
                continue
            due[i] += every[i]
            if now > due[i] + 1:
                due[i] = now + every[i]
            seq[i] = (seq[i] + 1) & 0xFFFF
            sent[i][seq[i]] = now
            try:
                sock.sendto(struct.pack("!BBHHH", 128, 0, 0, ids[i], seq[i]), where)
            except OSError:
                pass  # the link is away: as good as lost
        wait = max(0.0, min(due) - time.monotonic())
        if not select.select([sock], [], [], wait)[0]:
            continue
        while True:
            try:
                data = sock.recv(2048)
            except BlockingIOError:
                break
            if len(data) < 8 or data[0] != 129:
                continue
            ident, number = struct.unpack("!HH", data[4:8])
            now = time.monotonic()
            if ident == ids[0]:
                if last is None:
                    print("up", flush=True)
                else:
                    gap = max(gap, now - last)
                last = now
            i = ids.index(ident) if ident in ids else None
            if i is not None and now - sent[i].get(number, 0) <= 1:
                answered[i].add(number)
    now = time.monotonic()
    lost = [sum(n not in answered[i] and now - sent[i][n] > 1 for n in sent[i])
            for i in (0, 1)]
    print(f"gap {round(gap * 1000)} lost {lost[1]} fast {lost[0]}", flush=True)


class Qmp:
    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(path)
        self.file = self.sock.makefile("rw")
        self.file.readline()
        self.ask("qmp_capabilities")

    def ask(self, command, **arguments):
        self.file.write(json.dumps({"execute": command, "arguments": arguments}))
        self.file.flush()
        while True:
            answer = json.loads(self.file.readline())
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                sys.exit(f"{command}: {answer['error']['desc']}")

    def wait(self):
        while True:
            status = self.ask("query-migrate").get("status")
            if status == "completed":
                return
            if status in ("failed", "cancelled"):
                sys.exit(f"migration {status}")
            time.sleep(0.002)


def migrate(source, target, uri):
    a, b = Qmp(source), Qmp(target)
    a.ask("migrate-set-parameters", **{"max-bandwidth": 0, "downtime-limit": 100})
    a.ask("migrate", uri=uri)
    a.wait()
    b.wait()
    b.ask("cont")
    a.ask("quit")


if sys.argv[1] == "--migrate":
    migrate(*sys.argv[2:5])
else:
    ping(sys.argv[1])
