"""Data sets: files found and read, downloads, damage."""

import gzip
import hashlib
import http.server
import io
import os
import struct
import tarfile
import threading
from typing import ClassVar

import lanner as ln
import numpy as np
import pytest
from lanner import datasets
from lanner.datasets import images, source

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 28, 28)).astype(np.uint8)
LABELS = np.array([3, 1, 4, 1, 5], np.uint8)


def idx(array):
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(folder, split="train", packed=True):
    folder.mkdir(parents=True, exist_ok=True)
    prefix = "train" if split == "train" else "t10k"
    for name, array in ((f"{prefix}-images-idx3-ubyte", IMAGES), (f"{prefix}-labels-idx1-ubyte", LABELS)):
        data = idx(array)
        path = folder / (name + ".gz" if packed else name)
        path.write_bytes(gzip.compress(data) if packed else data)


@pytest.fixture(autouse=True)
def clean(tmp_path, monkeypatch):
    monkeypatch.delenv("LANNER_DATA", raising=False)
    monkeypatch.setenv("LANNER_CACHE", str(tmp_path / "cache"))


def check_mnist(result):
    x, y = result
    assert x.dtype == np.uint8
    assert y.dtype == np.int64
    np.testing.assert_array_equal(x, IMAGES[:, None])
    np.testing.assert_array_equal(y, LABELS)
    x[0] = 0  # writable


@pytest.mark.parametrize("packed", [True, False])
def test_where_it_is_looked_for(tmp_path, monkeypatch, packed):
    for folder in ("a/mnist", "b"):
        write_mnist(tmp_path / folder, packed=packed)
    check_mnist(datasets.mnist(root=tmp_path / "a"))
    check_mnist(datasets.mnist(root=tmp_path / "b"))
    monkeypatch.setenv("LANNER_DATA", str(tmp_path / "a"))
    check_mnist(datasets.mnist("train"))
    write_mnist(tmp_path / "cache" / "mnist", "test")
    check_mnist(datasets.mnist("test"))
    write_mnist(tmp_path / "c" / "fashion_mnist_subset")
    check_mnist(datasets.fashion_mnist(root=tmp_path / "c"))


def test_not_found(tmp_path, monkeypatch):
    monkeypatch.setenv("LANNER_DATA", str(tmp_path / "nowhere"))
    with pytest.raises(datasets.DatasetNotFound) as caught:
        datasets.mnist(download=False, root=tmp_path / "root")
    assert isinstance(caught.value, FileNotFoundError)
    text = str(caught.value)
    for part in (
        "mnist: train-images-idx3-ubyte.gz",
        str(tmp_path / "nowhere"),
        str(tmp_path / "root"),
        str(tmp_path / "cache"),
        "download=False",
        "LANNER_DATA",
    ):
        assert part in text
    with pytest.raises(ValueError, match='"train" or "test"'):
        datasets.mnist("validation")


class Server(http.server.BaseHTTPRequestHandler):
    files: ClassVar[dict] = {}

    def do_GET(self):
        data = self.files.get(self.path.lstrip("/"))
        if data is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(data) + (7 if self.path.endswith("cut.gz") else 0)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args):
        pass


@pytest.fixture
def server(monkeypatch):
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Server)
    thread = threading.Thread(target=httpd.serve_forever, daemon=True)
    thread.start()
    base = f"http://127.0.0.1:{httpd.server_address[1]}/"
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield base
    httpd.shutdown()
    httpd.server_close()


def use(monkeypatch, urls, files):
    monkeypatch.setattr(images, "_MNIST", source.Source("mnist", ("mnist",), urls))
    described = tuple(source.File(name, hashlib.sha256(data).hexdigest()) for name, data in files.items())
    monkeypatch.setattr(images, "_MNIST_FILES", {"train": described})


