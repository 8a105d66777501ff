/* Disks and network as a guest's program sees them, past its page cache. Build: gcc -O2 -static -o io io.c
     io disk NAME DEVICE            reads and writes the first 64 MiB, four times in order by 128 KiB, and at random by 4 KiB
     io net NAME ADDRESS PORT       takes 64 MiB from there, then gives 64 MiB (the peer says how it went with one byte)
   Prints "kernel NAME-WORK SECONDS CHECKSUM" for each work. Writing destroys what the device holds. */

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { AREA = 64 << 20, PASSES = 4, LONG = 128 << 10, SHORT = 4 << 10, AT_RANDOM = 4000, PART = 64 << 10 };

static void failed(const char *what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void done(const char *name, const char *work, double start, uint32_t sum) {
    printf("kernel %s-%s %.5f %08x\n", name, work, now() - start, sum);
    fflush(stdout);
}

static void disk(const char *name, const char *device) {
    static const struct {
        const char *work;
        int write, length, times;
    } works[] = {{"read", 0, LONG, PASSES * (AREA / LONG)},
                 {"read-4k", 0, SHORT, AT_RANDOM},
                 {"write", 1, LONG, PASSES * (AREA / LONG)},
                 {"write-4k", 1, SHORT, AT_RANDOM}};
    const int fd = open(device, O_RDWR | O_DIRECT);
    if (fd < 0) failed(device);
    unsigned char *buffer = aligned_alloc(4096, LONG);
    if (!buffer) failed("memory");
    memset(buffer, 0x5a, LONG);
    uint32_t random = 1;
    for (unsigned w = 0; w < sizeof works / sizeof works[0]; w++) {
        const double start = now();
        uint32_t sum = 0;
        for (int n = 0; n < works[w].times; n++) {
            random = random * 1664525u + 1013904223u;
            const off_t at = works[w].length == LONG ? (off_t)(n % (AREA / LONG)) * LONG : (off_t)((random >> 8) % (AREA / SHORT)) * SHORT;
            const ssize_t moved = works[w].write ? pwrite(fd, buffer, (size_t)works[w].length, at)
                                                 : pread(fd, buffer, (size_t)works[w].length, at);
            if (moved != works[w].length) failed(device);
            sum = sum * 31 + buffer[0] + buffer[works[w].length - 1];
        }
        if (works[w].write && fsync(fd)) failed(device);
        done(name, works[w].work, start, sum);
    }
}

static void net(const char *name, const char *address, const char *port) {
    struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    inet_pton(AF_INET, address, &peer.sin_addr);
    const int fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&peer, sizeof peer)) failed(address);
    static unsigned char buffer[PART];
    double start = now();
    for (long got = 0; got < AREA;) {
        const ssize_t part = read(fd, buffer, PART);
        if (part <= 0) failed("down");
        got += part;
    }
    done(name, "down", start, 0);
    start = now();
    for (long sent = 0; sent < AREA;) {
        const ssize_t part = write(fd, buffer, PART);
        if (part <= 0) failed("up");
        sent += part;
    }
    if (read(fd, buffer, 1) != 1) failed("answer");
    done(name, "up", start, 0);
    close(fd);
}

int main(int argc, char **argv) {
    if (argc == 4 && !strcmp(argv[1], "disk"))
        disk(argv[2], argv[3]);
    else if (argc == 5 && !strcmp(argv[1], "net"))
        net(argv[2], argv[3], argv[4]);
    else
        return fputs("usage: io disk NAME DEVICE | io net NAME ADDRESS PORT\n", stderr), 1;
    return 0;
}
