/* A disk of a network in bad weather: loaded by LD_PRELOAD into a program and its children.

   Calls on paths below $WEATHER_FOLDER are late, read or write fewer bytes than asked, or fail with EIO,
   ESTALE or ETIMEDOUT, one in $WEATHER_ONE_IN, by $WEATHER_SEED. Each failure adds a byte to the
   file $WEATHER_COUNT. $WEATHER_CLOCK_S: seconds that a process's clock of the day may be off. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static __thread int in_shim;

static uint64_t drawn(void) { /* splitmix64; a program may change its seed */
    static uint64_t state, seed = -1;
    uint64_t now = strtoull(getenv("WEATHER_SEED") ?: "0", NULL, 10);
    if (now != seed) {
        seed = now;
        state = seed * 1000003;
    }
    uint64_t z = __atomic_add_fetch(&state, 0x9e3779b97f4a7c15, __ATOMIC_RELAXED);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9;
    z = (z ^ (z >> 27)) * 0x94d049bb133111eb;
    return z ^ (z >> 31);
}

static int is_below(const char *path) {
    const char *folder = getenv("WEATHER_FOLDER");
    return folder && path && *folder && !strncmp(path, folder, strlen(folder));
}

static int is_below_fd(int fd) {
    char name[64], path[4096];
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t n = REAL(readlink)(name, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return is_below(path);
}

static int fails(int hit) { /* with errno, one time in so many; late another */
    if (!hit || in_shim) return 0;
    static const int kinds[] = {EIO, ESTALE, ETIMEDOUT};
    uint64_t one_in = strtoull(getenv("WEATHER_ONE_IN") ?: "0", NULL, 10), dice = drawn();
    if (!one_in) return 0;
    if (dice % one_in == 1) usleep(dice % 3000);
    if (dice % one_in) return 0;
    in_shim = 1;
    const char *count = getenv("WEATHER_COUNT");
    int fd = count ? open(count, O_WRONLY | O_APPEND | O_CREAT, 0666) : -1;
    if (fd >= 0) {
        if (write(fd, "x", 1) < 0) abort();
        close(fd);
    }
    in_shim = 0;
    errno = kinds[dice / one_in % 3];
    return 1;
}

static size_t fewer(int fd, size_t n) {
    return n > 1 && getenv("WEATHER_ONE_IN") && !in_shim && is_below_fd(fd) && drawn() % 4 == 0
        ? 1 + drawn() % (n - 1) : n;
}

#define OPENS(name, with, call)                                     \
    int name with {                                                 \
        mode_t mode = 0;                                            \
        if (flags & (O_CREAT | O_TMPFILE)) {                        \
            va_list more;                                           \
            va_start(more, flags);                                  \
            mode = va_arg(more, mode_t);                            \
            va_end(more);                                           \
        }                                                           \
        return fails(is_below(path)) ? -1 : REAL(name) call;        \
    }
OPENS(open, (const char *path, int flags, ...), (path, flags, mode))
OPENS(open64, (const char *path, int flags, ...), (path, flags, mode))
OPENS(openat, (int at, const char *path, int flags, ...), (at, path, flags, mode))
OPENS(openat64, (int at, const char *path, int flags, ...), (at, path, flags, mode))

#define STATS(name, type)                                           \
    int name(const char *path, struct type *to) {                   \
        return fails(is_below(path)) ? -1 : REAL(name)(path, to);   \
    }
STATS(stat, stat)
STATS(stat64, stat64)
STATS(lstat, stat)
STATS(lstat64, stat64)

ssize_t read(int fd, void *to, size_t n) {
    return fails(!in_shim && is_below_fd(fd)) ? -1 : REAL(read)(fd, to, fewer(fd, n));
}
ssize_t pread(int fd, void *to, size_t n, off_t at) {
    return fails(is_below_fd(fd)) ? -1 : REAL(pread)(fd, to, fewer(fd, n), at);
}
ssize_t pread64(int fd, void *to, size_t n, off64_t at) {
    return fails(is_below_fd(fd)) ? -1 : REAL(pread64)(fd, to, fewer(fd, n), at);
}
ssize_t preadv(int fd, const struct iovec *to, int n, off_t at) {
    return n == 1 ? pread(fd, to->iov_base, to->iov_len, at) : REAL(preadv)(fd, to, n, at);
}
ssize_t preadv64(int fd, const struct iovec *to, int n, off64_t at) {
    return n == 1 ? pread64(fd, to->iov_base, to->iov_len, at) : REAL(preadv64)(fd, to, n, at);
}
ssize_t preadv2(int fd, const struct iovec *to, int n, off_t at, int flags) {
    return n == 1 ? pread(fd, to->iov_base, to->iov_len, at) : REAL(preadv2)(fd, to, n, at, flags);
}
ssize_t preadv64v2(int fd, const struct iovec *to, int n, off64_t at, int flags) {
    return n == 1 ? pread64(fd, to->iov_base, to->iov_len, at)
                  : REAL(preadv64v2)(fd, to, n, at, flags);
}
ssize_t write(int fd, const void *from, size_t n) {
    return fails(!in_shim && is_below_fd(fd)) ? -1 : REAL(write)(fd, from, fewer(fd, n));
}
ssize_t pwrite(int fd, const void *from, size_t n, off_t at) {
    return fails(is_below_fd(fd)) ? -1 : REAL(pwrite)(fd, from, fewer(fd, n), at);
}
ssize_t pwrite64(int fd, const void *from, size_t n, off64_t at) {
    return fails(is_below_fd(fd)) ? -1 : REAL(pwrite64)(fd, from, fewer(fd, n), at);
}
DIR *opendir(const char *path) { return fails(is_below(path)) ? NULL : REAL(opendir)(path); }
struct dirent *readdir(DIR *folder) {
    return fails(is_below_fd(dirfd(folder))) ? NULL : REAL(readdir)(folder);
}
struct dirent64 *readdir64(DIR *folder) {
    return fails(is_below_fd(dirfd(folder))) ? NULL : REAL(readdir64)(folder);
}
int rename(const char *from, const char *to) {
    return fails(is_below(to)) ? -1 : REAL(rename)(from, to);
}
int fsync(int fd) { return fails(is_below_fd(fd)) ? -1 : REAL(fsync)(fd); }

int clock_gettime(clockid_t clock, struct timespec *to) {
    const char *off = getenv("WEATHER_CLOCK_S");
    int result = REAL(clock_gettime)(clock, to);
    if (off && clock == CLOCK_REALTIME) { /* now and then another, so it also steps back */
        int64_t most = strtoll(off, NULL, 10);
        to->tv_sec += ((int64_t)getpid() * 7919 + to->tv_sec / 2 * 104729) % (2 * most + 1) - most;
    }
    return result;
}