def test_download(server, tmp_path, monkeypatch):
    files = {"images.gz": gzip.compress(idx(IMAGES)), "labels.gz": gzip.compress(idx(LABELS))}
    use(monkeypatch, (server + "missing/", server), files)
    Server.files = files
    check_mnist(datasets.mnist())
    folder = tmp_path / "cache" / "mnist"
    assert sorted(p.name for p in folder.iterdir()) == ["images.gz", "labels.gz"]
    Server.files = {}
    check_mnist(datasets.mnist())  # from the cache now


def test_a_wrong_checksum_is_refused(server, tmp_path, monkeypatch):
    files = {"images.gz": gzip.compress(idx(IMAGES)), "labels.gz": gzip.compress(idx(LABELS))}
    use(monkeypatch, (server,), files)
    Server.files = {**files, "images.gz": files["images.gz"][:-1] + b"!"}
    with pytest.raises(datasets.DatasetNotFound, match="its sha256 is"):
        datasets.mnist()
    assert list((tmp_path / "cache" / "mnist").iterdir()) == []


def test_an_interrupted_download_leaves_nothing(server, tmp_path, monkeypatch):
    files = {"images.gz": gzip.compress(idx(IMAGES)), "labels.gz": gzip.compress(idx(LABELS))}
    use(monkeypatch, (server,), files)
    Server.files = files

    def interrupted(url, out):
        out.write(b"half of it")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(source, "_transfer", interrupted)
        with pytest.raises(KeyboardInterrupt):
            datasets.mnist()
    assert list((tmp_path / "cache" / "mnist").iterdir()) == []
    check_mnist(datasets.mnist())


def test_a_cut_download_is_refused(server, tmp_path, monkeypatch):
    files = {"cut.gz": gzip.compress(idx(IMAGES)), "labels.gz": gzip.compress(idx(LABELS))}
    use(monkeypatch, (server,), {"cut.gz": files["cut.gz"] + b"the rest", "labels.gz": files["labels.gz"]})
    Server.files = files
    with pytest.raises(datasets.DatasetNotFound):
        datasets.mnist()
    assert list((tmp_path / "cache" / "mnist").iterdir()) == []


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_cache_that_cannot_be_written_to(tmp_path, monkeypatch):
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(datasets.DatasetNotFound, match="cannot be written to"):
            datasets.mnist()
    finally:
        tmp_path.chmod(0o700)


@pytest.mark.parametrize(
    ("damage", "match"),
    [
        (lambda data: data[:100], "needs 3920"),
        (lambda data: data + b"x", "3921 bytes of data"),
        (lambda data: b"\0\0\x0d\x03" + data[4:], "not an idx file"),
        (lambda data: data[:6], "not an idx file"),
        (lambda data: data[:4] + b"\xff" * 12 + data[16:], "bytes of data, but shape"),
        (lambda data: gzip.compress(data)[:-20], "damaged"),
        (lambda data: b"\x1f\x8b" + data, "damaged"),
        (lambda data: b"", "not an idx file"),
    ],
)
def test_damaged_idx(tmp_path, damage, match):
    write_mnist(tmp_path, packed=False)
    path = tmp_path / "train-images-idx3-ubyte"
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ln.FormatError, match=match):
        datasets.mnist(root=tmp_path)


def test_images_and_labels_must_agree(tmp_path):
    write_mnist(tmp_path, packed=False)
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(idx(LABELS[:4]))
    with pytest.raises(ln.FormatError, match="5 images, but 4 labels"):
        datasets.mnist(root=tmp_path)


def cifar_block(n, seed):
    rng = np.random.default_rng(seed)
    table = rng.integers(0, 256, (n, 3073)).astype(np.uint8)
    table[:, 0] %= 10
    return table


