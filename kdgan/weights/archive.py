"""A zip file of somebody else's: its members by name, each read up to a size that its own header and a limit allow.

PyTorch's files and NumPy's .npz are zip files. What a directory of one says of itself may be false: a member may unfold to
more than it says, to a thousand times the file, or lie where another one lies.
"""

import pathlib
import struct
import zipfile
import zlib

# What members may unfold to, all together: so many bytes, or so many times the file, whichever is more. PyTorch stores them
# as they are; numpy.savez_compressed makes trained parameters smaller by a tenth.
MOST_BYTES = 2**26
MOST_TIMES = 8
MOST_MEMBERS = 100_000

_TAKEN = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_ERRORS = (
    zipfile.BadZipFile,
    zlib.error,
    struct.error,
    EOFError,
    OSError,
    NotImplementedError,
    RuntimeError,
    ValueError,
)


def is_archive(path: pathlib.Path) -> bool:
    """Whether a file begins as a zip file does."""
    with open(path, "rb") as file:
        return file.read(4) == b"PK\x03\x04"


class Archive:
    """A zip file, open for reading; close it, or use it as a context.

    Raises:
      ValueError: it is damaged, names a member twice, or is encrypted; so does `read`, of a member that is not what the
        directory says, or once more was unfolded than is accepted.
    """

    def __init__(self, path: pathlib.Path):
        try:
            self._file = zipfile.ZipFile(path)
        except _ERRORS as error:
            raise ValueError(f"it is a damaged zip file ({_first_line(error)})") from error
        try:
            self.size = path.stat().st_size
            self._left = self.most = max(MOST_BYTES, MOST_TIMES * self.size)
            infos = self._file.infolist()
            if len(infos) > MOST_MEMBERS:
                raise ValueError(f"it has {len(infos):,} members; at most {MOST_MEMBERS:,} are accepted")
            self._infos = {info.filename: info for info in infos}
            if len(self._infos) < len(infos):
                names = [info.filename for info in infos]
                twice = next(name for name in names if names.count(name) > 1)
                raise ValueError(f"it names its member {twice!r} twice")
            for info in infos:
                if info.compress_type not in _TAKEN or info.flag_bits & 1:
                    raise ValueError(
                        f"its member {info.filename!r} is encrypted, or compressed in another way than deflate"
                    )
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> "Archive":
        return self

    def __exit__(self, *exception) -> None:
        self._file.close()

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._infos)

    def bytes_of(self, name: str) -> int | None:
        """What a member unfolds to, as the directory says; None: there is none of this name."""
        info = self._infos.get(name)
        return None if info is None else info.file_size

    def take(self, size: int) -> None:
        """Count bytes that are about to be made of this file.

        Raises:
          ValueError: with those before they are more than is accepted.
        """
        self._left -= size
        if self._left < 0:
            raise ValueError(
                f"it unfolds to more than {self.most / 2**20:,.0f} MiB, from {self.size / 2**20:.3g} MiB on the disk; that"
                " is no file of weights"
            )

    def read(self, name: str, most: int | None = None) -> bytes:
        """The content of a member.

        Args:
          name: of the member.
          most: bytes that it may have.
        """
        info = self._infos[name]
        if most is not None and info.file_size > most:
            raise ValueError(f"its member {name!r} has {info.file_size:,} bytes; at most {most:,} are accepted")
        self.take(info.file_size)
        if info.compress_type == zipfile.ZIP_STORED and info.compress_size != info.file_size:
            raise ValueError(f"its member {name!r} is not as long as the directory says")
        try:
            with self._file.open(info) as member:
                # One more than it says: a member that goes on is noticed, and read no further.
                content = member.read(info.file_size + 1)
        except _ERRORS as error:
            raise ValueError(f"its member {name!r} is damaged ({_first_line(error)})") from error
        if len(content) != info.file_size:
            raise ValueError(f"its member {name!r} is not as long as the directory says")
        return content


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]
