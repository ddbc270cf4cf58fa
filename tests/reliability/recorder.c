/* Notes what a process does to the files of one folder, in the order in which it took effect.

   RECORD_FOLDER  the folder, by its real path; what lies deeper is not noted, nor what ends in "-shm"
   RECORD_TAPE    the file to which records are appended; it must lie elsewhere

   A record is a struct record, then `name_length` bytes of names, then, for a write, `length` bytes of data. The call
   and its record are one step under a lock that all threads, and all processes with this tape, share: a record's place
   on the tape is its number among all. tests/reliability/tape.py reads it, and checks that nothing was missed.

   cc -shared -fPIC -O1 -o recorder.so recorder.c -ldl -lpthread */

#define _GNU_SOURCE
#undef _FORTIFY_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum kind { CREATE = 1, WRITE, TRUNCATE, SYNC, SYNC_FOLDER, RENAME, UNLINK };
enum { MOST_DESCRIPTORS = 4096 };

struct record {
    uint32_t kind;
    uint32_t name_length;
    uint64_t inode;
    uint64_t offset;
    uint64_t length;
};

/* What a descriptor stands for: nothing of ours, a file of the folder, or the folder. */
struct opened {
    enum { FOREIGN, A_FILE, THE_FOLDER } what;
    uint64_t inode;
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct opened table[MOST_DESCRIPTORS];
static char folder[PATH_MAX];
static size_t folder_length;
static int tape = -1;
static pid_t owner; /* a fork shares the parent's lock on the tape, so that each process opens its own */

#define REAL(name) ((__typeof__(&name))real(#name))

static void *real(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL) {
        fprintf(stderr, "recorder: there is no %s\n", name);
        abort();
    }
    return found;
}

static void fail(const char *what)
{
    fprintf(stderr, "recorder: %s: %s\n", what, strerror(errno));
    abort();
}

static void lock_for_fork(void) { pthread_mutex_lock(&mutex); }
static void unlock_after_fork(void) { pthread_mutex_unlock(&mutex); }

__attribute__((constructor)) static void prepare(void)
{
    const char *wanted = getenv("RECORD_FOLDER");
    if (wanted == NULL || getenv("RECORD_TAPE") == NULL || strlen(wanted) >= sizeof folder)
        return;
    strcpy(folder, wanted);
    folder_length = strlen(folder);
    pthread_atfork(lock_for_fork, unlock_after_fork, unlock_after_fork);
}

/* The part of `path` behind the folder; "" for the folder itself, NULL for what is not noted. */
static const char *name_of(const char *path)
{
    if (folder_length == 0 || path == NULL || strncmp(path, folder, folder_length) != 0)
        return NULL;
    const char *name = path + folder_length;
    if (*name == '\0')
        return name;
    size_t length = strlen(name);
    if (*name != '/' || strchr(name + 1, '/') != NULL || (length >= 4 && strcmp(name + length - 4, "-shm") == 0))
        return NULL;
    return name + 1;
}

static struct opened *opened_as(int descriptor)
{
    static struct opened foreign = {FOREIGN, 0};
    return descriptor >= 0 && descriptor < MOST_DESCRIPTORS ? &table[descriptor] : &foreign;
}