@pytest.mark.parametrize("form", ["packed", "plain", "archive"])
def test_cifar10(tmp_path, form):
    tables = {f"data_batch_{i}.bin": cifar_block(i, i) for i in range(1, 6)} | {"test_batch.bin": cifar_block(2, 9)}
    if form == "archive":
        with tarfile.open(tmp_path / "cifar-10-binary.tar.gz", "w:gz") as archive:
            for name, table in tables.items():
                info = tarfile.TarInfo("cifar-10-batches-bin/" + name)
                info.size = table.nbytes
                archive.addfile(info, io.BytesIO(table.tobytes()))
    else:
        for name, table in tables.items():
            data = table.tobytes()
            path = tmp_path / (name + ".gz" if form == "packed" else name)
            path.write_bytes(gzip.compress(data) if form == "packed" else data)
    x, y = datasets.cifar10(root=tmp_path)
    assert x.shape == (15, 3, 32, 32)
    expected = np.concatenate([tables[f"data_batch_{i}.bin"] for i in range(1, 6)])
    np.testing.assert_array_equal(y, expected[:, 0])
    np.testing.assert_array_equal(x.reshape(15, -1), expected[:, 1:])
    assert datasets.cifar10("test", root=tmp_path)[0].shape == (2, 3, 32, 32)


def test_damaged_cifar10(tmp_path):
    path = tmp_path / "test_batch.bin"
    path.write_bytes(bytes(3072))
    with pytest.raises(ln.FormatError, match="records of 3073 bytes"):
        datasets.cifar10("test", root=tmp_path)
    path.write_bytes(bytes([10]) + bytes(3072))
    with pytest.raises(ln.FormatError, match="label 10"):
        datasets.cifar10("test", root=tmp_path)
    path.unlink()
    (tmp_path / "cifar-10-binary.tar.gz").write_bytes(b"no archive")
    with pytest.raises(ln.FormatError, match="damaged"):
        datasets.cifar10("test", root=tmp_path)


TABLES = {
    "iris": (150, 4, [50, 50, 50]),
    "wine": (178, 13, [59, 71, 48]),
    "breast_cancer": (569, 30, [212, 357]),
    "digits": (1797, 64, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]),
    "diabetes": (442, 10, None),
}


def check_table(name, x, y):
    rows, features, counts = TABLES[name]
    assert x.shape == (rows, features)
    assert x.dtype == np.float64
    if counts:
        assert y.dtype == np.int64
        assert np.bincount(y).tolist() == counts
    else:
        assert y.dtype == np.float64
        np.testing.assert_allclose((x**2).sum(axis=0), 1)


@pytest.mark.parametrize("name", TABLES)
def test_tables_of_scikit_learn(name):
    pytest.importorskip("sklearn")
    check_table(name, *getattr(datasets, name)())


DATA = os.environ.get("LANNER_DATA", "")


@pytest.mark.skipif(not os.path.isdir(os.path.join(DATA, "uci")), reason="LANNER_DATA has no uci")
@pytest.mark.parametrize("name", TABLES)
def test_tables_from_files(name):
    x, y = getattr(datasets, name)(root=DATA)
    check_table(name, x, y)
    bundled = pytest.importorskip("sklearn.datasets")
    expected_x, expected_y = getattr(bundled, f"load_{name}")(return_X_y=True)
    np.testing.assert_allclose(x, expected_x, atol=1e-15)
    np.testing.assert_array_equal(y, expected_y)


def test_tables_without_anything(monkeypatch):
    import builtins

    real = builtins.__import__

    def no_sklearn(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_sklearn)
    with pytest.raises(datasets.DatasetNotFound, match="pip install scikit-learn"):
        datasets.iris()


def test_damaged_table(tmp_path):
    (tmp_path / "iris.csv").write_text("150,4,a,b,c\n1,2,3,4,0\n")
    with pytest.raises(ln.FormatError, match="header"):
        datasets.iris(root=tmp_path)
    (tmp_path / "iris.csv").write_text("1,4,a,b,c\n1,2,x,4,0\n")
    with pytest.raises(ln.FormatError, match="not a table of numbers"):
        datasets.iris(root=tmp_path)


@pytest.mark.skipif(not os.path.isdir(os.path.join(DATA, "mnist")), reason="LANNER_DATA has no mnist")
def test_real_mnist():
    x, y = datasets.mnist("test", root=DATA)
    assert x.shape == (10000, 1, 28, 28)
    assert np.bincount(y).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
