/* mm2/abi.h: what every other header of mm2 stands on, and the conventions of the whole C ABI.
 *
 * Names       mm2_<object>_<verb>; a verb means the same everywhere. create, load and clone give
 *             ownership and end with destroy; get borrows or copies out; describe writes JSON.
 * Arguments   The object first, then inputs, then outputs, mm2_error *err last. err may be NULL.
 * Threads     A `const T *` may be used from any number of threads at once. A `T *` needs the
 *             caller to keep other threads away from that object for the length of the call.
 *             Exceptions say so (mm2_engine_interrupt). Different objects never need that.
 * Structs     Every struct that a caller hands over starts with struct_size = sizeof(it), as
 *             mm2_<x>_init or `= {sizeof x}` set it. A larger struct than the library knows is
 *             accepted while its unknown tail is zero (otherwise MM2_E_UNSUPPORTED); a smaller one,
 *             from an older header, is read as if continued with zeros. Zero means "the default"
 *             in every field. Fields named reserved must be zero, struct_size is at most 4096.
 *             Structs only ever grow at their end. For structs that the library fills, it writes
 *             min(struct_size, its own size) bytes, zeroes what lies beyond, and leaves struct_size
 *             as it was.
 * Text        UTF-8 bytes and a length, without a NUL, unless the type is a plain `const char *`.
 * Failure     A call that fails leaves its objects and its outputs as they were before the call.
 *             Nothing that is asked for is adjusted silently: out of range is an error that names
 *             the range, not implemented is MM2_E_UNSUPPORTED.
 * Process     Nothing aborts, exits, throws, prints, reads environment variables that change
 *             results, sets a locale or a signal handler, or opens a socket. No object outlives
 *             its destroy in threads or memory, except as child objects hold their parents.
 *
 * Only <stddef.h> and <stdint.h> are included by the headers of mm2; they are C89 to C++20. */
#ifndef MM2_ABI_H
#define MM2_ABI_H

#include <stddef.h>
#include <stdint.h>

/* Moves only when a binary built against older headers would break. Equal to the number of the
 * soname. */
#define MM2_ABI_VERSION 0

/* Marks the functions that the shared library exports. */
#if defined(__GNUC__) || defined(__clang__)
#define MM2_API __attribute__((visibility("default")))
#else
#define MM2_API
#endif

/* Three-way switches in options. */
#define MM2_AUTO 0
#define MM2_NO 1
#define MM2_YES 2

#endif
