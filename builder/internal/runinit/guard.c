//go:build linux && cgo

// Takes variables out of the environment that make this binary a container's first process
// or put it into a user namespace. The libraries that look for them, libcontainer and
// containers/storage, do so in constructors of their own, before the Go runtime starts; this
// one runs in every process that links the package, before all others.
//
// Whoever starts a set-uid program chooses its variables. So they count only when they come
// from a parent who runs as the same user and holds the other end of a socket
// (libcontainer's), or is this program too (containers/storage's, which is not used here but
// linked). Otherwise the process goes on without them, as an ordinary program.
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

// forget takes variables out of the environment in place: libc and the Go runtime, which
// reads the same array later, must both miss them.
static void forget(const char *prefix)
{
	char **to = environ;
	if (to == NULL)
		return;
	for (char **from = environ; *from != NULL; from++)
		if (strncmp(*from, prefix, strlen(prefix)) != 0)
			*to++ = *from;
	*to = NULL;
}

static int option(int fd, int name)
{
	int value;
	socklen_t size = sizeof(value);
	return getsockopt(fd, SOL_SOCKET, name, &value, &size) == 0 ? value : -1;
}

// parents_socket says whether a descriptor is one end of a pair of stream sockets that our
// parent made, as the user that we are.
static int parents_socket(int fd)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	if (option(fd, SO_DOMAIN) != AF_UNIX || option(fd, SO_TYPE) != SOCK_STREAM)
		return 0;
	return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 &&
		peer.pid > 0 && peer.pid == getppid() && peer.uid == geteuid();
}

// parents_program says whether our parent is this very program, run by the user that we are.
static int parents_program(void)
{
	struct stat self, parent, owner;
	char path[64];
	snprintf(path, sizeof(path), "/proc/%ld/exe", (long)getppid());
	if (stat("/proc/self/exe", &self) != 0 || stat(path, &parent) != 0)
		return 0;
	snprintf(path, sizeof(path), "/proc/%ld", (long)getppid());
	return self.st_dev == parent.st_dev && self.st_ino == parent.st_ino &&
		stat(path, &owner) == 0 && owner.st_uid == geteuid();
}

// heed all signals: a command must not ignore or block what whoever started the build does, as
// under nohup. The kernel is asked itself, for libc's functions refuse its own two signals, which
// its posix_spawn has children ignore: all that make starts does.
static void heed(void)
{
	const char by_default[64] = { 0 }; // more than a struct sigaction of the kernel's, SIG_DFL
	sigset_t none;
	for (int i = 1; i < NSIG; i++)
		syscall(SYS_rt_sigaction, i, by_default, NULL, 8);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

__attribute__((constructor(101))) static void oakum_guard_constructors(void)
{
	// A program that is set-uid, set-gid or has file capabilities is not even asked.
	int secure = getauxval(AT_SECURE) != 0 || getuid() != geteuid() || getgid() != getegid();
	const char *pipe = getenv("_LIBCONTAINER_INITPIPE");
	if (secure || pipe == NULL || !parents_socket(atoi(pipe)))
		forget("_LIBCONTAINER_");
	else
		heed();
	if (secure || (getenv("_Containers-unshare") != NULL && !parents_program()))
		forget("_Containers-");
}
