"""Downloads come whole or not at all. The sites are servers on this machine."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import published_files
import pytest
import torchvision.datasets
from published_files import dataset, small

from layerpar.datasets import download
from layerpar.datasets.catalogue import SOURCES
from layerpar.datasets.idx import IdxSource
from layerpar.datasets.pickles import PickleSource
from layerpar.errors import UserError


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A site with a small set of the parametrised source, where torchvision looks for it."""
    name = request.param
    folder = tmp_path / "site"
    source = small(name)
    published_files.write(source, folder)
    for variable in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(variable, raising=False)
    reader = getattr(torchvision.datasets, name)
    if isinstance(source, IdxSource):
        folder /= source.folder
        files = [(path.name, md5(path)) for path in sorted(folder.iterdir())]
        monkeypatch.setattr(reader, "resources", files)
    else:
        assert isinstance(source, PickleSource)
        sums = {path.name: md5(path) for path in (folder / source.folder).iterdir()}
        monkeypatch.setattr(reader, "train_list", [[file, sums[file]] for file in source.train_md5])
        monkeypatch.setattr(reader, "test_list", [[file, sums[file]] for file in source.test_md5])
        meta = next(iter(source.meta_md5))
        monkeypatch.setattr(reader, "meta", reader.meta | {"md5": sums[meta]})
        monkeypatch.setattr(reader, "tgz_md5", md5(published_files.pack(source, folder)))
    with serving(folder) as url:
        monkeypatch.setitem(SOURCES, name, replace(source, site=url))
        monkeypatch.setattr(reader, "mirrors", [url], raising=False)
        if isinstance(source, PickleSource):
            monkeypatch.setattr(reader, "url", f"{url}{source.archive_name}")
        yield folder


def md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("site", ["MNIST", "CIFAR100"], indirect=True)
def test_missing_files_are_downloaded_with_progress(
    site: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    name = "MNIST" if "MNIST" in str(site) else "CIFAR100"
    published = dataset(name, tmp_path / "new" / "root")
    info = published.info()
    assert info.num_train == published_files.NUM_TRAIN
    assert "%" in capfd.readouterr().err
    assert not list((tmp_path / "new" / "root").glob(".*")), "no scratch is left"
    SOURCES[name] = replace(SOURCES[name], site="http://127.0.0.1:1/")
    assert published.info() == info, "a second run needs no network"


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # torchvision leaves the refusal's socket open
@pytest.mark.parametrize("site", ["MNIST"], indirect=True)
def test_a_download_that_fails_midway_leaves_nothing(site: Path, tmp_path: Path) -> None:
    (site / "t10k-labels-idx1-ubyte.gz").unlink()
    root = tmp_path / "root"
    with pytest.raises(UserError, match=r"its download failed \(.*404.*try dataset.root=FOLDER") as caught:
        dataset("MNIST", root).info()
    assert "\n" not in str(caught.value)
    del caught
    gc.collect()
    assert not [path for path in root.rglob("*") if path.is_file()]


@pytest.mark.parametrize("site", ["CIFAR10"], indirect=True)
def test_a_spoilt_download_is_refused(site: Path, tmp_path: Path) -> None:
    archive = next(site.glob("*.tar.gz"))
    archive.write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(UserError, match="its download failed"):
        dataset("CIFAR10", tmp_path / "root").info()
    assert not [path for path in (tmp_path / "root").rglob("*") if path.is_file()]


@pytest.mark.parametrize("site", ["MNIST"], indirect=True)
def test_a_root_that_cannot_be_written(site: Path, tmp_path: Path) -> None:
    occupied = tmp_path / "file"
    occupied.write_text("")
    with pytest.raises(UserError, match=r"cannot write to .*; try dataset.root=FOLDER"):
        dataset("MNIST", occupied / "root").info()


@pytest.mark.parametrize("site", ["MNIST"], indirect=True)
def test_a_site_answers_even_when_it_refuses(site: Path) -> None:
    url = SOURCES["MNIST"].site
    assert download.answers(url)
    assert download.answers(f"{url}nothing-here")


def test_a_closed_port_and_a_name_that_does_not_exist_do_not_answer() -> None:
    assert not download.answers("http://127.0.0.1:1/")
    assert not download.answers("http://no-such-host.invalid/")
