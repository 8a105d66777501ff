/* Small programs of one kind each, for guests and hosts: a fixed amount of work, self-timed by main.c, and a checksum
   that must be the same everywhere. */
#ifndef KERNEL_H
#define KERNEL_H

#include <stdint.h>

struct kernel {
    const char *name;
    uint32_t (*run)(int rounds);
    int rounds; /* about a twentieth of a second on a PC of 2020 */
};

extern const struct kernel calls[], floating[], memory[], systems[]; /* each ends with a null name */

uint32_t next_random(void); /* starts anew for each kernel */
void failed(const char *what); /* does not return */

#endif
