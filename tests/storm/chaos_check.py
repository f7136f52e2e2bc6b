# SPDX-License-Identifier: Apache-2.0
"""chaos_check.py FOLDER VMS: what tests/storm/chaos.sh has left, judged.

Of each VM: the records on its disk (tests/guest/append.S) are whole, numbered from 1
without a gap, and each names the check of the one before, so that a second writer would
have broken the chain; each writer (host and power-on) wrote in one go, and the token of
the VM's lock rises from writer to writer; every record that any console told of is on
the disk, as it was told, written by that host.
"""
import glob
import re
import struct
import sys

FIRST, LAST, HOSTS = 63, 0x8000, "abc"
faults = 0


def fault(text):
    global faults
    faults += 1
    if faults <= 20:
        print("chaos_check: " + text)


def check_of(sector):
    c = 5381
    for word in struct.unpack("<127I", sector[:508]):
        c = (c * 33 + word) & 0xffffffff
    return c


def read_records(name, path):
    """[(check, host, lock's token, rest of the power-on's)], [0] is not used."""
    records = [None]
    with open(path, "rb") as f:
        data = f.read()
    last, is_over = 0, False
    for n in range(1, LAST):
        sector = data[(FIRST + n) * 512:(FIRST + n + 1) * 512]
        if sector[:4] != b"REC1":
            if sector.strip(b"\0"):
                fault(f"{name}: sector of record {n} holds something else")
            is_over = True
            continue
        number, = struct.unpack_from("<I", sector, 4)
        host, _, lock, rest = struct.unpack_from(">IIII", sector, 8)
        before, = struct.unpack_from("<I", sector, 24)
        check, = struct.unpack_from("<I", sector, 508)
        if is_over:
            fault(f"{name}: record {n} stands behind a gap")
        if number != n or check != check_of(sector):
            fault(f"{name}: record {n} is damaged")
        if before != last:
            fault(f"{name}: record {n} does not follow the one before it: two writers")
        last = check
        records.append((check, host, lock, rest))
    return records


def judge_writers(name, records):
    writers = []
    for n, (_, host, lock, rest) in enumerate(records[1:], 1):
        if writers and writers[-1] == (lock, host, rest):
            continue
        if writers and lock <= writers[-1][0]:
            fault(f"{name}: record {n} was written with token {lock}, behind "
                  f"{writers[-1][0]}")
        writers.append((lock, host, rest))
    return writers


def judge_told(name, records, folder):
    told = 0
    for path in glob.glob(f"{folder}/?/vms/*/{name}.txt"):
        host = path[len(folder) + 1]
        with open(path, "rb") as f:
            text = f.read().decode("ascii", "replace")
        for word, n, check in re.findall(r"^(ACK|FAILED) ([0-9a-f]{8}) ([0-9a-f]{8})\r\n",
                                         text, re.M):
            n, check = int(n, 16), int(check, 16)
            if word == "FAILED":
                fault(f"{name}: a disk's error was told to the guest on {host}")
                continue
            told += 1
            if n >= len(records):
                fault(f"{name}: record {n}, told on {host}, is lost")
            elif records[n][0] != check:
                fault(f"{name}: record {n}, told on {host}, was written over")
            elif HOSTS[records[n][1] - 1] != host:
                fault(f"{name}: record {n}, told on {host}, names another host")
    return told


def main():
    folder, vms = sys.argv[1], int(sys.argv[2])
    for i in range(1, vms + 1):
        name = f"vm{i}"
        records = read_records(name, f"{folder}/{name}.raw")
        writers = judge_writers(name, records)
        told = judge_told(name, records, folder)
        if told == 0:
            fault(f"{name}: nothing was told")
        print(f"chaos_check: {name}: {len(records) - 1} records, {told} told of, "
              f"{len(writers)} power-ons: "
              + "".join(HOSTS[w[1] - 1] for w in writers))
    print(f"chaos_check: {faults} faults")
    return 1 if faults else 0


sys.exit(main())
