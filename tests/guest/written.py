#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""written.py DISK CONSOLE: the area of writer.sh, in a raw copy of the guest's disk,
against what the guest told. Each sector of writer w's chunks has the bytes of the pass
that it told last, or of one of the two behind it (the guest was stopped while it wrote).
Prints the passes told; exit 1 with a line for each sector that is another's."""

import re
import sys

AREA, CHUNK, SECTOR, WRITERS, CHUNKS = 33 << 20, 65536, 512, 4, 16


def content(writer, chunk, number):
    line = f"writer {writer} chunk {chunk} pass {number}\n".encode()
    return (line * (CHUNK // len(line) + 1))[:CHUNK]


def main(disk, console):
    told = [0] * WRITERS
    with open(console, "rb") as f:
        for writer, number in re.findall(rb"^WROTE (\d) (\d+)\r?$", f.read(), re.M):
            told[int(writer)] = int(number)
    wrong = 0
    with open(disk, "rb") as f:
        for at in range(WRITERS * CHUNKS):
            chunk, writer = divmod(at, WRITERS)
            f.seek(AREA + at * CHUNK)
            found = f.read(CHUNK)
            may_be = [content(writer, chunk, told[writer] + n) for n in range(3)]
            for off in range(0, CHUNK, SECTOR):
                sector = found[off : off + SECTOR]
                if sector not in (each[off : off + SECTOR] for each in may_be):
                    wrong += 1
                    print(f"writer {writer}, chunk {chunk}, byte {off}: {sector[:40]!r}")
    print("passes told:", *told)
    return 1 if wrong or 0 in told else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
