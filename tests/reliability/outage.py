"""Records a process, cuts the power at many moments of its life, and has the bus open what is left of its disk.

    python outage.py SEED DURABILITY IMAGES [FAULT]

prints the figures as JSON. Of IMAGES, all different from each other, one third is from a second life that began with
what an outage in the first one had left.
"""

from __future__ import annotations

import json
import logging
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import attrs
from inspection import Found, Inspection
from platter import Image, Platter
from recorder import compiled, recording
from tape import Kind, Step, read
from telling import TOLD, World

HERE = Path(__file__).parent
LOG = "events.db"
WITNESS = LOG + "-witness"
LIVES = 2
DEEP = 16  # in one of so many images all is delivered as well
TRIES = 20  # for an image that is not like one before


@attrs.frozen
class Recording:
    """One life: what lay there before, by inode, and what was done."""

    found: dict[int, tuple[str, bytes]]
    steps: list[Step]


class Outage:
    """Lives of one seed."""

    def __init__(self, folder: Path, seed: int, durability: str, fault: str = "") -> None:
        self._folder, self._seed, self._durability, self._fault = folder, seed, durability, fault
        self._chance = random.Random(f"{seed} {durability}")
        self._library = compiled(folder)
        self._known: set[int] = set()
        self._written_before = 0  # by a life whose loss the next one may be told of, too
        self.figures: Counter[str] = Counter()

    def run(self, images: int) -> None:
        """Cut the power so often; AssertionError, with what it takes to look again, if anything is wrong."""
        image, world = Image(), World()
        for number in range(LIVES):
            share = images // 3 if number else images - images // 3
            recorded = self._record(image, number)
            image, world = self._cut(recorded, world, share)

    def _record(self, image: Image, number: int) -> Recording:
        folder = self._folder / f"life-{number}"
        log, notes, tape = folder / "log", folder / "notes", folder / "tape"
        for each in (log, notes):
            each.mkdir(parents=True)
        _lay_out(log, image)
        found = {(log / name).stat().st_ino: (name, content) for name, content in image.items()}
        life = [str(log), str(notes), f"s{self._seed}-{number}", self._durability]
        command = [sys.executable, "-W", "error", str(HERE / "powered.py"), *life]
        done = subprocess.run(
            [*command, *([self._fault] if self._fault else [])],
            env=recording(self._library, log, tape),
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        steps = list(read(tape))
        self._check_complete(Recording(found, steps), log)
        return Recording(found, steps)

    def _check_complete(self, recorded: Recording, log: Path) -> None:
        """The tape makes the files as they are: nothing that was done to them is missing."""
        platter = Platter(recorded.found)
        for step in recorded.steps:
            platter.do(step)
        assert platter.now() == {path.name: path.read_bytes() for path in log.iterdir()}, "the tape is not complete"
        self.figures["steps recorded"] += len(recorded.steps)

    def _cut(self, recorded: Recording, world: World, share: int) -> tuple[Image, World]:
        """Look at so many images; returns one of them, and what the world knows then, for the next life."""
        last, written = (Image(), world), 0
        done = 0
        for _ in range(TRIES):  # more than once where many were like one before
            if done == share:
                break
            moments = sorted(self._moments(recorded.steps, share - done))
            for number, (platter, knows) in enumerate(_at(recorded, world, moments)):
                image = self._new_image(platter)
                if image is None:
                    continue
                found = self._inspect(image, knows, platter, deep=done % DEEP == 0)
                done += 1
                if number <= share * 0.8:
                    last = (image, knows.without(found.lost))
                    written = self._head_of(platter.now()) if found.reported else 0
        self._written_before = written
        return last

    def _moments(self, steps: list[Step], count: int) -> Iterator[int]:
        """After which steps; a third of them right after somebody was told of something."""
        told = _inode_of(steps, TOLD)
        telling = [number for number, step in enumerate(steps) if step.inode == told and step.kind == Kind.WRITE]
        for _ in range(count):
            yield self._chance.choice(telling) if self._chance.random() < 0.33 else self._chance.randrange(len(steps))

    def _new_image(self, platter: Platter) -> Image | None:
        for _ in range(TRIES):
            way = self._chance.random()
            if way < 0.2:
                kind, image = "synced only", platter.certain()
            elif way < 0.35:
                kind, image = "all that was written", platter.now()
            else:
                kind, image = "torn", platter.torn(self._chance)
            image.pop(TOLD, None)
            digest = hash(frozenset(image.items()))
            if digest not in self._known:
                self._known.add(digest)
                self.figures[f"images: {kind}"] += 1
                return image
        return None

    def _inspect(self, image: Image, world: World, platter: Platter, *, deep: bool) -> Found:
        folder = self._folder / "image"
        folder.mkdir()
        _lay_out(folder, image)
        try:
            witnessed = WITNESS in image and image[WITNESS] == platter.now().get(WITNESS)
            inspection = Inspection(folder, world)
            found = inspection.run(durable=self._durability == "power", deep=deep, witnessed=witnessed)
            if found.reported is not None:
                written = max(self._head_of(platter.now()), self._written_before)
                assert found.reported <= written - found.head, f"{found} reported, and the last position was {written}"
        except BaseException as error:
            if not self._fault:
                kept = Path(tempfile.mkdtemp(prefix="eventbus-outage-"))
                _lay_out(kept, image)
                error.add_note(f"the image is in {kept}; image {self.figures['images']} of the run")
            raise
        shutil.rmtree(folder)
        self.figures["images"] += 1
        self.figures["images delivered"] += deep
        self.figures["acknowledged"] += len(world.ids)
        self.figures["lost"] += len(found.lost)
        self.figures["images with a loss"] += bool(found.lost)
        self.figures["images with a witness of all that was told"] += witnessed
        self.figures["losses reported"] += found.reported is not None
        return found

    def _head_of(self, image: Image) -> int:
        """The last position that was ever written, told or not."""
        folder = self._folder / "written"
        folder.mkdir()
        _lay_out(folder, image)
        with closing(sqlite3.connect(folder / LOG)) as connection:
            (head,) = connection.execute("SELECT max(position) FROM eventbus_events").fetchone()
        shutil.rmtree(folder)
        return int(head or 0)


def _at(recorded: Recording, world: World, moments: list[int]) -> Iterator[tuple[Platter, World]]:
    """The disk and the world after each of these steps, in order."""
    platter, knows = Platter(recorded.found), world.without(set())
    told = _inode_of(recorded.steps, TOLD)
    done = 0
    for moment in moments:
        for step in recorded.steps[done : moment + 1]:
            platter.do(step)
            if step.kind == Kind.WRITE and step.inode == told:
                knows.hear(step.data.decode().rstrip("\n"))
        done = moment + 1
        yield platter, knows


def _inode_of(steps: list[Step], name: str) -> int:
    return next(step.inode for step in steps if step.kind == Kind.CREATE and step.names == (name,))


def _lay_out(folder: Path, image: Image) -> None:
    for name, content in image.items():
        (folder / name).write_bytes(content)


def main(seed: int, durability: str, images: int, fault: str = "") -> None:
    """Print the figures."""
    logging.getLogger("eventbus").setLevel(logging.CRITICAL)  # handlers fail on purpose
    memory = Path("/dev/shm")  # what is synced there is the tape's word; a real disk would only take its time
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        outage = Outage(Path(folder), seed, durability, fault)
        outage.run(images)
    print(json.dumps(outage.figures))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), *sys.argv[4:])
