// channels CARD [PAIRS]: asks the driver for so many pairs of queues, as `ethtool -L` does, and prints how many there are and may be.
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

int main(int count, char** words) {
    if (count < 2) return 2;
    const int fd = socket(AF_INET, SOCK_DGRAM, 0);
    struct ethtool_channels channels = {.cmd = ETHTOOL_GCHANNELS};
    struct ifreq request = {.ifr_data = (void*)&channels};
    strncpy(request.ifr_name, words[1], IFNAMSIZ - 1);
    if (ioctl(fd, SIOCETHTOOL, &request) != 0) return perror("ETHTOOL_GCHANNELS"), 1;
    if (count > 2) {
        channels.cmd = ETHTOOL_SCHANNELS;
        channels.combined_count = (unsigned)atoi(words[2]);
        if (ioctl(fd, SIOCETHTOOL, &request) != 0) return perror("ETHTOOL_SCHANNELS"), 1;
        channels.cmd = ETHTOOL_GCHANNELS;
        if (ioctl(fd, SIOCETHTOOL, &request) != 0) return perror("ETHTOOL_GCHANNELS"), 1;
    }
    printf("%u of %u\n", channels.combined_count, channels.max_combined);
    return 0;
}
