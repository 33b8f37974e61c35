/* Loaded before the C library, this kills the process at one of its steps, by SIGKILL, as a machine that loses
 * power does to a process: before and after each sync of a file, before each piece that is sent, and after each
 * that has come. DYING_AT is the number of the step, from 1. DYING_TOLD is a file that tells its name, or without
 * such a number the names of all steps, one a line. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_int taken;
static int dies_at;

static void tell(const char *step) {
    const char *path = getenv("DYING_TOLD");
    int file = path ? open(path, O_WRONLY | O_CREAT | O_APPEND, 0600) : -1;
    if (file >= 0) {
        dprintf(file, "%s\n", step);
        close(file);
    }
}

static void step(const char *name) {
    int number = atomic_fetch_add(&taken, 1) + 1;
    if (dies_at == 0) tell(name);
    if (number == dies_at) {
        tell(name);
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
}

__attribute__((constructor)) static void begin(void) {
    const char *at = getenv("DYING_AT");
    dies_at = at ? atoi(at) : 0;
}

static int is_socket(int fd) {
    int kind;
    socklen_t length = sizeof kind;
    return getsockopt(fd, SOL_SOCKET, SO_TYPE, &kind, &length) == 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

int fsync(int fd) {
    step("before fsync");
    int done = REAL(fsync)(fd);
    step("after fsync");
    return done;
}

int fdatasync(int fd) {
    step("before fdatasync");
    int done = REAL(fdatasync)(fd);
    step("after fdatasync");
    return done;
}

ssize_t send(int fd, const void *bytes, size_t length, int flags) {
    step("before send");
    return REAL(send)(fd, bytes, length, flags);
}

ssize_t writev(int fd, const struct iovec *pieces, int count) {
    if (is_socket(fd)) step("before send");
    return REAL(writev)(fd, pieces, count);
}

ssize_t recv(int fd, void *bytes, size_t length, int flags) {
    ssize_t got = REAL(recv)(fd, bytes, length, flags);
    if (got > 0) step("after recv");
    return got;
}
