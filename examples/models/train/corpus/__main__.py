"""Prints examples of every skill.

    python -m corpus --show 3              # three examples of every generator
    python -m corpus --skill single_tool   # only one generator
"""

import argparse
import random

from . import MIXTURE, draw


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--show", type=int, default=2, help="examples per generator")
    parser.add_argument("--skill", help="only generators whose name contains this")
    parser.add_argument("--held-out", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    r = random.Random(args.seed)
    for make, _ in MIXTURE:
        if args.skill and args.skill not in make.__name__:
            continue
        for _ in range(args.show):
            ex = draw(r, args.held_out, [(make, 1)])
            print(f"--- {make.__name__} [{ex.skill}] key={ex.key!r}")
            if ex.raw is not None:
                print(f"{ex.raw_prompt!r} => {ex.raw!r}")
            if ex.tools:
                print("tools:", ", ".join(t["function"]["name"] for t in ex.tools))
            for m in ex.messages:
                calls = [
                    (c["function"]["name"], c["function"]["arguments"])
                    for c in m.get("tool_calls", [])
                ]
                print(
                    f"{m['role']:>9}: "
                    + (f"<{m['reasoning_content']}> " if "reasoning_content" in m else "")
                    + str(m["content"])
                    + (f" {calls}" if calls else "")
                )


if __name__ == "__main__":
    main()
