"""philox.json: Philox4x32-10 (Salmon, Moraes, Dror, Shaw 2011, "Parallel random numbers: as easy as 1, 2, 3", SC11).

Written from the paper. Checked against the published known answers of Random123 v1.14.0 (tests/kat_vectors), for 10 rounds
and for 7; then used for further vectors.
"""

import fixture

MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
WEYL = (0x9E3779B9, 0xBB67AE85)  # key increments: golden ratio, sqrt(3) - 1
MASK = 0xFFFFFFFF


def philox4x32(counter, key, rounds=10):
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for index in range(rounds):
        if index > 0:  # the key is raised between rounds, not before the first
            k0, k1 = (k0 + WEYL[0]) & MASK, (k1 + WEYL[1]) & MASK
        p0, p1 = MULTIPLIERS[0] * c0, MULTIPLIERS[1] * c2
        c0, c1, c2, c3 = (p1 >> 32) ^ c1 ^ k0, p1 & MASK, (p0 >> 32) ^ c3 ^ k1, p0 & MASK
    return [c0, c1, c2, c3]


# Counter (4 words), key (2 words), output (4 words).
PUBLISHED = {
    10: """
00000000 00000000 00000000 00000000 00000000 00000000 6627e8d5 e169c58d bc57ac4c 9b00dbd8
ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 408f276d 41c83b0e a20bc7c6 6d5451fd
243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 d16cfe09 94fdcceb 5001e420 24126ea1
""",
    7: """
00000000 00000000 00000000 00000000 00000000 00000000 5f6fb709 0d893f64 4f121f81 4f730a48
ffffffff ffffffff ffffffff ffffffff ffffffff ffffffff 5207ddc2 45165e59 4d8ee751 8c52f662
243f6a88 85a308d3 13198a2e 03707344 a4093822 299f31d0 4dfccaba 190a87f0 c47362ba b6b5242a
""",
}


def parsed(block):
    for line in block.split("\n"):
        words = [int(word, 16) for word in line.split()]
        if words:
            yield words[0:4], words[4:6], words[6:10]


def further_inputs():
    """20 inputs: each word alone, the carry between counter words, the wrap of the key increments, and mixed bits."""
    for word in range(4):
        yield [1 if i == word else 0 for i in range(4)], [0, 0]
    for word in range(2):
        yield [0, 0, 0, 0], [1 if i == word else 0 for i in range(2)]
    for counter in ([MASK, 0, 0, 0], [0, 1, 0, 0], [MASK, MASK, 0, 0], [0, 0, 1, 0], [1 << 31, 0, 0, 1 << 31]):
        yield counter, [0x01234567, 0x89ABCDEF]
    for key in ([MASK - WEYL[0], MASK - WEYL[1]], [MASK - WEYL[0] + 1, MASK - WEYL[1] + 1]):
        yield [2, 0, 0, 0], key
    for index in range(7):  # multiples of an odd constant, no pattern in the bits
        word = lambda n: (0x9E3779B97F4A7C15 * (n + 1) >> 16) & MASK
        yield [word(6 * index + n) for n in range(4)], [word(6 * index + 4), word(6 * index + 5)]


def vector(counter, key, output):
    hexadecimal = " ".join(f"{word:08x}" for word in counter + key + output)
    return {"counter": counter, "key": key, "output": output, "hex": hexadecimal}


for rounds, block in PUBLISHED.items():
    for counter, key, output in parsed(block):
        assert philox4x32(counter, key, rounds) == output, (rounds, counter, key)

known = [vector(*entry) for entry in parsed(PUBLISHED[10])]
further = [vector(c, k, philox4x32(c, k)) for c, k in further_inputs()]
assert len(further) == 20 and len({entry["hex"] for entry in known + further}) == 23

fixture.write(
    __file__,
    "philox.json",
    {
        "algorithm": "philox4x32-10",
        "wordOrder": "counter[0...3], key[0...1], output[0...3] are UInt32 words in Random123's order; "
        "hex repeats them as one kat_vectors line",
        "known": known,
        "further": further,
    },
)
