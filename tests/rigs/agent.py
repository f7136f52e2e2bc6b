# SPDX-License-Identifier: Apache-2.0
#
# Speaks for a guest's agent: agent.py SOCKET MODE_FILE TOLD_FILE listens there once, and
# does what the mode says at that moment: good, refuse, silent. What it was told, but for
# pings, is appended to TOLD_FILE. Ends when the other end goes.

import json
import socket
import sys

path, mode_file, told_file = sys.argv[1:]
server = socket.socket(socket.AF_UNIX)
server.bind(path)
server.listen()
sock, _ = server.accept()
for line in sock.makefile():
    ask = json.loads(line)
    with open(mode_file) as f:
        mode = f.read().strip()
    command = ask["execute"][len("guest-") :]
    if command != "ping":
        with open(told_file, "a") as f:
            f.write(" ".join([command] + list(ask.get("arguments", {}).values())) + "\n")
    answer = {"return": 0}
    if command in ("fsfreeze-freeze", "shutdown") and mode == "refuse":
        answer = {"error": {"class": "GenericError", "desc": "not allowed here"}}
    elif command != "ping" and (mode == "silent" or command == "shutdown"):
        continue
    answer["id"] = ask["id"]
    sock.sendall(json.dumps(answer).encode() + b"\n")
