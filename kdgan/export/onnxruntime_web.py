"""The files of onnxruntime-web that a page carries: fetched once into the user's cache, and checked whenever they are read.

    python -m kdgan.export.onnxruntime_web                                  # fetches them by npm, 33 MB
    python -m kdgan.export.onnxruntime_web onnxruntime-web-1.30.0.tgz       # takes them from the npm package that you have

They are what npm's package of this version holds; no script of it is run, and none of what it depends on is needed.
"""

import hashlib
import pathlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Sequence
from typing import NamedTuple

from kdgan import files
from kdgan.data.cache import cache_dir

VERSION = "1.30.0"
PACKAGE = f"onnxruntime-web@{VERSION}"
COMMAND = "python -m kdgan.export.onnxruntime_web"
MODULE, WASM = "ort.wasm.bundle.min.mjs", "ort-wasm-simd-threaded.wasm"
SHA256 = {
    MODULE: "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    WASM: "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
MOST_BYTES = 64 << 20  # of one file of the package; the larger one has 14 MB
SECONDS = 900  # that npm is waited for


class Runtime(NamedTuple):
    """The two files.

    Attributes:
      module: an ECMAScript module.
      wasm: the WebAssembly that it runs.
    """

    module: bytes
    wasm: bytes


def folder() -> pathlib.Path:
    """Where they lie in the user's cache. Not created here."""
    return cache_dir() / "onnxruntime-web" / VERSION


def read() -> Runtime:
    """The files of the user's cache.

    Raises:
      ValueError: they are not there, or not those of this version; it says what fetches them.
    """
    contents = {}
    for name in SHA256:
        path = folder() / name
        try:
            contents[name] = path.read_bytes()
        except FileNotFoundError:
            raise ValueError(
                f"a page needs {name} of {PACKAGE}, which is not in {folder()}; run `{COMMAND}` once (by npm), or"
                f" `{COMMAND} FILE` with the package's .tgz"
            ) from None
        _check(name, contents[name], str(path))
    return Runtime(contents[MODULE], contents[WASM])


def fetch(archive: str | pathlib.Path | None = None) -> pathlib.Path:
    """Put the files into the user's cache; return their folder.

    Args:
      archive: npm's package, a .tgz; None: npm fetches it.

    Raises:
      ValueError: no npm, npm failed, or the archive is not the package of this version. What was in the cache stays.
    """
    if archive is None:
        with tempfile.TemporaryDirectory() as temporary:
            contents = _members(_packed(pathlib.Path(temporary)))
    else:
        contents = _members(files.folder(archive))
    for name, content in contents.items():
        files.write_atomic(folder() / name, content)
    return folder()


def _packed(temporary: pathlib.Path) -> pathlib.Path:
    """The package as npm fetches it."""
    npm = shutil.which("npm")
    if npm is None:
        raise ValueError(
            f"{COMMAND}: there is no npm (of Node.js); install it, or where there is one run `npm pack {PACKAGE}` and then"
            f" here `{COMMAND} onnxruntime-web-{VERSION}.tgz`"
        )
    command = [npm, "pack", PACKAGE, "--ignore-scripts", "--pack-destination", str(temporary)]
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise ValueError(f"`npm pack {PACKAGE}` did not end within {SECONDS} s") from None
    archives = list(temporary.glob("*.tgz"))
    if ended.returncode or len(archives) != 1:
        told = [line for line in ended.stderr.splitlines() if "error" in line.lower() or "ERR" in line]
        raise ValueError(f"`npm pack {PACKAGE}` failed: {' '.join((told or ['it wrote no package'])[0].split())}")
    return archives[0]


def _members(archive: pathlib.Path) -> dict[str, bytes]:
    """The files out of the package, which nothing is unpacked of."""
    contents = {}
    try:
        with tarfile.open(archive, "r:gz") as package:
            for name in SHA256:
                member = package.getmember(f"package/dist/{name}")
                stream = package.extractfile(member) if member.isfile() and member.size <= MOST_BYTES else None
                contents[name] = b"" if stream is None else stream.read()
    except FileNotFoundError:
        raise ValueError(f"{archive}: no such file") from None
    except KeyError as error:
        raise ValueError(f"{archive}: no package of {PACKAGE}: {error.args[0]}") from None
    except (tarfile.TarError, OSError, EOFError) as error:
        raise ValueError(f"{archive}: no .tgz as `npm pack {PACKAGE}` writes it: {error}") from None
    for name, content in contents.items():
        _check(name, content, f"{name} in {archive}")
    return contents


def _check(name: str, content: bytes, where: str) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != SHA256[name]:
        raise ValueError(
            f"{where} is not that of {PACKAGE}: its SHA-256 is {digest[:12]}…, not {SHA256[name][:12]}…; run `{COMMAND}`"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    given = list(sys.argv[1:] if arguments is None else arguments)
    if len(given) > 1 or any(argument.startswith("-") for argument in given):
        print(__doc__)
        return 0 if given[:1] in (["-h"], ["--help"]) else 2
    try:
        print(f"{PACKAGE}: {fetch(*given)}")
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
