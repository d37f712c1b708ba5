// Places the worker in its namespaces before the Go runtime starts, for a
// multi-threaded process cannot enter a user namespace. Runs in every process that
// links the package and returns at once unless the parent asked for a worker.
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
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <unistd.h>

#define SYNC_FD 3

static void fail(char stage)
{
	char msg[3] = { 'E', stage, (char)errno };
	if (write(SYNC_FD, msg, sizeof(msg)) < 0)
		_exit(126);
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

__attribute__((constructor)) static void oakum_enter_namespaces(void)
{
	const char *mode = getenv("_OAKUM_WORKER");
	if (mode == NULL || (strcmp(mode, "user") != 0 && strcmp(mode, "root") != 0))
		return;
	if (fcntl(SYNC_FD, F_GETFD) < 0)
		return;
	if (strcmp(mode, "user") == 0) {
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
