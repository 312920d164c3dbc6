"""The header of argv[1] with its comments as doxygen wants them: of a declaration before it, of a field behind it.

The headers are written for the eye: line breaks and columns of their comments are kept.
"""

import re
import sys


def convert(match):
    head, text, tail = match["head"], match["text"], match["tail"]
    if head.strip():  # behind a field or a constant
        body = " ".join(line.strip(" *\t") for line in text.splitlines())
        return f"{head}/**< {escape(body)} */{tail}"
    lines = [re.sub(r"^ \* ?", "", line) for line in text.strip().splitlines()]
    return head + "/**\n" + "\n".join(" * " + escape(line) + "<br>" if line.strip() else " *" for line in lines) + "\n */" + tail


def escape(text):
    """Words that doxygen would take for commands or markup."""
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    text = re.sub(r"([@\\#%])", r"\\\1", text)
    # Columns of a table in plain text.
    return re.sub(r" {2,}", lambda m: " " + "&nbsp;" * (len(m.group()) - 1), text)


def main():
    with open(sys.argv[1], encoding="utf-8") as file:
        source = file.read().replace("/* ", "/* @file@", 1)  # the first one is about the header
    made = re.sub(r"(?P<head>^[^\n]*?)/\*(?P<text>.*?)\*/(?P<tail>)", convert, source, flags=re.S | re.M)
    sys.stdout.write(made.replace("\\@file\\@", "@file\n * ", 1))


main()
