/* A disk that fails or hesitates, for one process: put before libc with LD_PRELOAD.
 *
 * TF_FAULTS names a file with one rule a line:
 *
 *     CALL PATH ERRNO AFTER TIMES DELAY_MS
 *
 * CALL is sync (fsync, fdatasync), write (write, pwrite, ftruncate), change (whatever needs a file
 * system that may be written: open to write, write, truncate, rename, unlink), PATH a part of the
 * file's path. The first AFTER calls pass, the next TIMES (0: all) fail with ERRNO, or, when that is 0,
 * come late by DELAY_MS. The file is read again when it changes. Each failure adds a line to
 * TF_FAULTS.hits, so that a test knows that it happened.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

struct rule { char call[16], path[256]; int error; long after, times, delay_ms, seen; };

static struct rule rules[8];
static int count;
static ino_t loaded;
static struct timespec loaded_at;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

static void load(const char *name) {
    struct stat now;
    if (stat(name, &now) != 0) { count = 0; loaded = 0; return; }
    if (now.st_ino == loaded && now.st_mtim.tv_sec == loaded_at.tv_sec && now.st_mtim.tv_nsec == loaded_at.tv_nsec)
        return;
    loaded = now.st_ino;
    loaded_at = now.st_mtim;
    count = 0;
    char text[4096] = {0};
    int file = (int)syscall(SYS_openat, AT_FDCWD, name, O_RDONLY);
    if (file < 0) return;
    long got = syscall(SYS_read, file, text, sizeof text - 1);
    syscall(SYS_close, file);
    char *rest = text;
    for (char *line; got > 0 && count < 8 && (line = strsep(&rest, "\n"));) {
        struct rule *rule = &rules[count];
        memset(rule, 0, sizeof *rule);
        if (sscanf(line, "%15s %255s %d %ld %ld %ld", rule->call, rule->path, &rule->error, &rule->after,
                   &rule->times, &rule->delay_ms) == 6)
            count++;
    }
}

static void tell(const char *name, const char *call, const char *path) {
    char hits[512], line[512];
    snprintf(hits, sizeof hits, "%s.hits", name);
    int length = snprintf(line, sizeof line, "%s %s\n", call, path);
    int file = (int)syscall(SYS_openat, AT_FDCWD, hits, O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (file < 0) return;
    syscall(SYS_write, file, line, length);
    syscall(SYS_close, file);
}

/* The error that the call must end with; 0 for none. */
static int judge(const char *call, const char *path) {
    const char *name = getenv("TF_FAULTS");
    if (!name || !path) return 0;
    int error = 0;
    long delay_ms = 0;
    pthread_mutex_lock(&lock);
    load(name);
    for (int at = 0; at < count; at++) {
        struct rule *rule = &rules[at];
        int wide = strcmp(rule->call, "change") == 0 && strcmp(call, "sync") != 0;
        if ((!wide && strcmp(rule->call, call) != 0) || !strstr(path, rule->path)) continue;
        long turn = rule->seen++;
        if (turn < rule->after || (rule->times && turn >= rule->after + rule->times)) continue;
        error = rule->error;
        delay_ms = rule->delay_ms;
        tell(name, call, path);
        break;
    }
    pthread_mutex_unlock(&lock);
    if (delay_ms) {
        struct timespec pause = {delay_ms / 1000, delay_ms % 1000 * 1000000};
        nanosleep(&pause, NULL);
    }
    return error;
}

static int judge_file(const char *call, int file) {
    char link[64], path[1024];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return judge(call, path);
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define FAIL_IF(judged) do { int error_ = (judged); if (error_) { errno = error_; return -1; } } while (0)

int fsync(int file) { FAIL_IF(judge_file("sync", file)); return REAL(fsync)(file); }
int fdatasync(int file) { FAIL_IF(judge_file("sync", file)); return REAL(fdatasync)(file); }

ssize_t write(int file, const void *from, size_t size) {
    FAIL_IF(judge_file("write", file));
    return syscall(SYS_write, file, from, size);
}
ssize_t pwrite(int file, const void *from, size_t size, off_t at) {
    FAIL_IF(judge_file("write", file));
    return syscall(SYS_pwrite64, file, from, size, at);
}
ssize_t pwrite64(int file, const void *from, size_t size, off64_t at) {
    FAIL_IF(judge_file("write", file));
    return syscall(SYS_pwrite64, file, from, size, at);
}
int ftruncate(int file, off_t size) { FAIL_IF(judge_file("write", file)); return (int)syscall(SYS_ftruncate, file, size); }
int ftruncate64(int file, off64_t size) { FAIL_IF(judge_file("write", file)); return (int)syscall(SYS_ftruncate, file, size); }

int rename(const char *from, const char *to) { FAIL_IF(judge("rename", to)); return REAL(rename)(from, to); }
int unlink(const char *path) { FAIL_IF(judge("unlink", path)); return REAL(unlink)(path); }

static int open_judged(const char *path, int flags, mode_t mode) {
    if (flags & (O_WRONLY | O_RDWR | O_CREAT | O_TRUNC)) FAIL_IF(judge("open", path));
    return (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}
static mode_t mode_of(int flags, va_list more) {
    return (flags & (O_CREAT | __O_TMPFILE)) ? (mode_t)va_arg(more, int) : 0;
}
int open(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = mode_of(flags, more);
    va_end(more);
    return open_judged(path, flags, mode);
}
int open64(const char *path, int flags, ...) {
    va_list more;
    va_start(more, flags);
    mode_t mode = mode_of(flags, more);
    va_end(more);
    return open_judged(path, flags | O_LARGEFILE, mode);
}
