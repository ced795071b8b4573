"""tensors/: small .npy and .safetensors files for the readers, and tensors/expected.json, which says what is in them.

Good files are written by NumPy and by the safetensors package, and read back by them. Of the bad ones, those that are sound
files of a kind Attune does not read (Fortran order, big-endian, ...) are written by NumPy as well; the damaged ones are cut
or patched here, and the script requires NumPy or safetensors to refuse them too.
"""

import json
import math
import struct
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy
import safetensors.torch
import torch

import fixture

FOLDER = Path(__file__).resolve().parent / "tensors"
SHAPES = [(), (0,), (5,), (3, 4), (2, 3, 4), (0, 4)]
FORMULA = "value[k] = (k * 37 mod 101 - 50) / 8 for the k-th element in row-major order, k from 0: exact in every float type"

entries = []


def name_of(shape):
    return "x".join(map(str, shape)) if shape else "scalar"


def values(shape):
    return [(k * 37 % 101 - 50) / 8 for k in range(math.prod(shape))]


def array(shape, dtype):
    return np.array(values(shape), dtype=np.float64).reshape(shape).astype(dtype)


def bits(tensor):
    """Bit patterns in hexadecimal, most significant digit first, row-major."""
    size = tensor.dtype.itemsize
    return [f"{word:0{2 * size}x}" for word in np.frombuffer(tensor.tobytes(), dtype=f"<u{size}").tolist()]


def describe(name, dtype, tensor, numbers):
    """`numbers`: the values as Python numbers, or None for special values: JSON has neither NaN nor infinity."""
    facts = {"name": name, "dtype": dtype, "shape": list(tensor.shape), "bits": bits(tensor)}
    return facts if numbers is None else {**facts, "values": numbers}


def numbers_of(tensor):
    return tensor.astype(np.float64).ravel().tolist()


def add_read(file, format, tensors, **facts):
    entries.append({"file": file, "format": format, "expect": "read", **facts, "tensors": tensors})


def add_refused(file, format, reason, **facts):
    entries.append({"file": file, "format": format, "expect": "refuse", "reason": reason, **facts})


# .npy

def npy(file, value, version, allow_pickle=False):
    with open(FOLDER / file, "wb") as stream:
        np.lib.format.write_array(stream, value, version=version, allow_pickle=allow_pickle)


def good_npy(file, value, version, with_numbers=True):
    npy(file, value, version)
    again = np.load(FOLDER / file, allow_pickle=False)
    assert again.dtype == value.dtype and again.shape == value.shape and again.tobytes() == value.tobytes()
    raw = (FOLDER / file).read_bytes()
    assert raw[6] == version[0]
    numbers = numbers_of(value) if with_numbers else None
    assert numbers is None or numbers == values(value.shape)
    add_read(file, "npy", [describe("", value.dtype.str, value, numbers)], version=version[0])


def special(dtype):
    """Signed zeros, the subnormal and normal limits, infinities, NaN, and the neighbours of one."""
    info, one = np.finfo(dtype), np.array(1, dtype)
    up, down = np.nextafter(one, np.array(2, dtype)), np.nextafter(one, np.array(0, dtype))
    largest_subnormal = np.nextafter(info.smallest_normal, np.array(0, dtype))
    return np.array([0.0, -0.0, info.smallest_subnormal, -info.smallest_subnormal, largest_subnormal, info.smallest_normal,
                     info.max, -info.max, np.inf, -np.inf, np.nan, down, one, up], dtype=dtype)


