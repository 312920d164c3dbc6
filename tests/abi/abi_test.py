"""Claims about the C ABI that are read off headers, compiler and library.

abi_test.py CHECK key=value...   keys: source (root), cc, cxx, nm, readelf, library, layout, misuse, experimental,
                             reload
abi_test.py --write-goldens ...  writes tests/abi/golden anew; additions are fine after 0.1, changes are not
"""

import pathlib
import re
import subprocess
import sys
import tempfile

STRICT = ["-pedantic", "-Wall", "-Wextra", "-Werror", "-fsyntax-only"]


def run(*command):
    done = subprocess.run([str(c) for c in command], capture_output=True, text=True)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(map(str, command))}\nexit {done.returncode}\n{done.stdout}{done.stderr}")
    return done.stdout


class Abi:
    def __init__(self, given):
        self.given = given
        self.include = pathlib.Path(given["source"]) / "include"
        self.here = pathlib.Path(given["source"]) / "tests/abi"
        self.headers = sorted((self.include / "mm2").glob("*.h"))

    # What the goldens hold.

    def constants(self):
        """Every object-like macro of the headers, with its value."""
        text = run(self.given["cc"], "-std=c17", "-dM", "-E", "-I", self.include, self.include / "mm2/mm2.h")
        found = re.findall(r"^#define (MM2_\w+) (.+)$", text, re.M)
        return "".join(sorted(f"{name} {value}\n" for name, value in found if name != "MM2_API"))

    def layout(self):
        return run(self.given["layout"])

    def symbols(self):
        text = run(self.given["nm"], "-D", "--defined-only", self.given["library"])
        names = [line.split()[-1] for line in text.splitlines()]
        return "".join(sorted(f"{name}\n" for name in names if name.split("@")[0] != "MM2_0"))

    # Checks.

    def check_headers(self):
        """each header alone is clean C89 to C17 and C++11 to C++20, and includes nothing foreign"""
        for header in self.headers:
            for standard in ["c89", "c99", "c11", "c17"]:
                run(self.given["cc"], f"-std={standard}", *STRICT, "-x", "c", header)
            for standard in ["c++11", "c++14", "c++17", "c++20"]:
                run(self.given["cxx"], f"-std={standard}", *STRICT, "-x", "c++", header)
            for included in re.findall(r"#include\s+(\S+)", header.read_text()):
                own = included.strip('"') in [h.name for h in self.headers]
                assert own or included in ["<stddef.h>", "<stdint.h>"], f"{header.name} includes {included}"
        for standard in ["c++17", "c++20"]:
            run(self.given["cxx"], f"-std={standard}", "-Wshadow", *STRICT, "-x", "c++", self.include / "mm2/mm2.hpp")

    def check_shapes(self):
        """no enum, bool, long, bit-field, union or variable argument list in a declaration"""
        for header in self.headers:
            code = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.S)
            for word in ["enum", "bool", "long", "union", "short", "unsigned", "FILE", "inline", "..."]:
                hit = re.search(r"(?<!\w)" + re.escape(word) + r"(?!\w)", code)
                assert not hit, f"{header.name} uses {word}"

    def check_constants(self):
        """constants have their golden values"""
        self.compare("constants.txt", self.constants())

    def check_layout(self):
        """structs have their golden layout, list every field, and leave no gap"""
        text = self.layout()
        self.compare("layout.txt", text)
        printed, end, size = set(), 0, 0
        for line in text.splitlines():
            name, *numbers = line.split()
            if line[0] != " ":
                assert end == size, f"before {name}: fields end at {end}, the struct at {size}"
                end, size = 0, int(numbers[0])
                printed.add(name)
            else:
                assert int(numbers[0]) == end, f"field {name}: at {numbers[0]}, the one before ends at {end}"
                end += int(numbers[1])
        assert end == size
        declared = set(re.findall(r"^typedef struct (\w+) \{", self.all_text(), re.M))
        assert declared == printed, f"not in layout.c: {sorted(declared - printed)}"

    def check_symbols(self):
        """the library exports its golden list: what the headers declare, and nothing else"""
        text = self.symbols()
        self.compare("symbols.txt", text)
        exported = {line.replace("@@MM2_0", "") for line in text.splitlines()}
        declared = set(re.findall(r"^MM2_API[^;(]*?(\w+)\(", self.all_text(), re.M))
        assert exported == declared, f"declared and exported differ by {sorted(exported ^ declared)}"

    def check_library(self):
        """soname is the ABI number, symbols are bound at load, nothing runs from a writable page"""
        text = run(self.given["readelf"], "-dlW", self.given["library"])
        version = re.search(r"#define MM2_ABI_VERSION (\d+)", self.all_text()).group(1)
        assert f"[libmm2.so.{version}]" in text, "soname"
        assert "NOW" in text and "GNU_RELRO" in text, "not bound at load"
        assert "TEXTREL" not in text
        stack = re.search(r"GNU_STACK.*", text).group(0)
        assert "RWE" not in stack, "executable stack"

    def check_imports(self):
        """our code neither ends nor forks the process, nor prints, nor changes what belongs to the host"""
        text = run(self.given["nm"], "-D", "--undefined-only", self.given["library"])
        imported = {line.split()[-1].split("@")[0] for line in text.splitlines()}
        forbidden = {"abort", "exit", "_exit", "quick_exit", "__assert_fail", "raise", "kill", "printf", "puts",
                     "putchar", "vprintf", "perror", "stdout", "stderr", "_ZSt4cout", "_ZSt4cerr", "_ZSt4clog",
                     "fork", "system", "popen", "execve", "dlclose", "setenv", "putenv", "setlocale", "signal",
                     "sigaction", "socket", "longjmp", "fesetround", "chdir", "umask", "atexit", "srand", "rand"}
        assert not imported & forbidden, f"imports {sorted(imported & forbidden)}"

    def check_misuse(self):
        """every function survives nothing and garbage, and nothing is printed"""
        source = (self.here / "misuse.c").read_text()
        declared = re.findall(r"^MM2_API[^;(]*?(\w+)\(", self.all_text(), re.M)
        missing = [name for name in declared if not re.search(rf"\b{name}\b", source)]
        assert not missing, f"misuse.c never calls {missing}"
        self.run_silent(self.given["misuse"])

    def check_reload(self):
        """the library can be opened, used and closed at run time, again and again"""
        run(self.given["reload"], self.given["library"])

    def check_experimental(self):
        """the experimental header keeps the rules of the others, its functions are in the archive only and refuse what does not fit"""
        header = self.include / "mm2/experimental/kernels.h"
        for standard in ["c89", "c99", "c11", "c17"]:
            run(self.given["cc"], f"-std={standard}", *STRICT, "-x", "c", header)
        for standard in ["c++11", "c++20"]:
            run(self.given["cxx"], f"-std={standard}", *STRICT, "-x", "c++", header)
        declared = set(re.findall(r"^MM2_API[^;(]*?(\w+)\(", header.read_text(), re.M))
        assert declared and all(name.startswith("mm2x_") for name in declared), declared
        assert "mm2x_" not in run(self.given["nm"], "-D", "--defined-only", self.given["library"])
        source = (self.here / "experimental.c").read_text()
        missing = [name for name in declared if not re.search(rf"\b{name}\b", source)]
        assert not missing, f"experimental.c never calls {missing}"
        self.run_silent(self.given["experimental"])

    # Means.

    def run_silent(self, program):
        """The program ends well, says nothing, and leaves no file."""
        with tempfile.TemporaryDirectory() as folder:
            report = pathlib.Path(folder) / "report"
            done = subprocess.run([program, str(report)], capture_output=True, cwd=folder)
            said = report.read_text() if report.exists() else ""
            assert done.returncode == 0, f"exit {done.returncode} {said}{done.stderr.decode()}"
            assert done.stdout == b"" and done.stderr == b"", f"printed {done.stdout!r} {done.stderr!r}"
            assert not list(pathlib.Path(folder).iterdir()), "left files behind"

    def all_text(self):
        return "\n".join(header.read_text() for header in self.headers)

    def compare(self, name, text):
        golden = (self.here / "golden" / name).read_text()
        old, new = golden.splitlines(), text.splitlines()
        gone = [line for line in old if line not in new]
        added = [line for line in new if line not in old]
        assert text == golden, f"golden/{name}: gone {gone}, added {added}"

    def write_goldens(self):
        for name, text in [("constants.txt", self.constants()), ("layout.txt", self.layout()),
                           ("symbols.txt", self.symbols())]:
            (self.here / "golden" / name).write_text(text)


def main():
    abi = Abi(dict(pair.split("=", 1) for pair in sys.argv[2:]))
    if sys.argv[1] == "--write-goldens":
        abi.write_goldens()
    else:
        getattr(abi, "check_" + sys.argv[1])()


if __name__ == "__main__":
    main()
