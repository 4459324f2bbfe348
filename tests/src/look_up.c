/* Looks a name up, NAME [PORT]; with a port it connects to the first address that it got. */
#include <netdb.h>
#include <sys/socket.h>
#include <unistd.h>

int main(int argc, char **argv) {
    struct addrinfo hints = { .ai_socktype = SOCK_STREAM }, *found;
    int error = getaddrinfo(argv[1], argc > 2 ? argv[2] : 0, &hints, &found);
    if (error) return 1;
    if (argc < 3) return 0;
    int fd = socket(found->ai_family, found->ai_socktype, 0);
    return connect(fd, found->ai_addr, found->ai_addrlen) ? 2 : 0;
}
