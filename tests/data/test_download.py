"""Downloads: cut, resumed, checked; never the real network."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import numpy as np
import pytest

from retrieval.data.sources import download
from retrieval.errors import DownloadError
from tests.data.serving import Served

CONTENT = np.random.default_rng(0).bytes(3_000_000)
MD5 = hashlib.md5(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def one_file(served: Served) -> None:
    served.files["set.zip"] = CONTENT


def fetch(served: Served, target: Path, md5: str = MD5, name: str = "set.zip") -> Path:
    return download.fetch(f"{served.url}/{name}", target, md5, 3)


def test_whole_file_once(served: Served, tmp_path: Path) -> None:
    target = tmp_path / "downloads" / "set.zip"
    assert fetch(served, target).read_bytes() == CONTENT
    fetch(served, target)
    assert len(served.asked) == 1
    assert [path.name for path in target.parent.iterdir() if not path.name.endswith(".lock")] == ["set.zip"]


@pytest.mark.parametrize("ranges", [True, False])
def test_a_cut_connection_is_continued(served: Served, tmp_path: Path, ranges: bool) -> None:
    served.ranges, served.cut = ranges, [1_000_000, 700_000]
    assert fetch(served, tmp_path / "set.zip").read_bytes() == CONTENT
    wanted = [range_ for _, range_ in served.asked]
    assert wanted == [None, "bytes=1000000-", f"bytes={1_700_000 if ranges else 700_000}-"]


def test_a_server_that_always_cuts_leaves_what_came_and_the_next_call_resumes(
    served: Served, tmp_path: Path
) -> None:
    target = tmp_path / "set.zip"
    served.cut = [1_000_000, *[0] * 10]
    with pytest.raises(DownloadError) as caught:
        fetch(served, target)
    message = str(caught.value)
    assert "cut after 1000000 of 3000000 bytes" in message
    assert "1000000 bytes are kept and the same command resumes" in message
    assert f"(3 MB, md5 {MD5}) and put it at {target}" in message
    assert "data.beir_url=URL" in message
    assert "\n" not in message
    assert not target.exists()
    served.cut = []
    fetch(served, target)
    assert served.asked[-1][1] == "bytes=1000000-"
    assert target.read_bytes() == CONTENT


def test_what_was_kept_of_another_version_is_thrown_away(served: Served, tmp_path: Path) -> None:
    target = tmp_path / "set.zip"
    (tmp_path / "set.zip.part").write_bytes(b"other" * 1000)
    assert fetch(served, target).read_bytes() == CONTENT
    (tmp_path / "too-long.zip.part").write_bytes(CONTENT + b"more")
    assert fetch(served, tmp_path / "too-long.zip").read_bytes() == CONTENT
    (tmp_path / "complete.zip.part").write_bytes(CONTENT)
    asked = len(served.asked)
    assert fetch(served, tmp_path / "complete.zip").read_bytes() == CONTENT
    assert len(served.asked) == asked + 1


def test_a_wrong_checksum_leaves_nothing(served: Served, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=rf"set\.zip has md5 {MD5}, not {'0' * 32}.*data\.beir_url=URL"):
        fetch(served, tmp_path / "set.zip", md5="0" * 32)
    assert [path.name for path in tmp_path.iterdir()] == ["set.zip.lock"]


def test_a_file_that_was_put_there_is_checked(served: Served, tmp_path: Path) -> None:
    target = tmp_path / "set.zip"
    target.write_bytes(b"something else")
    with pytest.raises(DownloadError, match=r"set\.zip has md5 .*; remove it, or replace it by http"):
        fetch(served, target)
    target.write_bytes(CONTENT)
    fetch(served, target)
    assert served.asked == []


def test_a_file_that_is_not_there_is_asked_for_once(served: Served, tmp_path: Path) -> None:
    with pytest.raises(DownloadError, match=r"other\.zip \(Not Found\): download it where"):
        fetch(served, tmp_path / "other.zip", name="other.zip")
    assert len(served.asked) == 1


def test_no_network_is_one_line(served: Served, tmp_path: Path) -> None:
    with pytest.raises(
        DownloadError, match=r"cannot download http://127\.0\.0\.1:9/set\.zip \(.*refused"
    ) as caught:
        download.fetch("http://127.0.0.1:9/set.zip", tmp_path / "set.zip", MD5, 3)
    assert "\n" not in str(caught.value)


def test_a_folder_can_be_a_mirror(tmp_path: Path) -> None:
    (tmp_path / "mirror").mkdir()
    (tmp_path / "mirror" / "set.zip").write_bytes(CONTENT)
    target = tmp_path / "set.zip"
    assert download.fetch(f"file://{tmp_path}/mirror/set.zip", target, MD5, 3).read_bytes() == CONTENT


def test_two_callers_download_once(served: Served, tmp_path: Path) -> None:
    target = tmp_path / "set.zip"
    threads = [threading.Thread(target=fetch, args=(served, target)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert target.read_bytes() == CONTENT
    assert len(served.asked) == 1
