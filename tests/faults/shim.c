/* Preloaded (LD_PRELOAD) under an index run: counts everything it changes below one folder, and at the n-th change kills
 * the process (a write is torn in its middle first) or lets the disk be full from there on.
 *
 * Every layer writes through libc: Python, Arrow's and FAISS's C++, Lance's Rust. One list of write points for all.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum { COUNT, KILL, FULL };

static char folder[PATH_MAX];
static long at;
static int mode = COUNT;
static long changes;

void fault_arm(const char *where, long number, int what) {
    snprintf(folder, sizeof folder, "%s", where);
    at = number;
    mode = what;
    __atomic_store_n(&changes, 0, __ATOMIC_SEQ_CST);
}

long fault_count(void) { return __atomic_load_n(&changes, __ATOMIC_SEQ_CST); }

static int is_below(const char *path) { return folder[0] && path && !strncmp(path, folder, strlen(folder)); }

static int is_at(int directory, const char *path) {
    if (!folder[0] || !path) return 0;
    if (path[0] == '/' || directory == AT_FDCWD) return is_below(path);
    char link[64], place[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", directory);
    ssize_t length = readlink(link, place, sizeof place - 1);
    if (length < 0) return 0;
    place[length] = 0;
    return is_below(place);
}

static int is_open_below(int file) { return is_at(file, ""); }

/* True where this change meets a full disk. */
static int meets(int needs_space) {
    long number = __atomic_add_fetch(&changes, 1, __ATOMIC_SEQ_CST);
    if (mode == KILL && number == at) kill(getpid(), SIGKILL);
    if (mode == FULL && number >= at && needs_space) {
        errno = ENOSPC;
        return 1;
    }
    return 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                     \
    int name(const char *path, int flags, ...) {                       \
        va_list rest;                                                  \
        va_start(rest, flags);                                         \
        mode_t permissions = va_arg(rest, mode_t);                     \
        va_end(rest);                                                  \
        if ((flags & O_CREAT) && is_below(path) && meets(1)) return -1; \
        return REAL(name)(path, flags, permissions);                   \
    }
#define OPENAT(name)                                                            \
    int name(int directory, const char *path, int flags, ...) {                 \
        va_list rest;                                                           \
        va_start(rest, flags);                                                  \
        mode_t permissions = va_arg(rest, mode_t);                              \
        va_end(rest);                                                           \
        if ((flags & O_CREAT) && is_at(directory, path) && meets(1)) return -1; \
        return REAL(name)(directory, path, flags, permissions);                 \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

ssize_t write(int file, const void *bytes, size_t size) {
    if (is_open_below(file)) {
        if (mode == KILL && fault_count() + 1 == at) REAL(write)(file, bytes, size / 2);
        if (meets(1)) return -1;
    }
    return REAL(write)(file, bytes, size);
}
ssize_t writev(int file, const struct iovec *parts, int count) {
    if (is_open_below(file) && meets(1)) return -1;
    return REAL(writev)(file, parts, count);
}
ssize_t pwrite(int file, const void *bytes, size_t size, off_t offset) {
    if (is_open_below(file) && meets(1)) return -1;
    return REAL(pwrite)(file, bytes, size, offset);
}
ssize_t pwrite64(int file, const void *bytes, size_t size, off64_t offset) {
    if (is_open_below(file) && meets(1)) return -1;
    return REAL(pwrite64)(file, bytes, size, offset);
}
ssize_t copy_file_range(int from, off64_t *start, int to, off64_t *end, size_t size, unsigned flags) {
    if (is_open_below(to) && meets(1)) return -1;
    return REAL(copy_file_range)(from, start, to, end, size, flags);
}
int ftruncate(int file, off_t size) {
    if (is_open_below(file) && meets(size > 0)) return -1;
    return REAL(ftruncate)(file, size);
}
int ftruncate64(int file, off64_t size) {
    if (is_open_below(file) && meets(size > 0)) return -1;
    return REAL(ftruncate64)(file, size);
}
int fsync(int file) {
    if (is_open_below(file) && meets(0)) return -1;
    return REAL(fsync)(file);
}
int rename(const char *from, const char *to) {
    if (is_below(to) && meets(0)) return -1;
    return REAL(rename)(from, to);
}
int renameat(int near, const char *from, int far, const char *to) {
    if (is_at(far, to) && meets(0)) return -1;
    return REAL(renameat)(near, from, far, to);
}
int renameat2(int near, const char *from, int far, const char *to, unsigned flags) {
    if (is_at(far, to) && meets(0)) return -1;
    return REAL(renameat2)(near, from, far, to, flags);
}
int link(const char *from, const char *to) {
    if (is_below(to) && meets(1)) return -1;
    return REAL(link)(from, to);
}
int linkat(int near, const char *from, int far, const char *to, int flags) {
    if (is_at(far, to) && meets(1)) return -1;
    return REAL(linkat)(near, from, far, to, flags);
}
int unlink(const char *path) {
    if (is_below(path) && meets(0)) return -1;
    return REAL(unlink)(path);
}
int unlinkat(int directory, const char *path, int flags) {
    if (is_at(directory, path) && meets(0)) return -1;
    return REAL(unlinkat)(directory, path, flags);
}
int mkdir(const char *path, mode_t permissions) {
    if (is_below(path) && meets(1)) return -1;
    return REAL(mkdir)(path, permissions);
}
int rmdir(const char *path) {
    if (is_below(path) && meets(0)) return -1;
    return REAL(rmdir)(path);
}
