"""The rooms of the project as docs/architecture.md states them, and who may see whom."""

import re

ROW = re.compile(r"^\|\s*`(?P<room>[^`]+)`\s*\|(?P<lives>[^|]*)\|(?P<uses>[^|]*)\|(?P<outside>[^|]*)\|\s*$")
NAMED = re.compile(r"`([^`]+)`")


class Room:
    def __init__(self, name, uses, outside):
        self.name = name
        self.uses = uses  # rooms it may name, as written
        self.outside = outside  # what it may include of other people's code
        self.visible = set()  # itself and the closure of `uses`


def read_table(root):
    """The rooms by name. Fails loudly when the table is missing or names a room it does not hold."""
    rooms = {}
    for line in (root / "docs/architecture.md").read_text().splitlines():
        row = ROW.match(line)
        if row:
            name = row["room"].rstrip("/")
            if name in rooms:
                raise ValueError(f"docs/architecture.md: room {name} has two rows")
            rooms[name] = Room(name, NAMED.findall(row["uses"]), NAMED.findall(row["outside"]))
    if not rooms:
        raise ValueError("docs/architecture.md: no table of rooms found")
    for room in rooms.values():
        room.uses = [used.rstrip("/") for used in room.uses]
        for used in room.uses:
            if used not in rooms:
                raise ValueError(f"docs/architecture.md: {room.name} may use {used}, which has no row")
    for room in rooms.values():
        pending = [room.name]
        while pending:
            name = pending.pop()
            if name not in room.visible:
                room.visible.add(name)
                pending.extend(rooms[name].uses)
    return rooms


def circles(rooms):
    """Pairs of rooms that see each other: there must be none."""
    return sorted(
        (a.name, b) for a in rooms.values() for b in a.visible if b > a.name and a.name in rooms[b].visible
    )


def room_of(path, rooms):
    """The room a file belongs to: the longest name that is a folder above it. None if there is none."""
    parts = path.split("/")[:-1]
    for n in range(len(parts), 0, -1):
        name = "/".join(parts[:n])
        if name in rooms:
            return rooms[name]
    return None
