"""draw_terminal.py COLUMNS < screen > picture.svg: what `tmux capture-pane -p -e` shows, as a picture.

How docs/images/chat.svg came about, for whoever wants it anew:

    tmux new-session -d -x 92 -y 30 'build/default/examples/cli/mm2 chat examples/models/mm2-tiny --greedy --tools examples/tools.json'
    ... type (tmux send-keys -l TEXT; tmux send-keys Enter) ...
    tmux capture-pane -p -e | python3 docs/images/draw_terminal.py 92 > docs/images/chat.svg
"""
import html
import re
import sys

CELL, LINE, MARGIN = 8.4, 18, 14  # of a 14 pixel monospace font


def pieces(line, dim):
    """(text, dimmed) of one line, and whether the next begins dimmed."""
    found = []
    for text, codes in re.findall(r"([^\x1b]*)(?:\x1b\[([0-9;]*)m)?", line):
        if text:
            found.append((text, dim))
        for code in codes.split(";") if codes else ():
            dim = code == "2" or (dim and code not in ("", "0", "22"))
    return found, dim


def main():
    columns, dim = int(sys.argv[1]), False
    lines = sys.stdin.read().rstrip("\n").split("\n")
    width, height = columns * CELL + 2 * MARGIN, len(lines) * LINE + 2 * MARGIN
    print(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}">')
    print(f'<rect width="100%" height="100%" rx="8" fill="#1d1f24"/>')
    print('<g font-family="ui-monospace, Menlo, Consolas, monospace" font-size="14" fill="#e4e6eb" xml:space="preserve">')
    for row, line in enumerate(lines):
        found, dim = pieces(line, dim)
        column = 0
        for text, is_dim in found:
            style = ' fill="#868b96"' if is_dim else ' fill="#8fc7ff"' if column == 0 and text.startswith("> ") else ""
            x, y = MARGIN + column * CELL, MARGIN + (row + 0.75) * LINE
            print(f'<text x="{x:.1f}" y="{y:.1f}" textLength="{len(text) * CELL:.1f}"{style}>{html.escape(text)}</text>')
            column += len(text)
    print("</g>\n</svg>")


main()
