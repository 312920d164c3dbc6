"""Claims about the source tree. Each check takes the root of a tree and returns the sentences that say what is wrong."""

import re
import shutil
import subprocess

import rooms as table_of_rooms

CODE = (".h", ".hpp", ".c", ".cpp", ".cc", ".inc", ".cu", ".cuh")
SCRIPTS = (".py", ".cmake", ".sh", "CMakeLists.txt")
INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(?P<quoted>["<])(?P<name>[^">]+)[">]', re.M)
COMMENT_OR_STRING = re.compile(
    r'//[^\n]*|/\*.*?\*/|R"(?P<tag>[^(\s]*)\(.*?\)(?P=tag)"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'', re.S
)

# What a library inside a foreign process must not do.
FORBIDDEN = [
    (r"std::(basic_)?regex\b|<regex>", "std::regex overflows the stack on hostile input"),
    (r"\b(abort|_?exit|_Exit|quick_exit|terminate|longjmp|raise)\s*\(", "nothing ends the host's process"),
    (r"\bassert\s*\(|<cassert>|<assert\.h>", "input is checked by Status, not by assert"),
    (r"\bthrow\b(?!\s*;)", "failures are Status values"),
    (r"\b(v|vf|f)?printf\s*\(|\bf?puts\s*\(|\bputchar\s*\(|\bperror\s*\(", "the library prints nothing"),
    (r"std::w?(cout|cerr|clog)\b|<iostream>", "the library prints nothing"),
    (r"\b(secure_)?getenv\s*\(|\bsetenv\s*\(|\bputenv\s*\(", "the library does not look at the environment"),
    (r"\bsetlocale\s*\(|\bsignal\s*\(|\bsigaction\s*\(", "locale and signals belong to the host"),
    (r"#\s*pragma\s+omp|<omp\.h>", "threads come from the host or from base/executor.h, not from OpenMP"),
    (r"\b(rand|srand|strtok|localtime|gmtime)\s*\(", "global state inside the C library"),
]


def files(root):
    """Every file of the project: what version control holds or would take, or all of a plain folder."""
    if (root / ".git").exists() and shutil.which("git"):
        command = ["git", "-C", str(root), "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
        names = subprocess.run(command, check=True, capture_output=True).stdout.decode().split("\0")
    else:
        names = [str(path.relative_to(root)) for path in root.rglob("*") if "build" not in path.parts]
    return sorted({name for name in names if name and (root / name).is_file()})


def read(root, name):
    return (root / name).read_text(encoding="utf-8", errors="replace")


def blank(match):
    """A comment or literal as nothing, its line breaks kept so that line numbers hold."""
    return " " + "\n" * match.group().count("\n")


def line_of(text, position):
    return text.count("\n", 0, position) + 1


def includes_follow_the_table(root):
    rooms = table_of_rooms.read_table(root)
    wrong = [f"docs/architecture.md: {a} and {b} may use each other" for a, b in table_of_rooms.circles(rooms)]
    for name in files(root):
        room = table_of_rooms.room_of(name, rooms)
        if room is None or not name.endswith(CODE):
            continue
        text = COMMENT_OR_STRING.sub(lambda m: m.group() if m.group()[0] == '"' else blank(m), read(root, name))
        for match in INCLUDE.finditer(text):
            fault = fault_of_include(root, rooms, room, name, match["name"], match["quoted"] == "<")
            if fault:
                wrong.append(f"{name}:{line_of(text, match.start())}: {fault}")
    return wrong


def fault_of_include(root, rooms, room, name, included, angled):
    """Why `room` may not say this include, or None."""
    folder = name.rpartition("/")[0]
    candidates = [included, f"lib/{included}", f"include/{included}", f"bindings/{included}"]
    if not angled:
        candidates.insert(0, f"{folder}/{included}")
    for candidate in candidates:
        if (root / candidate).is_file():
            target = table_of_rooms.room_of(candidate, rooms)
            if target is None:
                return f"{included} lies in no room"
            if target.name not in room.visible:
                return f"{room.name} may not use {target.name} ({included})"
            return None
    return None if outside_is_allowed(room, included) else f"{room.name} may not include <{included}>"


def outside_is_allowed(room, included):
    for allowed in room.outside:
        if allowed == "C++" and "/" not in included and "." not in included:
            return True
        if included == allowed or (allowed.endswith("/") and included.startswith(allowed)):
            return True
    return False


def builds_follow_the_table(root):
    """mm2_room(... USES ...) names only rooms of its row; every room with sources has a row and a build file."""
    rooms = table_of_rooms.read_table(root)
    wrong = []
    for name in files(root):
        top = name.split("/")[0]
        if top in ("lib", "kernels") and name.endswith(CODE) and table_of_rooms.room_of(name, rooms) is None:
            wrong.append(f"{name}: lies in no room of docs/architecture.md")
        if not name.endswith("CMakeLists.txt") or top not in ("lib", "kernels"):
            continue
        for call in re.finditer(r"mm2_(?:cuda_)?room\(([^)]*)\)", read(root, name)):
            words = call[1].split()
            room = rooms.get(words[0])
            if room is None:
                wrong.append(f"{name}: room {words[0]} has no row in docs/architecture.md")
                continue
            if "USES" in words:
                for used in words[words.index("USES") + 1 :]:
                    if used in ("SOURCES", "LINK"):
                        break
                    if used not in room.visible:
                        wrong.append(f"{name}: {room.name} may not use {used}")
    return wrong


def files_are_short(root, limit=700):
    """Tables made by a program say so in their first line and may be long."""
    wrong = []
    for name in files(root):
        if name.endswith(CODE + SCRIPTS) and not name.startswith("tests/data/"):
            lines = read(root, name).splitlines()
            if len(lines) > limit and "generated by" not in lines[0].lower():
                wrong.append(f"{name}: {len(lines)} lines, at most {limit}")
    return wrong


def library_keeps_its_manners(root):
    wrong = []
    for name in files(root):
        if name.split("/")[0] in ("lib", "kernels") and name.endswith(CODE):
            text = COMMENT_OR_STRING.sub(blank, read(root, name))
            for pattern, why in FORBIDDEN:
                for match in re.finditer(pattern, text):
                    wrong.append(f"{name}:{line_of(text, match.start())}: {match.group().strip()}: {why}")
    return wrong


def only_the_border_speaks_c(root):
    wrong = []
    for name in files(root):
        if name.endswith(CODE) and name.split("/")[0] in ("lib", "kernels") and not name.startswith(("lib/capi/", "kernels/cuda/plugin/")):
            text = COMMENT_OR_STRING.sub(lambda m: m.group() if m.group() == '"C"' else blank(m), read(root, name))
            for match in re.finditer(r'extern\s+"C"', text):
                wrong.append(f'{name}:{line_of(text, match.start())}: extern "C" belongs to lib/capi')
    return wrong


def sources_are_ascii(root):
    """Tests and training scripts hold text as data and are left out."""
    wrong = []
    for name in files(root):
        if name.endswith(CODE + SCRIPTS) and not name.startswith(("tests/", "examples/models/")):
            for number, line in enumerate((root / name).read_bytes().split(b"\n"), 1):
                if not line.isascii():
                    wrong.append(f"{name}:{number}: bytes outside ASCII; write them as escapes")
    return wrong


def nothing_names_a_machine(root):
    """No path that exists on one developer's machine only, and nothing outside the tree."""
    places = re.compile("(?<![\\w.])/(" + "|".join(("work", "home", "root", "Users", "farm")) + r")/\w|\.\./" + "shared/")
    wrong = []
    for name in files(root):
        if name.startswith(("tests/data/", "examples/models/")) or (root / name).stat().st_size > 1 << 20:
            continue
        text = read(root, name)
        for match in places.finditer(text):
            wrong.append(f"{name}:{line_of(text, match.start())}: a path of one machine: {match.group()}")
    return wrong


def links_lead_somewhere(root):
    """Relative links of the documents."""
    wrong = []
    for name in files(root):
        if name.endswith(".md") and not name.startswith("tests/data/"):
            folder = (root / name).parent
            for target in re.findall(r"\]\(([^)#\s]+)", re.sub(r"```.*?```", "", read(root, name), flags=re.S)):
                if "://" not in target and not target.startswith("mailto:") and not (folder / target).exists():
                    wrong.append(f"{name}: link to {target}, which does not exist")
    return wrong


def test_names_survive_ctest(root):
    """CMake reads a bracket or semicolon in a list of names as structure, and tests get lost without a word."""
    wrong = []
    for name in files(root):
        if name.startswith("tests/") and name.endswith(".cpp"):
            text = read(root, name)
            for match in re.finditer(r'TEST_CASE\(\s*((?:"(?:\\.|[^"\\])*"\s*)+)', text):
                if re.search(r"[\[\];]", match[1]):
                    wrong.append(f"{name}:{line_of(text, match.start())}: the name {match[1].strip()} holds one of [ ] ;")
    return wrong


ALL = {
    "includes": includes_follow_the_table,
    "builds": builds_follow_the_table,
    "sizes": files_are_short,
    "manners": library_keeps_its_manners,
    "extern-c": only_the_border_speaks_c,
    "ascii": sources_are_ascii,
    "machines": nothing_names_a_machine,
    "links": links_lead_somewhere,
    "test-names": test_names_survive_ctest,
}
