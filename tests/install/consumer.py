"""A host that knows nothing but the shared library: consumer.py LIBMM2 MODEL"""
import ctypes
import sys


class Error(ctypes.Structure):
    _fields_ = [("struct_size", ctypes.c_uint32), ("code", ctypes.c_int32), ("domain", ctypes.c_uint32),
                ("native_code", ctypes.c_int32), ("message", ctypes.c_char * 480)]


library = ctypes.CDLL(sys.argv[1])
library.mm2_version_string.restype = ctypes.c_char_p
library.mm2_buffer_data.restype = ctypes.c_void_p
library.mm2_buffer_data.argtypes = [ctypes.c_void_p]
library.mm2_buffer_size.restype = ctypes.c_size_t
library.mm2_buffer_size.argtypes = [ctypes.c_void_p]
error = Error(struct_size=ctypes.sizeof(Error))


def call(name, *arguments):
    if getattr(library, name)(*arguments, ctypes.byref(error)) != 0:
        raise SystemExit(f"{name}: {error.message.decode()}")


tokenizer, buffer = ctypes.c_void_p(), ctypes.c_void_p()
call("mm2_tokenizer_load", sys.argv[2].encode(), None, ctypes.byref(tokenizer))
call("mm2_buffer_create", ctypes.byref(buffer))
text = "Tokens and back.".encode()
call("mm2_tokenizer_encode", tokenizer, text, ctypes.c_size_t(len(text)), ctypes.c_uint32(0), buffer)
ids = ctypes.string_at(library.mm2_buffer_data(buffer), library.mm2_buffer_size(buffer))
call("mm2_tokenizer_decode", tokenizer, ids, ctypes.c_size_t(len(ids) // 4), ctypes.c_uint32(0), buffer)
assert ctypes.string_at(library.mm2_buffer_data(buffer), library.mm2_buffer_size(buffer)) == text
library.mm2_tokenizer_destroy(tokenizer)
library.mm2_buffer_destroy(buffer)
print(f"mm2 {library.mm2_version_string().decode()} works")
