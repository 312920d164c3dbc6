"""What a compiled CUDA kernel takes and which instructions it holds, out of the ELF files (cubins) that lie uncompressed
in an object, a library or a file of their own.

Instructions of sm_90 are 16 bytes; bits 0-8 of the first eight say which one it is (bits 9-11 where its operands come from).
The numbers below are what nvdisasm 13.0 shows for them."""

import dataclasses
import struct

EM_CUDA = 190
OPCODES = {0x1F0: "HGMMA", 0x03C: "HMMA", 0x183: "LDL", 0x187: "STL", 0x1BA: "UBLKCP", 0x1BC: "UBLKPF", 0x1AE: "LDGSTS"}
ATTRIBUTE_REGISTERS, ATTRIBUTE_FRAME = 0x2F, 0x11
RESERVED_SHARED = 1024  # of each block, by the system


@dataclasses.dataclass
class Kernel:
    name: str  # mangled
    registers: int = -1
    frame: int = 0  # bytes of local memory of a thread
    shared: int = 0  # static, without the system's own
    instructions: int = 0
    counts: dict = dataclasses.field(default_factory=dict)  # of OPCODES


def cubins(data):
    """Every cubin in the bytes of a file, as (offset, bytes up to the end of the file)."""
    at = data.find(b"\x7fELF")
    while at >= 0:
        if len(data) >= at + 64 and struct.unpack_from("<H", data, at + 18)[0] == EM_CUDA:
            yield data[at:]
        at = data.find(b"\x7fELF", at + 4)


def sections(elf):
    """[(name, offset, size)] of an ELF file of 64 bits; numbers that lead out of it are a ValueError."""
    try:
        (table,) = struct.unpack_from("<Q", elf, 40)
        entry, count, names = struct.unpack_from("<HHH", elf, 58)
        raw = [struct.unpack_from("<IIQQQQ", elf, table + i * entry) for i in range(count)]
        start = raw[names][4]
        found = []
        for name, kind, _, _, offset, size in raw:
            end = elf.index(b"\0", start + name)
            if kind != 8 and offset + size > len(elf):  # 8: no bytes of its own
                raise ValueError(f"a section of {size} bytes at {offset} leads out of the file")
            found.append((elf[start + name : end].decode(), offset, size))
        return found
    except (struct.error, IndexError) as error:
        raise ValueError(f"not a whole ELF file: {error}") from error


def symbols(elf, found):
    places = {name: (offset, size) for name, offset, size in found}
    offset, size = places[".symtab"]
    strings = places[".strtab"][0]
    names = []
    for at in range(offset, offset + size, 24):
        (name,) = struct.unpack_from("<I", elf, at)
        names.append(elf[strings + name : elf.index(b"\0", strings + name)].decode())
    return names


def attributes(elf, offset, size):
    """(attribute, value) of .nv.info: a form, an attribute, and two bytes of value or of its length."""
    at, end = offset, offset + size
    while at + 4 <= end:
        form, attribute, length = struct.unpack_from("<BBH", elf, at)
        at += 4
        value = b""
        if form == 4:
            value = elf[at : at + length]
            at += length
        yield attribute, value


def kernels(elf):
    """The kernels of one cubin, by name."""
    found = sections(elf)
    names = symbols(elf, found)
    result = {}
    for name, offset, size in found:
        if not name.startswith(".text."):
            continue
        kernel = result.setdefault(name[6:], Kernel(name[6:]))
        kernel.instructions = size // 16
        for at in range(offset, offset + size, 16):
            which = OPCODES.get(struct.unpack_from("<Q", elf, at)[0] & 0x1FF)
            if which:
                kernel.counts[which] = kernel.counts.get(which, 0) + 1
    for name, offset, size in found:
        if name.startswith(".nv.shared.") and name[11:] in result:
            result[name[11:]].shared = max(0, size - RESERVED_SHARED)
        if name != ".nv.info":
            continue
        for attribute, value in attributes(elf, offset, size):
            if attribute not in (ATTRIBUTE_REGISTERS, ATTRIBUTE_FRAME):
                continue
            symbol, number = struct.unpack("<II", value)
            if names[symbol] in result:
                which = "registers" if attribute == ATTRIBUTE_REGISTERS else "frame"
                setattr(result[names[symbol]], which, number)
    return result