def write_npy():
    for dtype in ("<f2", "<f4", "<f8"):
        for version in ((1, 0), (2, 0)):
            for shape in SHAPES:
                good_npy(f"{dtype[1:]}_v{version[0]}_{name_of(shape)}.npy", array(shape, dtype), version)
        good_npy(f"{dtype[1:]}_special.npy", special(dtype), (1, 0), with_numbers=False)

    def refuse(file, value, reason, allow_pickle=False):
        npy(file, value, (1, 0), allow_pickle)
        add_refused(file, "npy", reason)

    refuse("refuse_fortran_order.npy", np.asfortranarray(array((3, 4), "<f4")), "fortran_order is True")
    refuse("refuse_big_endian.npy", array((3, 4), ">f4"), "dtype >f4")
    refuse("refuse_int32.npy", np.arange(5, dtype="<i4"), "dtype <i4")
    refuse("refuse_structured.npy", np.array([(1.0, 2), (3.0, 4)], dtype=[("a", "<f4"), ("b", "<i4")]), "structured dtype")
    refuse("refuse_object.npy", np.array([1.5, None, "text"], dtype=object), "dtype object, a pickle", allow_pickle=True)

    sound = (FOLDER / "f4_v1_3x4.npy").read_bytes()
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': "

    def damage(file, raw, reason, numpy_refuses=True):
        (FOLDER / file).write_bytes(raw)
        try:
            np.load(FOLDER / file, allow_pickle=False)
            refused = False
        except Exception:
            refused = True
        assert refused == numpy_refuses, file
        add_refused(file, "npy", reason, acceptedByNumPy=not refused)

    def with_header(text):
        text = text + b" " * (-(len(text) + 11) % 64) + b"\n"
        return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text)) + text

    assert sound[:128] == with_header(header + b"(3, 4), }")  # so the patched headers below are what NumPy would write
    data = sound[128:]
    damage("refuse_empty_file.npy", b"", "no bytes at all")
    damage("refuse_bad_magic.npy", b"\x93NUMPX" + sound[6:], "wrong magic")
    damage("refuse_version_9.npy", sound[:6] + b"\x09\x00" + sound[8:], "unknown version 9.0")
    damage("refuse_cut_in_magic.npy", sound[:5], "ends in the magic")
    damage("refuse_cut_in_header.npy", sound[:60], "ends in the header")
    damage("refuse_cut_in_data.npy", sound[:-1], "one byte of data is missing")
    damage("refuse_header_too_long.npy", sound[:8] + b"\xff\xff" + sound[10:], "header length runs past the end")
    damage("refuse_negative_shape.npy", with_header(header + b"(-3, -4), }") + data, "negative dimension")
    damage("refuse_huge_shape.npy", with_header(header + b"(4294967296, 4294967296), }") + data, "element count overflows")
    damage("refuse_shape_not_numbers.npy", with_header(header + b"('3', 4), }") + data, "dimension is not an integer")
    damage("refuse_missing_key.npy", with_header(b"{'descr': '<f4', 'shape': (3, 4), }") + data, "no fortran_order")
    damage("refuse_extra_key.npy", with_header(header + b"(3, 4), 'extra': 1, }") + data, "an unknown key")
    damage("refuse_not_a_dictionary.npy", with_header(b"[1, 2, 3]") + data, "header is not a dictionary")
    # NumPy reads the first array and leaves the rest of the stream alone; for a file of one tensor that is a fault.
    damage("refuse_trailing_bytes.npy", sound + b"\0\0\0\0", "four bytes after the data", numpy_refuses=False)


# .safetensors

