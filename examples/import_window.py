"""A window that stays responsive while a long import runs in a durable handler and shows how far it is.

    python examples/import_window.py [CSV] [--log FILE]

Close the window, or kill the program, in the middle of an import: the next start goes on with it by itself.
A file is in the list as soon as it is chosen, and goes again if it cannot be read or has no rows.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
import tkinter
from itertools import islice
from tkinter import filedialog, ttk

from eventbus import Context, EventBus, EventBusError, Retry, RetryLater, event, placement
from eventbus.bus import Undone
from eventbus.technical import DeliveryDead

CHUNK = 50  # rows that are stored together
SECONDS_PER_CHUNK = 0.02  # stands for what an import of yours has to do


@event(name="contacts.ImportRequested")
class ImportRequested:
    file: str


@event(name="contacts.Imported")
class Imported:
    file: str
    rows: int


@event(name="contacts.ImportRefused")
class ImportRefused:
    file: str
    reason: str


@event(name="contacts.Progress", kind="technical")
class Progress:
    """A tick, emitted and never stored."""

    file: str
    done: int
    total: int


class Importer:
    """Brings the rows of a file into the app's own table. It never touches the window."""

    def __init__(self, bus: EventBus) -> None:
        self.bus = bus

    def read(self, requested: ImportRequested, ctx: Context) -> None:
        """Go on where this import was: its rows and how many there are of them are stored together."""
        with open(requested.file, newline="", encoding="utf-8") as lines:
            total = sum(1 for _ in csv.reader(lines))
            if not total:
                ctx.publish(ImportRefused(requested.file, "it has no rows"))
                return
            lines.seek(0)
            rows = csv.reader(lines)
            done = len(list(islice(rows, self.done(ctx.envelope.id))))
            while chunk := list(islice(rows, CHUNK)):
                if ctx.stopping:
                    raise RetryLater(0)  # no attempt is used up; it goes on when the app is back
                time.sleep(SECONDS_PER_CHUNK)
                done += len(chunk)
                self.store(ctx.envelope.id, chunk, done)
                self.bus.emit(Progress(requested.file, done, total))
        ctx.publish(Imported(requested.file, total))

    def done(self, import_id: str) -> int:
        """How many rows of an import are stored."""
        with self.bus.transaction() as tx:
            tx.execute("CREATE TABLE IF NOT EXISTS contacts (name TEXT, email TEXT)")
            tx.execute("CREATE TABLE IF NOT EXISTS imports (id TEXT PRIMARY KEY, done INTEGER NOT NULL)")
            found = tx.execute("SELECT done FROM imports WHERE id = ?", (import_id,)).fetchone()
        return int(found[0]) if found else 0

    def store(self, import_id: str, chunk: list[list[str]], done: int) -> None:
        """Store some rows together with the number of those that are stored."""
        with self.bus.transaction() as tx:
            tx.executemany("INSERT INTO contacts VALUES (?, ?)", [[*row, "", ""][:2] for row in chunk])
            tx.execute("INSERT OR REPLACE INTO imports VALUES (?, ?)", (import_id, done))


class Window:
    """What a person sees. All its methods run in Tk's thread, those that the bus calls too."""

    def __init__(self, root: tkinter.Tk, bus: EventBus) -> None:
        self.root, self.bus, self.via = root, bus, placement.tk(root)
        root.title("Contacts")
        self.button = ttk.Button(root, text="Import a CSV file …", command=self.choose)
        self.bar = ttk.Progressbar(root, length=320, maximum=1)
        self.files = tkinter.Listbox(root, height=5, width=48)
        self.said = ttk.Label(root, text="Try to move this window while an import runs.")
        for widget in (self.button, self.files, self.bar, self.said):
            widget.pack(padx=16, pady=8)
        self.registrations = [
            bus.on(Progress, handler=self.show, via=self.via),
            bus.on(Imported, handler=self.finished, via=self.via),
            bus.on(DeliveryDead, handler=self.failed, via=self.via),
        ]
        root.protocol("WM_DELETE_WINDOW", self.close)

    def choose(self) -> None:
        if file := filedialog.askopenfilename(filetypes=[("CSV", "*.csv"), ("All files", "*")]):
            self.begin(file)

    def begin(self, file: str) -> None:
        """Show the file at once, and ask for its import; should nothing come of it, it is taken back."""
        self.bus.optimistic(
            ImportRequested(file),
            apply=lambda: self.files.insert("end", file),
            rollback=lambda why: self.take_back(file, why),
            undone_by=ImportRefused,
            via=self.via,
        )

    def take_back(self, file: str, why: Undone) -> None:
        self.files.delete(self.files.get(0, "end").index(file))
        reason = why.by.event.reason if why.by is not None else why.error
        self.said["text"] = f"The import failed: {reason}"

    def show(self, progress: Progress) -> None:
        self.bar["value"] = progress.done / progress.total
        self.said["text"] = f"{progress.done:,} of {progress.total:,} rows"

    def finished(self, imported: Imported) -> None:
        self.said["text"] = f"{imported.rows:,} rows are imported."

    def failed(self, dead: DeliveryDead) -> None:
        """Also for an import that was asked for before the last start, whose file is in no list any more."""
        self.said["text"] = f"The import failed: {dead.error}"

    def close(self) -> None:
        """Hear no more, then go; leaving the bus's `with` block stops the import at its next chunk."""
        for registration in self.registrations:
            registration.close()
        self.root.destroy()


def main() -> int:
    parser = argparse.ArgumentParser(description="Import contacts in a window.")
    parser.add_argument("csv", nargs="?", metavar="CSV", help="a file of names and addresses to import at once")
    parser.add_argument("--log", metavar="FILE", default="contacts.db", help="the app's file (default: %(default)s)")
    options = parser.parse_args()
    try:
        root = tkinter.Tk()
        with EventBus(options.log, source="contacts") as bus:
            bus.subscribe("import", ImportRequested, handler=Importer(bus).read, retry=Retry(attempts=2))
            window = Window(root, bus)
            if options.csv:
                window.begin(options.csv)
            root.mainloop()
    except (tkinter.TclError, EventBusError) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
