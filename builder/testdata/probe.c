// Does one system call in a RUN and prints what comes of it: "ok", or the error.
//
//	probe socket FAMILY TYPE [PROTOCOL]      as a 64-bit program does
//	probe socket-wide FAMILY TYPE            with more than 32 bits in the first argument
//	probe i386-socket, probe i386-socketcall as a 32-bit program does, in either way
//	probe i386-getpid                        whether there are 32-bit programs at all
//	probe x32-getpid                         the same for the x32 ABI
//	probe listen NAME, probe connect NAME    an abstract socket
//	probe kill PID                           signal 0
//	probe setcap FILE, probe getcap FILE     file capabilities: CAP_CHOWN
//	probe chown FILE                         to root
//	probe setxattr FILE NAME VALUE
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

static long i386(long nr, long a, long b, long c)
{
	long result = -ENOSYS;
#ifdef __x86_64__
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(nr), "b"(a), "c"(b), "d"(c) : "r8", "r9", "r10", "r11", "memory");
#endif
	return (int)result;
}

#ifndef MAP_32BIT
#define MAP_32BIT 0
#endif

static long i386_socketcall(int call, int a, int b, int c)
{
	int *args = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (args == MAP_FAILED)
		return -errno;
	args[0] = a;
	args[1] = b;
	args[2] = c;
	return i386(102, call, (long)args, 0);
}

static long result(long n) { return n < 0 ? -errno : n; }

static long unix_socket(const char *name, int listening)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	socklen_t size = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
	if (s < 0)
		return -errno;
	strncpy(at.sun_path + 1, name, sizeof(at.sun_path) - 2);
	if (!listening)
		return result(connect(s, (struct sockaddr *)&at, size));
	if (bind(s, (struct sockaddr *)&at, size) != 0 || listen(s, 5) != 0)
		return -errno;
	if (fork() == 0)
		sleep(600);
	return 0;
}

// struct vfs_cap_data, version 2, effective: CAP_CHOWN.
static const char caps[20] = { 1, 0, 0, 2, 1 };

static long getcap(const char *path)
{
	unsigned char value[64];
	ssize_t n = getxattr(path, "security.capability", value, sizeof(value));
	for (ssize_t i = 0; i < n; i++)
		printf("%02x", value[i]);
	return result(n);
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	long a = argc > 2 ? atol(argv[2]) : 0, b = argc > 3 ? atol(argv[3]) : 0, c = argc > 4 ? atol(argv[4]) : 0;
	long n = -EINVAL;
	if (strcmp(what, "socket") == 0)
		n = result(syscall(SYS_socket, a, b, c));
	else if (strcmp(what, "socket-wide") == 0)
		n = result(syscall(SYS_socket, a | 1L << 32, b, c));
	else if (strcmp(what, "i386-socket") == 0)
		n = i386(359, a, b, c);
	else if (strcmp(what, "i386-socketcall") == 0)
		n = i386_socketcall(1, a, b, c);
	else if (strcmp(what, "i386-getpid") == 0)
		n = i386(20, 0, 0, 0);
	else if (strcmp(what, "x32-getpid") == 0)
		n = result(syscall(SYS_getpid | 0x40000000));
	else if (strcmp(what, "listen") == 0 || strcmp(what, "connect") == 0)
		n = unix_socket(argc > 2 ? argv[2] : "", what[0] == 'l');
	else if (strcmp(what, "kill") == 0)
		n = result(kill(a, 0));
	else if (strcmp(what, "setcap") == 0)
		n = result(setxattr(argv[2], "security.capability", caps, sizeof(caps), 0));
	else if (strcmp(what, "getcap") == 0)
		n = getcap(argv[2]);
	else if (strcmp(what, "setxattr") == 0 && argc == 5)
		n = result(setxattr(argv[2], argv[3], argv[4], strlen(argv[4]), 0));
	else if (strcmp(what, "chown") == 0)
		n = result(chown(argv[2], 0, 0));
	puts(n < 0 ? strerror(-n) : "ok");
	return 0;
}
