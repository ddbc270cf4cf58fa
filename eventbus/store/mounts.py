"""Which file system a path lies on, and whether its locks reach everybody who can write there.

SQLite's WAL needs shared memory and locks between all who have the file open, which file systems
shared by several machines do not give. Denied are those known by name. Allowed is what stands for a
local disk inside containers, sandboxes and virtual machines (overlay, virtiofs, 9p, fuse in general):
one machine writes there as long as the same file is not also opened from outside, and where shared
memory is missing altogether, SQLite itself refuses WAL and the log does not open.
"""

from __future__ import annotations

import os
import re
import sys

_MACHINES_SHARE = """
  nfs nfs4 cifs smb3 smbfs ncpfs afs openafs coda ceph glusterfs lustre gpfs beegfs gfs2 ocfs2 orangefs pvfs2
  davfs webdav ftp afpfs
"""
_FUSE_SHARE = """
  sshfs rclone s3fs gcsfuse goofys mount-s3 blobfuse blobfuse2 juicefs seaweedfs curlftpfs davfs davfs2 glusterfs
  ceph ceph-fuse lizardfs mfs moosefs gvfsd-fuse kio-fuse smbnetfs cifs nfs
"""
_ESCAPED = re.compile(r"\\([0-7]{3})")
_MACOS_LINE = re.compile(r"^.+ on (?P<point>/.*) \((?P<type>[^,)]+)[^)]*\)$")
_DRIVE_REMOTE = 4  # GetDriveTypeW


def network_type(path: str) -> str | None:
    """The name of the network file system `path` lies on; None if it is a local one, or cannot be told."""
    if sys.platform == "win32":
        return _windows_share(path)
    if sys.platform == "darwin":
        import subprocess

        listed = subprocess.run(["/sbin/mount"], capture_output=True, text=True, check=False).stdout
        found = type_at(path, mounts_of_macos(listed))
    else:
        try:
            with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                found = type_at(path, mounts_of_linux(file.read()))
        except OSError:  # no /proc: nothing can be told, and SQLite still tests its locks
            return None
    return found if found is not None and is_shared_between_machines(found) else None


def is_shared_between_machines(fstype: str) -> bool:
    """True for a file system, by its type's name, on which SQLite's locks cannot be trusted."""
    kind, _, behind = fstype.partition(".")
    if kind in ("fuse", "fuseblk", "osxfuse", "macfuse"):
        return behind in _FUSE_SHARE.split()
    return fstype in _MACHINES_SHARE.split()


def mounts_of_linux(mountinfo: str) -> list[tuple[str, str]]:
    """(mount point, type) of each line of /proc/self/mountinfo (proc_pid_mountinfo(5)), in its order."""
    mounts: list[tuple[str, str]] = []
    for line in mountinfo.splitlines():
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if separator and len(fields) > 4:
            mounts.append((_ESCAPED.sub(lambda m: chr(int(m[1], 8)), fields[4]), after.split(" ")[0]))
    return mounts


def mounts_of_macos(listed: str) -> list[tuple[str, str]]:
    """(mount point, type) of each line that mount(8) prints on macOS."""
    found = (_MACOS_LINE.match(line) for line in listed.splitlines())
    return [(match["point"], match["type"]) for match in found if match]


def type_at(path: str, mounts: list[tuple[str, str]]) -> str | None:
    """The type of the file system that an absolute `path` lies on; the last of several mounts on one point hides
    those before it."""
    best, best_type = "", None
    for point, fstype in mounts:
        inside = point == "/" or path == point or path.startswith(point + "/")
        if inside and len(point) >= len(best):
            best, best_type = point, fstype
    return best_type


def _windows_share(path: str) -> str | None:
    drive = os.path.splitdrive(path)[0]
    if (drive.startswith("\\\\") and not drive.startswith("\\\\?\\")) or drive.upper().startswith("\\\\?\\UNC"):
        return "a network share"
    if sys.platform == "win32":
        import ctypes

        if ctypes.windll.kernel32.GetDriveTypeW(drive.removeprefix("\\\\?\\") + "\\") == _DRIVE_REMOTE:
            return "a network drive"
    return None
