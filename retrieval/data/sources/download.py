"""Downloads that resume, are checked, and appear under their name only when they are whole."""

import http.client
import time
import urllib.error
import urllib.request
from pathlib import Path

from filelock import FileLock
from tqdm import tqdm

from retrieval.errors import DownloadError
from retrieval.run.files import file_hash

ATTEMPTS = 4
"""Tries in a row that bring nothing new before a download is given up."""
TIMEOUT = 30.0
"""Seconds without a byte after which a connection counts as cut."""
PAUSE = 1.0
"""Seconds before the second try; doubled with each further one."""
_BLOCK = 1 << 20
_NOT_AGAIN = (400, 401, 403, 404, 410)
_RANGE_NOT_SATISFIABLE = 416


def fetch(url: str, target: Path, md5: str, megabytes: int) -> Path:
    """``target``, downloaded from ``url`` unless it is there, with the checksum ``md5``.

    Bytes arrive in ``<target>.part``, which a later call continues, also in another process and after a kill;
    a lock keeps two processes from downloading the same file.

    Raises:
        DownloadError: the file cannot be fetched or has another checksum; the message says what to do.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{target}.lock"):
        if target.is_file():
            found = file_hash(target, "md5")
            if found != md5:
                raise DownloadError(f"{target} has md5 {found}, not {md5}; remove it, or replace it by {url}")
            return target
        partial = target.with_name(f"{target.name}.part")
        resumed = partial.is_file() and partial.stat().st_size > 0
        _download(url, partial, target, md5, megabytes)
        if resumed and file_hash(partial, "md5") != md5:
            # What was there before may be of another version of the file: begin anew, once.
            partial.unlink()
            _download(url, partial, target, md5, megabytes)
        found = file_hash(partial, "md5")
        if found != md5:
            partial.unlink()
            raise DownloadError(
                f"{url} has md5 {found}, not {md5}: the file is damaged or has been replaced; put the right "
                f"one at {target}, or name another place with data.beir_url=URL"
            )
        partial.replace(target)
    return target


def _download(url: str, partial: Path, target: Path, md5: str, megabytes: int) -> None:
    """Fill ``partial``, trying again while the connection is cut."""
    failed = 0
    while True:
        before = partial.stat().st_size if partial.is_file() else 0
        try:
            _continue(url, partial, before)
            return
        except (OSError, http.client.HTTPException) as error:
            code = getattr(error, "code", None)
            if code == _RANGE_NOT_SATISFIABLE and before:
                return  # nothing is left to ask for; the checksum decides
            has = partial.stat().st_size if partial.is_file() else 0
            failed = 1 if has > before else failed + 1
            if failed >= ATTEMPTS or code in _NOT_AGAIN:
                raise DownloadError(_advice(url, target, md5, megabytes, has, error)) from error
        time.sleep(PAUSE * 2 ** (failed - 1))


def _continue(url: str, partial: Path, have: int) -> None:
    """Ask for what is missing behind ``have`` bytes and append it; the whole where a server only gives that.

    Raises:
        OSError, http.client.HTTPException: no connection, a refusal, or an early end.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "paretrieve"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
        continued = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
        start = have if have and continued else 0
        length = response.headers.get("Content-Length")
        total = start + int(length) if length else None
        with (
            partial.open("ab" if start else "wb") as file,
            tqdm(
                total=total, initial=start, unit="B", unit_scale=True, delay=2, leave=False, desc=partial.name
            ) as bar,
        ):
            while block := response.read(_BLOCK):
                file.write(block)
                bar.update(len(block))
    # A cut connection ends a read like the end of the file does.
    if total is not None and partial.stat().st_size < total:
        raise ConnectionError(f"the connection was cut after {partial.stat().st_size} of {total} bytes")


def _advice(url: str, target: Path, md5: str, megabytes: int, has: int, error: Exception) -> str:
    reason = " ".join(str(getattr(error, "reason", None) or error).split()) or type(error).__name__
    kept = f"; {has} bytes are kept and the same command resumes" if has else ""
    return (
        f"cannot download {url} ({reason}){kept}: download it where there is a network ({megabytes} MB, md5 "
        f"{md5}) and put it at {target}, or name a mirror with data.beir_url=URL"
    )
