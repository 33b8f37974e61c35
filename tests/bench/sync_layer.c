// Loaded before the C library (LD_PRELOAD): counts each fsync and fdatasync in the eight bytes of the file
// $SYNC_COUNT, and sleeps $SYNC_SLEEP_MS milliseconds in it, as a slower disk would.

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static _Atomic unsigned long *count;
static struct timespec pause_of_each;
static int (*system_fsync)(int);
static int (*system_fdatasync)(int);

__attribute__((constructor)) static void begin(void) {
    system_fsync = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    system_fdatasync = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    const char *milliseconds = getenv("SYNC_SLEEP_MS");
    long length = milliseconds ? atol(milliseconds) : 0;
    pause_of_each = (struct timespec){length / 1000, length % 1000 * 1000000};
    const char *path = getenv("SYNC_COUNT");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file >= 0) {
        void *shared = mmap(NULL, sizeof *count, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
        if (shared != MAP_FAILED) count = shared;
        close(file);
    }
}

static void before_each(void) {
    if (count) atomic_fetch_add(count, 1);
    if (pause_of_each.tv_sec || pause_of_each.tv_nsec) nanosleep(&pause_of_each, NULL);
}

int fsync(int file) {
    before_each();
    return system_fsync(file);
}

int fdatasync(int file) {
    before_each();
    return system_fdatasync(file);
}
