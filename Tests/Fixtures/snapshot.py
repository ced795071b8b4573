"""Writes adapter-1.snapshot from docs/formats.md alone: an adapter with every part, whose numbers count up."""

import pathlib
import struct

import xxhash

D, R = 5, 2
N = 2 * R * D + D
counter = 0


def floats(count):
    """The next numbers: 1/8, 2/8, 3/8, …, all exact."""
    global counter
    values = [(counter + i + 1) / 8 for i in range(count)]
    counter += count
    return struct.pack(f"<{count}f", *values)


BIAS, NORMALIZED, RANK_STABILIZED, START, OPTIMIZER, PROTECTION, PLATEAU = (1 << bit for bit in range(7))
data = b"ATTUNEAD" + struct.pack("<II", 1, 1)
data += struct.pack("<IHBBfI", D, R, BIAS | RANK_STABILIZED | START | OPTIMIZER | PROTECTION | PLATEAU, 0, 3.0, 0)
data += struct.pack("<QQQQ", 0x0123456789ABCDEF, 0xFEDCBA9876543210, 12, 11)
data += floats(N)
data += struct.pack("<QQ", 0x1122334455667788, 1) + floats(N)
data += struct.pack("<QQdd", 2, 9, 0.0, 0.0) + floats(2 * N)
data += struct.pack("<Q", 4) + floats(3 * N)
data += struct.pack("<ddQQ", 0.75, 0.5, 3, 2)
data += struct.pack("<Q", xxhash.xxh3_64(data).intdigest())

assert len(data) == 64 + 4 * N + 16 + 4 * N + 32 + 8 * N + 8 + 12 * N + 32 + 8
pathlib.Path(__file__).with_name("adapter-1.snapshot").write_bytes(data)
