"""Reading safetensors files: weights and embeddings. No file is unpickled.

The header, which has the name, type and shape of every tensor, is compared with what is expected
before any memory is allocated.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from phoneme_moe.errors import InputError
from phoneme_moe.files.compact_weights import WeightBits, restore, stored_form
from phoneme_moe.files.documents import require_regular, shorten_name

if TYPE_CHECKING:
    from torch import Tensor

Shape: TypeAlias = tuple[int, ...]

_TYPES = {"F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U8", "BOOL"}
"""Types that torch can compute with."""

_PICKLES = (b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
"""First bytes of a pickle, and of the archive of pickles that ``torch.save`` writes."""

_PICKLE_FOUND = (
    "found a pickle (such as a PyTorch checkpoint), which can run code and is never opened"
)


def read_tensors(file: Path, check: Callable[[dict[str, Shape]], None]) -> dict[str, Tensor]:
    """Reads the tensors of a safetensors file.

    Args:
        file: The file.
        check: Called with the shapes in the header, by name, before tensors are read; raises an
            InputError if they are not what is expected.

    Raises:
        InputError: The file cannot be read, is no safetensors file, or has a number that is not
            finite; or as ``check`` raises.
    """
    from safetensors import SafetensorError, safe_open

    require_regular(file, "safetensors")
    try:
        with file.open("rb") as stream:
            # Not yet a pickle: the length of a header, in the first bytes, may look the same.
            begins_as_pickle = stream.read(4).startswith(_PICKLES)
        with safe_open(file, framework="pt") as tensors:
            names = tensors.keys()  # the file itself cannot be iterated
            header = {name: tensors.get_slice(name) for name in names}
            for name, tensor in header.items():
                if (found := tensor.get_dtype()) not in _TYPES:
                    raise InputError(
                        f"{file}: {shorten_name(name)}: found type {found}, expected F32"
                    )
            check({name: tuple(tensor.get_shape()) for name, tensor in header.items()})
            read = {name: tensors.get_tensor(name) for name in header}
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error})") from error
    except (SafetensorError, RuntimeError) as error:  # RuntimeError: a file too large to be mapped
        problem = _PICKLE_FOUND if begins_as_pickle else " ".join(str(error).split())
        raise InputError(f"{file}: not readable as safetensors: {problem}") from error
    for name, tensor in read.items():
        if not bool(tensor.isfinite().all()):
            where = f"{file}: {shorten_name(name)}"
            raise InputError(f"{where}: found a number that is not finite")
    return read


def read_weights(
    file: Path, expected: Mapping[str, Tensor], bits: WeightBits = 32
) -> dict[str, Tensor]:
    """Reads the weights of a model.

    Args:
        file: A safetensors file.
        expected: Tensors with the expected shapes, by name; their values do not matter.
        bits: Bits in which weights are stored (``files.compact_weights``).

    Raises:
        InputError: As for ``read_tensors`` and ``restore``, or a shape is wrong, or a tensor has
            integers where real numbers are expected (or vice versa).
    """
    form = stored_form(expected, bits)
    shapes = {name: tuple(tensor.shape) for name, tensor in form.items()}

    def check(found: dict[str, Shape]) -> None:
        if found != shapes:
            name = sorted(set(shapes.items()) ^ set(found.items()))[0][0]
            raise InputError(
                f"{file}: {shorten_name(name)}: found shape {found.get(name)}, expected "
                f"{shapes.get(name)}"
            )

    weights = read_tensors(file, check)
    for name, tensor in weights.items():
        if tensor.is_floating_point() != form[name].is_floating_point():
            raise InputError(f"{file}: {name}: found {tensor.dtype}, expected {form[name].dtype}")
    return restore(weights, expected, bits, file)
