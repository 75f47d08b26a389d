"""Files damaged at random or made to do harm; fuzz_files.py runs more."""

import gzip
import io
import pickle
import tarfile
import time
import zipfile

import fuzz_files
import numpy as np
import pytest

from keras_davidnet import datasets


def test_damaged_cifar10(tmp_path):
    outcomes = [o for _, o, _ in fuzz_files.fuzz_cifar10(tmp_path, runs=30)]
    assert outcomes.count("ValueError") > 15


def test_damaged_models(tmp_path):
    outcomes = [o for _, o, _ in fuzz_files.fuzz_model(tmp_path, runs=8)]
    assert outcomes.count("loaded") < 8


def npz(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)
    return file.getvalue()


def header(shape, descr="|u1", version=b"\x01\x00"):
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape}}}"
    length = len(text).to_bytes(2 if version[0] == 1 else 4, "little")
    return b"\x93NUMPY" + version + length + text.encode()


def huge_shape():
    return npz(y_test=header((10**12,)) + bytes(1000))


def long_header():
    # Version 2 may give its header 4 GB.
    size = 0xFFFFFFFF.to_bytes(4, "little")
    return npz(y_test=b"\x93NUMPY\x02\x00" + size + bytes(1_000_000))


def long_member():
    return npz(y_test=header((10_000,)) + bytes(100_000_000))


def bzip2_member():
    # Python unpacks bzip2 and LZMA without a limit.
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("y_test.npy", header((10_000,)) + bytes(10_000))
    return file.getvalue()


def gzip_bomb():
    # 10 GB: gzip files one after the other are one gzip file.
    return gzip.compress(bytes(10_000_000), 1) * 1000


def tar_gz(*members):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return gzip.compress(file.getvalue(), 1)


def many_members():
    info = tarfile.TarInfo("data_batch_1").tobuf()
    return gzip.compress(info * 300_000, 1)


def negative_size():
    info = bytearray(tarfile.TarInfo("data_batch_1").tobuf())
    # In base 256, of minus one block.
    info[124:136] = (-512).to_bytes(12, "big", signed=True)
    info[148:156] = b"%06o\0 " % tarfile.calc_chksums(info)[0]
    return gzip.compress(bytes(info) * 4, 1)


def link_to_itself():
    info = tarfile.TarInfo("data_batch_1")
    info.type, info.linkname = tarfile.SYMTYPE, "data_batch_1"
    return gzip.compress(info.tobuf() + bytes(1024), 1)


def many_objects():
    return tar_gz(("data_batch_1", b"\x80\x02" + b"]" * 30_000_000))


def endless_hash():
    # A tuple of twice the tuple before, forty times, as a key.
    key = b"K\x01" + b"2\x86" * 40
    return tar_gz(("data_batch_1", b"\x80\x02}" + key + b"K\x01s."))


def labels_of_labels():
    # Thirty lists, each of twice the one before.
    nest = b"]K\x01a" + b"".join(
        b"q%c0](h%ch%ce" % (i, i, i) for i in range(30)
    )
    batch = pickle.dumps({b"data": np.zeros((10_000, 3072), "uint8")}, 3)
    content = batch[:-1] + b"U\x06labels" + nest + b"s."
    return tar_gz(("data_batch_1", content))


@pytest.mark.parametrize(
    "make, message",
    [
        (huge_shape, r"must be of shape \(10000,\)"),
        (long_header, r"version \(2, 0\)"),
        (long_member, "y_test must be 10000 bytes long"),
        (bzip2_member, "y_test is not compressed as NumPy does"),
        (gzip_bomb, "unpacks to more than"),
        (many_members, "data_batch_1 cannot be read"),
        (negative_size, "data_batch_1 cannot be read"),
        (link_to_itself, "data_batch_1 cannot be read"),
        (many_objects, "too many objects"),
        (endless_hash, "unhashable"),
        (labels_of_labels, "10,000 labels"),
    ],
)
def test_hostile_files(tmp_path, make, message):
    path = tmp_path / "hostile"
    path.write_bytes(make())
    start = time.perf_counter()
    with pytest.raises(ValueError, match=message):
        datasets.load_cifar10(path)
    assert time.perf_counter() - start < 10
