// Attacks through the network: item 20.

#include "common.h"

#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/vm_sockets.h>
#include <net/if.h>
#include <netinet/in.h>

static bool reached_tcp(int family, int type, int protocol, const char *address, int port) {
    int sock = syscall(SYS_socket, family, type, protocol);
    if (sock < 0) return false;
    struct sockaddr_storage to = {.ss_family = family};
    socklen_t length;
    if (family == AF_INET) {
        struct sockaddr_in *in = (void *)&to;
        in->sin_port = htons(port);
        inet_pton(AF_INET, address, &in->sin_addr);
        length = sizeof *in;
    } else {
        struct sockaddr_in6 *in = (void *)&to;
        in->sin6_port = htons(port);
        inet_pton(AF_INET6, address, &in->sin6_addr);
        length = sizeof *in;
    }
    bool reached = connect(sock, (void *)&to, length) == 0;
    int error = errno;
    close(sock);
    errno = error;
    return reached;
}

// connect PORT PORT6: to listeners on the host's loopback addresses.
static int run_connect(char **arguments) {
    int port = atoi(arguments[0]), port6 = atoi(arguments[1]);
    tried("TCP", reached_tcp(AF_INET, SOCK_STREAM, 0, "127.0.0.1", port));
    tried("TCP to 0.0.0.0", reached_tcp(AF_INET, SOCK_STREAM, 0, "0.0.0.0", port));
    tried("TCP over IPv6", reached_tcp(AF_INET6, SOCK_STREAM, 0, "::1", port6));
    tried("an IPv4-mapped address", reached_tcp(AF_INET6, SOCK_STREAM, 0, "::ffff:127.0.0.1", port));
    tried("MPTCP", reached_tcp(AF_INET, SOCK_STREAM, 262, "127.0.0.1", port));
    // Fast open connects without connect(2).
    int sock = socket(AF_INET, SOCK_STREAM, 0);
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    tried("TCP fast open", sendto(sock, "x", 1, MSG_FASTOPEN | MSG_NOSIGNAL, (void *)&to, sizeof to) == 1);
    return finish();
}

// datagrams PORT ADDRESS: to the host's loopback, where the test waits for them, and outwards.
static int run_datagrams(char **arguments) {
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(atoi(arguments[0]))};
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int sock = socket(AF_INET, SOCK_DGRAM, 0);
    // Sending to nobody succeeds on a private loopback: the test checks whether it arrived.
    printf("sent: %zd\n", sendto(sock, "x", 1, 0, (void *)&to, sizeof to));
    return 1;
}

// outwards: is there any way out? Checks the routes; no packet is sent.
static int run_outwards(char **arguments) {
    (void)arguments;
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(53)};
    const char *addresses[] = {"192.0.2.1", "10.0.0.1", "169.254.169.254", "8.8.8.8", "224.0.0.1", "255.255.255.255"};
    for (size_t at = 0; at < sizeof addresses / sizeof *addresses; at++) {
        int sock = socket(AF_INET, SOCK_DGRAM, 0), yes = 1;
        setsockopt(sock, SOL_SOCKET, SO_BROADCAST, &yes, sizeof yes);
        inet_pton(AF_INET, addresses[at], &to.sin_addr);
        tried(addresses[at], connect(sock, (void *)&to, sizeof to) == 0);
        close(sock);
    }
    struct if_nameindex *all = if_nameindex();
    bool other = false;
    for (struct if_nameindex *one = all; one && one->if_index; one++) other |= strcmp(one->if_name, "lo") != 0;
    tried("a network device beside lo", other);
    return finish();
}

// sockets: the kinds that bypass the network stack.
static int run_sockets(char **arguments) {
    (void)arguments;
    static const struct {
        const char *name;
        int family, type, protocol;
    } kinds[] = {
        {"raw ICMP", AF_INET, SOCK_RAW, IPPROTO_ICMP},
        {"raw IP", AF_INET, SOCK_RAW, IPPROTO_RAW},
        {"raw IPv6", AF_INET6, SOCK_RAW, 58},
        {"packet", AF_PACKET, SOCK_RAW, 0x0300},
    };
    for (size_t at = 0; at < sizeof kinds / sizeof *kinds; at++)
        tried(kinds[at].name, socket(kinds[at].family, kinds[at].type, kinds[at].protocol) >= 0);
    tried("raw, with high bits",
          syscall(SYS_socket, 0xff00000000UL | AF_INET, 0xff00000000UL | SOCK_RAW, 0xff00000000UL | IPPROTO_ICMP) >= 0);
    return finish();
}

// families: those that nobody needs and that add kernel code.
static int run_families(char **arguments) {
    (void)arguments;
    static const struct {
        const char *name;
        int family, type, protocol;
    } kinds[] = {
        {"vsock", AF_VSOCK, SOCK_STREAM, 0},
        {"netlink: uevents", AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT},
        {"netlink: netfilter", AF_NETLINK, SOCK_RAW, NETLINK_NETFILTER},
        {"netlink: audit", AF_NETLINK, SOCK_RAW, NETLINK_AUDIT},
        {"netlink: generic", AF_NETLINK, SOCK_RAW, NETLINK_GENERIC},
        {"netlink: sockets", AF_NETLINK, SOCK_RAW, NETLINK_SOCK_DIAG},
        {"netlink: xfrm", AF_NETLINK, SOCK_RAW, NETLINK_XFRM},
    };
    for (size_t at = 0; at < sizeof kinds / sizeof *kinds; at++)
        tried(kinds[at].name, socket(kinds[at].family, kinds[at].type, kinds[at].protocol) >= 0);
    tried("vsock, with high bits", syscall(SYS_socket, 0xff00000000UL | AF_VSOCK, SOCK_STREAM, 0) >= 0);
    return finish();
}

// listen: on a port of the host without a grant, with and without bind(2).
static int run_listen(char **arguments) {
    (void)arguments;
    struct sockaddr_in any = {.sin_family = AF_INET};
    int sock = socket(AF_INET, SOCK_STREAM, 0);
    tried("bind and listen", bind(sock, (void *)&any, sizeof any) == 0 && listen(sock, 1) == 0);
    sock = socket(AF_INET, SOCK_STREAM, 0);
    tried("listen without bind", listen(sock, 1) == 0);
    sock = socket(AF_INET6, SOCK_STREAM, 0);
    tried("listen without bind, IPv6", listen(sock, 1) == 0);
    sock = syscall(SYS_socket, AF_INET, SOCK_STREAM, 262);
    tried("MPTCP", sock >= 0 && listen(sock, 1) == 0);
    return finish();
}

int main(int count, char **argv) {
    (void)count;
    static const struct mode modes[] = {
        {"connect", run_connect}, {"datagrams", run_datagrams}, {"outwards", run_outwards},
        {"sockets", run_sockets}, {"families", run_families},   {"listen", run_listen},
    };
    return choose(modes, sizeof modes / sizeof *modes, argv);
}