def good_safetensors(file, tensors, metadata=None):
    """`tensors`: name to torch tensor; NumPy has no BF16."""
    safetensors.torch.save_file(tensors, FOLDER / file, metadata=metadata)
    described = []
    names = {torch.float32: "F32", torch.float16: "F16", torch.float64: "F64", torch.bfloat16: "BF16",
             torch.int64: "I64", torch.uint8: "U8"}
    again = safetensors.torch.load_file(FOLDER / file)
    for name, tensor in sorted(tensors.items()):
        assert again[name].dtype == tensor.dtype and torch.equal(again[name], tensor)
        plain = (tensor.view(torch.int16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
        described.append(describe(name, names[tensor.dtype], plain, tensor.to(torch.float64).flatten().tolist()))
    add_read(file, "safetensors", described, metadata=metadata or {})


def write_safetensors():
    floats = {"F32": torch.float32, "F16": torch.float16, "F64": torch.float64, "BF16": torch.bfloat16}

    def tensor(shape, dtype):
        return torch.tensor(values(shape), dtype=torch.float64).reshape(shape).to(dtype)

    for name, dtype in floats.items():
        good_safetensors(f"{name.lower()}.safetensors", {
            "lora_A": tensor((3, 4), dtype), "lora_B": tensor((2, 3, 4), dtype), "bias": tensor((5,), dtype),
            "scalar": tensor((), dtype), "empty": tensor((0, 4), dtype)})
    good_safetensors("integers.safetensors", {
        "counts": torch.tensor([[0, -1, 2**40], [2**53, -(2**53), 7]], dtype=torch.int64),
        "bytes": torch.tensor([0, 1, 127, 128, 255], dtype=torch.uint8)})
    good_safetensors("mixed.safetensors", {
        **{f"layer.{name}": tensor((3, 4), dtype) for name, dtype in floats.items()},
        "step": torch.tensor(200, dtype=torch.int64), "flags": torch.tensor([1, 0, 1], dtype=torch.uint8)})
    good_safetensors("metadata.safetensors", {"weight": tensor((5,), torch.float32), "größe \"q\" \\ 大": tensor((), torch.float32)},
                     metadata={"format": "pt", "rank": "8", "note": "line one\nline \"two\" \\ \u00e9 \u5927 \U0001f600", "empty": ""})
    good_safetensors("no_tensors.safetensors", {}, metadata={"only": "metadata"})

    # The same by the package's NumPy half: other code above the common writer.
    arrays = {"lora_A": array((3, 4), "<f4"), "lora_B": array((3, 4), "<f8"), "half": array((5,), "<f2")}
    safetensors.numpy.save_file(arrays, FOLDER / "numpy.safetensors", metadata={"writer": "numpy"})
    add_read("numpy.safetensors", "safetensors",
             [describe(name, {2: "F16", 4: "F32", 8: "F64"}[value.itemsize], value, numbers_of(value))
              for name, value in sorted(arrays.items())], metadata={"writer": "numpy"})

    data = array((4,), "<f4").tobytes()  # 16 bytes

    def raw(header, body=data, length=None):
        text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
        return struct.pack("<Q", len(text) if length is None else length) + text + body

    def item(begin, end, shape, dtype="F32"):
        return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}

    def opened(file):
        try:
            with safetensors.safe_open(FOLDER / file, framework="np") as source:
                for key in source.keys():
                    source.get_tensor(key)
            return True
        except Exception:
            return False

    # Sound, though no writer makes it like this: no padding, so the data starts at an odd offset; names not in data order.
    header = {"z": item(0, 8, [2]), "a": item(8, 16, [2])}
    if len(raw(header)) % 2 == 0:
        header = {"zz" if name == "z" else name: facts for name, facts in header.items()}
    unaligned = raw(header)
    assert len(unaligned) % 2 == 1
    (FOLDER / "unaligned.safetensors").write_bytes(unaligned)
    assert opened("unaligned.safetensors")
    halves = dict(zip(header, np.split(array((4,), "<f4"), 2)))
    add_read("unaligned.safetensors", "safetensors",
             [describe(name, "F32", half, numbers_of(half)) for name, half in sorted(halves.items())], metadata={})

    def damage(file, content, reason):
        (FOLDER / file).write_bytes(content)
        assert not opened(file), file
        add_refused(file, "safetensors", reason, acceptedBySafetensors=False)

    sound = {"a": item(0, 16, [4])}
    damage("refuse_empty_file.safetensors", b"", "no bytes at all")
    damage("refuse_cut_in_length.safetensors", raw(sound)[:5], "ends in the header length")
    damage("refuse_cut_in_header.safetensors", raw(sound)[:20], "ends in the header")
    damage("refuse_cut_in_data.safetensors", raw(sound)[:-1], "one byte of data is missing")
    damage("refuse_trailing_bytes.safetensors", raw(sound) + b"\0", "a byte after the data")
    damage("refuse_huge_header_length.safetensors", raw(sound, length=2**63), "header length 2^63")
    damage("refuse_not_json.safetensors", raw(b"{not json}"), "header is not JSON")
    damage("refuse_not_utf8.safetensors", raw(b'{"\xff":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'), "header is not UTF-8")
    damage("refuse_not_an_object.safetensors", raw([1, 2]), "header is not an object")
    damage("refuse_missing_dtype.safetensors", raw({"a": {"shape": [4], "data_offsets": [0, 16]}}), "no dtype")
    damage("refuse_unknown_dtype.safetensors", raw({"a": item(0, 16, [4], "F31")}), "unknown dtype")
    damage("refuse_offsets_past_end.safetensors", raw({"a": item(0, 32, [8])}), "offsets run past the data")
    damage("refuse_offsets_reversed.safetensors", raw({"a": item(16, 0, [4])}), "end before begin")
    damage("refuse_size_mismatch.safetensors", raw({"a": item(0, 16, [5])}), "shape and byte count disagree")
    damage("refuse_overlap.safetensors", raw({"a": item(0, 12, [3]), "b": item(8, 16, [2])}), "tensors overlap")
    damage("refuse_hole.safetensors", raw({"a": item(0, 4, [1]), "b": item(8, 16, [2])}), "a gap between tensors")
    damage("refuse_negative_shape.safetensors", raw({"a": item(0, 16, [-4])}), "negative dimension")
    damage("refuse_huge_shape.safetensors", raw({"a": item(0, 16, [2**62, 2**62])}), "element count overflows")
    damage("refuse_metadata_not_text.safetensors", raw({"__metadata__": {"rank": 8}, "a": item(0, 16, [4])}), "metadata value is a number")


FOLDER.mkdir(exist_ok=True)
for old in FOLDER.iterdir():
    old.unlink()
write_npy()
write_safetensors()
fixture.write(FOLDER / "expected.json", "expected.json", {
    "source": f"NumPy {np.__version__}, safetensors {safetensors.__version__}",
    "formula": FORMULA,
    "files": entries,
})
print(len(entries), "files,", sum(e["expect"] == "read" for e in entries), "to be read;",
      sum(f.stat().st_size for f in FOLDER.iterdir()), "bytes in all")
