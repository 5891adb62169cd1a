"""External embeddings of speakers or recordings (x-vectors, ...), from a safetensors file.

Each tensor is one vector, named after an utterance, a recording's file name without its suffix, or
a speaker.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor

from phoneme_moe.errors import InputError, suggest
from phoneme_moe.files.documents import shorten_name
from phoneme_moe.files.weight_files import Shape, read_tensors


class Embeddings:
    """The embeddings in a file, by name."""

    def __init__(self, path: str | Path, size: int) -> None:
        """Reads and checks the file.

        Args:
            path: A safetensors file.
            size: Length of every vector.

        Raises:
            InputError: The file cannot be read, or a vector has a wrong size or is not finite.
        """
        self.path = Path(path)

        def check(shapes: dict[str, Shape]) -> None:
            for name, shape in shapes.items():
                if shape != (size,):
                    found = "x".join(map(str, shape))
                    raise InputError(
                        f"{path}: {shorten_name(name)}: found shape {found}, expected {size} "
                        "numbers (model.encoder.sparse.router.embedding_size)"
                    )

        self.vectors = read_tensors(self.path, check)

    def lookup(self, names: Sequence[str]) -> Tensor:
        """Returns the vector of the first name in the file, in float32, shape (size,).

        Args:
            names: Possible names, from the most specific to the most general.

        Raises:
            InputError: The file has none of them.
        """
        for name in names:
            if name in self.vectors:
                return self.vectors[name].float()
        wanted = " or ".join(repr(name) for name in names)
        raise InputError(f"{self.path}: no vector named {wanted}{suggest(names[-1], self.vectors)}")