static void enter(void)
{
    pthread_mutex_lock(&mutex);
    if (owner != getpid()) {
        owner = getpid();
        tape = REAL(open64)(getenv("RECORD_TAPE"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        if (tape < 0)
            fail("cannot open the tape");
    }
    if (flock(tape, LOCK_EX) != 0)
        fail("cannot lock the tape");
}

static void leave(void)
{
    int kept = errno;
    if (flock(tape, LOCK_UN) != 0)
        fail("cannot unlock the tape");
    pthread_mutex_unlock(&mutex);
    errno = kept;
}

static void note(enum kind kind, uint64_t inode, uint64_t offset, uint64_t length, const char *names,
                 size_t name_length, const void *data)
{
    int kept = errno;
    struct record record = {kind, (uint32_t)name_length, inode, offset, length};
    size_t data_length = data == NULL ? 0 : (size_t)length;
    struct iovec parts[3] = {
        {&record, sizeof record}, {(void *)names, name_length}, {(void *)data, data_length}};
    ssize_t whole = (ssize_t)(sizeof record + name_length + data_length);
    if (writev(tape, parts, 3) != whole)
        fail("cannot write the tape");
    errno = kept;
}

/* --- opening and closing -------------------------------------------------------------------------------------- */

static void remember(int descriptor, const char *name, int was_there)
{
    struct stat status;
    if (descriptor >= MOST_DESCRIPTORS) {
        errno = EMFILE;
        fail("too many descriptors");
    }
    if (fstat(descriptor, &status) != 0)
        fail("cannot look at what was opened");
    table[descriptor].what = *name == '\0' ? THE_FOLDER : A_FILE;
    table[descriptor].inode = status.st_ino;
    if (!was_there)
        note(CREATE, status.st_ino, 0, 0, name, strlen(name), NULL);
}

static int open_noted(int at, const char *path, int flags, mode_t mode)
{
    const char *name = at == AT_FDCWD || (path != NULL && *path == '/') ? name_of(path) : NULL;
    if (name == NULL || (flags & O_TMPFILE) == O_TMPFILE) {
        int descriptor = REAL(openat64)(at, path, flags, mode);
        opened_as(descriptor)->what = FOREIGN;
        return descriptor;
    }
    struct stat status;
    enter();
    int was_there = stat(path, &status) == 0;
    int descriptor = REAL(openat64)(at, path, flags, mode);
    if (descriptor >= 0) {
        remember(descriptor, name, was_there);
        if (was_there && (flags & O_TRUNC) != 0 && *name != '\0')
            note(TRUNCATE, status.st_ino, 0, 0, "", 0, NULL);
    }
    leave();
    return descriptor;
}

#define OPENS(function, parameters, at)                                                                                \
    int function parameters                                                                                            \
    {                                                                                                                  \
        mode_t mode = 0;                                                                                               \
        if ((flags & O_CREAT) != 0 || (flags & O_TMPFILE) == O_TMPFILE) {                                              \
            va_list rest;                                                                                              \
            va_start(rest, flags);                                                                                     \
            mode = va_arg(rest, mode_t);                                                                               \
            va_end(rest);                                                                                              \
        }                                                                                                              \
        return open_noted(at, path, flags, mode);                                                                      \
    }

OPENS(open, (const char *path, int flags, ...), AT_FDCWD)
OPENS(open64, (const char *path, int flags, ...), AT_FDCWD)
OPENS(openat, (int at, const char *path, int flags, ...), at)
OPENS(openat64, (int at, const char *path, int flags, ...), at)

int close(int descriptor)
{
    opened_as(descriptor)->what = FOREIGN;
    return REAL(close)(descriptor);
}

/* --- what changes a file -------------------------------------------------------------------------------------- */

static ssize_t note_written(struct opened *opened, ssize_t written, off64_t offset, const void *data)
{
    if (written > 0)
        note(WRITE, opened->inode, (uint64_t)offset, (uint64_t)written, "", 0, data);
    return written;
}

ssize_t pwrite64(int descriptor, const void *data, size_t length, off64_t offset)
{
    struct opened *opened = opened_as(descriptor);
    if (opened->what != A_FILE)
        return REAL(pwrite64)(descriptor, data, length, offset);
    enter();
    ssize_t written = note_written(opened, REAL(pwrite64)(descriptor, data, length, offset), offset, data);
    leave();
    return written;
}

ssize_t pwrite(int descriptor, const void *data, size_t length, off_t offset)
{
    return pwrite64(descriptor, data, length, offset);
}

ssize_t write(int descriptor, const void *data, size_t length)
{
    struct opened *opened = opened_as(descriptor);
    if (opened->what != A_FILE)
        return REAL(write)(descriptor, data, length);
    enter();
    ssize_t written = REAL(write)(descriptor, data, length);
    note_written(opened, written, lseek64(descriptor, 0, SEEK_CUR) - written, data);
    leave();
    return written;
}

int ftruncate64(int descriptor, off64_t length)
{
    struct opened *opened = opened_as(descriptor);
    if (opened->what != A_FILE)
        return REAL(ftruncate64)(descriptor, length);
    enter();
    int result = REAL(ftruncate64)(descriptor, length);
    if (result == 0)
        note(TRUNCATE, opened->inode, 0, (uint64_t)length, "", 0, NULL);
    leave();
    return result;
}

int ftruncate(int descriptor, off_t length) { return ftruncate64(descriptor, length); }

/* --- what makes it last --------------------------------------------------------------------------------------- */

static int sync_noted(int descriptor, int (*sync)(int))
{
    struct opened *opened = opened_as(descriptor);
    if (opened->what == FOREIGN)
        return sync(descriptor);
    enter();
    int result = sync(descriptor);
    if (result == 0)
        note(opened->what == A_FILE ? SYNC : SYNC_FOLDER, opened->inode, 0, 0, "", 0, NULL);
    leave();
    return result;
}

int fsync(int descriptor) { return sync_noted(descriptor, REAL(fsync)); }
int fdatasync(int descriptor) { return sync_noted(descriptor, REAL(fdatasync)); }

/* --- names ---------------------------------------------------------------------------------------------------- */

static int note_unlink(const char *name, int result)
{
    if (result == 0)
        note(UNLINK, 0, 0, 0, name, strlen(name), NULL);
    return result;
}

int unlink(const char *path)
{
    const char *name = name_of(path);
    if (name == NULL)
        return REAL(unlink)(path);
    enter();
    int result = note_unlink(name, REAL(unlink)(path));
    leave();
    return result;
}

int unlinkat(int at, const char *path, int flags)
{
    const char *name = flags == 0 && *path == '/' ? name_of(path) : NULL;
    if (name == NULL)
        return REAL(unlinkat)(at, path, flags);
    enter();
    int result = note_unlink(name, REAL(unlinkat)(at, path, flags));
    leave();
    return result;
}

/* A name that comes from elsewhere, or goes there, is given as "". */
int rename(const char *from, const char *to)
{
    const char *old = name_of(from), *new = name_of(to);
    if (old == NULL && new == NULL)
        return REAL(rename)(from, to);
    char names[2 * NAME_MAX + 2];
    int length = snprintf(names, sizeof names, "%s/%s", old == NULL ? "" : old, new == NULL ? "" : new);
    enter();
    int result = REAL(rename)(from, to);
    if (result == 0)
        note(RENAME, 0, 0, 0, names, (size_t)length, NULL);
    leave();
    return result;
}
