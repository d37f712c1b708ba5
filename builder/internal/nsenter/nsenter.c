// Places the worker in its namespaces before the Go runtime starts, for a
// multi-threaded process cannot enter a user namespace. Runs in every process that
// links the package, before all other constructors, and changes nothing there unless
// the parent asked for a worker.
//
// Variables of the environment turn this binary into a worker, into a container's first
// process (libcontainer's own constructor) or into a helper of containers/storage.
// Whoever starts a set-uid program chooses its variables, so they count only when they
// come from a parent that is this program too and runs as the same user. Others are
// taken out of the environment, and the process goes on as an ordinary program.
//
// Protocol on SYNC_FD, a packet socket: 'U' to the parent once the user namespace
// exists, 'P' once the other namespaces do, 'E' and errno when one is refused. The
// parent writes the id maps meanwhile and then 'G', which nsenter.Ready waits for: the
// Go runtime starts beside newuidmap. Once mapped, the user is root without setuid.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYNC_FD 3
#define CONTROL_FD 4

static void refuse(char stage)
{
	char msg[3] = { 'E', stage, (char)errno };
	if (write(SYNC_FD, msg, sizeof(msg)) < 0)
		_exit(126);
}

static void fail(char stage)
{
	refuse(stage);
	_exit(125);
}

static void tell(char c)
{
	if (write(SYNC_FD, &c, 1) != 1)
		_exit(126);
}

// The process outside the PID namespace only waits: it dies with the parent, and
// PID 1 of the namespace dies with it.
static void babysit(pid_t child)
{
	int status;
	if (syscall(SYS_close_range, 0, ~0U, 0) != 0)
		for (int fd = 0; fd < 1024; fd++)
			close(fd);
	while (waitpid(child, &status, 0) < 0 && errno == EINTR)
		;
	_exit(WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status));
}

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

// parents_socket says whether a descriptor is one end of a socket pair that our parent
// made, as the user that we are.
static int parents_socket(int fd, int type)
{
	struct ucred peer;
	socklen_t size = sizeof(peer);
	if (option(fd, SO_DOMAIN) != AF_UNIX || option(fd, SO_TYPE) != type)
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

// worker_mode is the mode of a worker, 0 in any other process.
static char worker_mode(int secure)
{
	const char *mode = getenv("_OAKUM_WORKER");
	if (mode == NULL || (strcmp(mode, "user") != 0 && strcmp(mode, "root") != 0))
		return 0;
	if (!parents_socket(SYNC_FD, SOCK_SEQPACKET) || !parents_socket(CONTROL_FD, SOCK_SEQPACKET))
		return 0;
	if (secure) {
		errno = EPERM;
		refuse('s');
		return 0;
	}
	return mode[0];
}

// judge takes out of the environment what does not come from our own parent.
static char judge(void)
{
	// A program that is set-uid, set-gid or has file capabilities is not even asked.
	int secure = getauxval(AT_SECURE) != 0 || getuid() != geteuid() || getgid() != getegid();
	char mode = worker_mode(secure);
	if (mode == 0)
		forget("_OAKUM_WORKER=");
	const char *pipe = getenv("_LIBCONTAINER_INITPIPE");
	if (secure || pipe == NULL || !parents_socket(atoi(pipe), SOCK_STREAM))
		forget("_LIBCONTAINER_");
	// The helpers of containers/storage, and its own way into a user namespace, which is
	// not used here but linked.
	if ((getenv("_OAKUM_WORKER_CHILD") != NULL || getenv("_Containers-unshare") != NULL) &&
	    (secure || !parents_program())) {
		forget("_OAKUM_WORKER_CHILD=");
		forget("_Containers-");
	}
	return mode;
}

__attribute__((constructor(101))) static void oakum_enter_namespaces(void)
{
	char mode = judge();
	if (mode == 0)
		return;
	if (mode == 'u') {
		if (unshare(CLONE_NEWUSER) != 0)
			fail('u');
		tell('U');
	}
	if (unshare(CLONE_NEWNS | CLONE_NEWPID) != 0)
		fail('n');
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0)
		fail('p');
	tell('P');
	pid_t child = fork();
	if (child < 0)
		fail('f');
	if (child > 0)
		babysit(child);
	// /proc/self would otherwise belong to an id outside the namespace.
	if (prctl(PR_SET_PDEATHSIG, SIGKILL) != 0 || prctl(PR_SET_DUMPABLE, 1) != 0)
		fail('p');
}
