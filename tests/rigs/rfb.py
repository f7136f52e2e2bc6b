# SPDX-License-Identifier: Apache-2.0
#
# A viewer of RFB 3.8 (RFC 6143): says whether it is let in, and what it sees the size of.
#
#   rfb.py tcp:HOST:PORT|ws:HOST:PORT|unix:PATH [PASSWORD]
#
# "in WIDTH x HEIGHT" and 0; "refused: REASON" and 1; anything else: 2.

import base64
import os
import socket
import struct
import subprocess
import sys


class Websocket:
    """RFC 6455, as far as one client needs it: binary frames that are masked."""

    def __init__(self, sock):
        self.sock, self.bytes = sock, b""
        key = base64.b64encode(os.urandom(16)).decode()
        sock.sendall(
            (
                "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
                "Connection: Upgrade\r\nSec-WebSocket-Key: %s\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: binary\r\n\r\n"
                % key
            ).encode()
        )
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += self.plain(1)
        if b" 101 " not in head.split(b"\r\n")[0]:
            sys.exit(2)

    def plain(self, count):
        out = b""
        while len(out) < count:
            piece = self.sock.recv(count - len(out))
            if not piece:
                raise EOFError
            out += piece
        return out

    def sendall(self, data):
        mask = os.urandom(4)
        masked = bytes(b ^ mask[i % 4] for i, b in enumerate(data))
        self.sock.sendall(bytes([0x82, 0x80 | len(data)]) + mask + masked)

    def recv(self, count):
        while not self.bytes:
            opcode, length = self.plain(2)
            if length == 126:
                length = struct.unpack(">H", self.plain(2))[0]
            payload = self.plain(length)
            if opcode & 15 == 8:
                return b""
            self.bytes = payload
        out, self.bytes = self.bytes[:count], self.bytes[count:]
        return out


def connect(where):
    kind, rest = where.split(":", 1)
    if kind == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(30)
        sock.connect(rest)
        return sock
    host, port = rest.rsplit(":", 1)
    sock = socket.create_connection((host, int(port)), 30)
    return Websocket(sock) if kind == "ws" else sock


def take(sock, count):
    out = b""
    while len(out) < count:
        piece = sock.recv(count - len(out))
        if not piece:
            raise EOFError
        out += piece
    return out


def reason(sock):
    (length,) = struct.unpack(">I", take(sock, 4))
    print("refused:", take(sock, length).decode())
    sys.exit(1)


def answer(challenge, password):
    """DES, whose key has the bits of each byte of the password in the other order."""
    key = password.encode()[:8].ljust(8, b"\0")
    key = bytes(int("{:08b}".format(b)[::-1], 2) for b in key)
    return subprocess.run(
        ["openssl", "enc", "-des-ecb", "-nopad", "-K", key.hex()]
        + ["-provider", "legacy", "-provider", "default"],
        input=challenge,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout


def main(where, password=None):
    sock = connect(where)
    if take(sock, 12)[:4] != b"RFB ":
        sys.exit(2)
    sock.sendall(b"RFB 003.008\n")
    (count,) = take(sock, 1)
    if count == 0:
        reason(sock)
    kinds = take(sock, count)
    if password is None and 1 in kinds:
        sock.sendall(b"\1")
    elif 2 in kinds:
        sock.sendall(b"\2")
        sock.sendall(answer(take(sock, 16), password or ""))
    else:
        print("refused: other kinds:", *kinds)
        sys.exit(1)
    if struct.unpack(">I", take(sock, 4))[0]:
        reason(sock)
    sock.sendall(b"\1")
    width, height = struct.unpack(">HH", take(sock, 4))
    print("in", width, "x", height)


try:
    main(*sys.argv[1:])
except EOFError:
    print("refused: closed")
    sys.exit(1)
