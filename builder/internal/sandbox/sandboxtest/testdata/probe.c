// Says what a process sees of its sandbox, one finding a line: a name, a tab, and text.
//
//	probe report PATH...            everything, and what can be done with each path
//	probe calls NAME,A,B,C,D,E...   what comes of system calls with these arguments
//	probe i386 NR,A,B,C...          the same for calls of 32-bit x86, by their numbers
//	probe i386-socketcall FAMILY,TYPE...   a socket, the other way of 32-bit x86
//	probe x32 NR                    a call of the x32 ABI
//	probe abstract listen|connect NAME     an abstract socket
//	probe kill PID SIGNAL
//	probe ids                              the effective user and group
//	probe crash
//	probe tree                      processes that do not want to end; says "up" first
//
// syscalls.h is made by the suite: the names and numbers of this architecture's calls.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>

static const struct {
	const char *name;
	long nr;
} calls[] = {
#include "syscalls.h"
};

#define COUNT(a) (sizeof(a) / sizeof((a)[0]))

static const char *outcome(long n)
{
	return n >= 0 ? "ok" : strerrorname_np(-n);
}

// A call is made by a process of its own, which may be ended by it. What came of it is
// written to memory that both have.
static long *shared;
#define RUNNING 1L

static void in_child(const char *kind, const char *name, const char *detail, long (*call)(const long *), const long *args)
{
	int status = 0;
	*shared = RUNNING << 32;
	fflush(stdout);
	pid_t child = fork();
	if (child == 0) {
		pid_t self = syscall(SYS_getpid);
		alarm(5);
		long n = call(args);
		if (syscall(SYS_getpid) != self) // a process more
			_exit(0);
		*shared = n < 0 ? n : 0;
		_exit(0);
	}
	waitpid(child, &status, 0);
	if (*shared != RUNNING << 32)
		printf("%s %s%s\t%s\n", kind, name, detail, outcome(*shared));
	else if (WIFSIGNALED(status))
		printf("%s %s%s\tSIG%s\n", kind, name, detail, sigabbrev_np(WTERMSIG(status)));
	else
		printf("%s %s%s\tended\n", kind, name, detail);
}

static long by_number(const long *a)
{
	long n = syscall(a[0], a[1], a[2], a[3], a[4], a[5], a[6]);
	return n == -1 ? -errno : n;
}

// Calls that never return, or that harm the machine when they are let through.
static int left_out(const char *name)
{
	static const char *names[] = { "pause", "sync", "vhangup", "fork", "vfork", "clone", "exit", "exit_group", "rt_sigreturn", "reboot" };
	for (size_t i = 0; i < COUNT(names); i++)
		if (strcmp(name, names[i]) == 0)
			return 1;
	return 0;
}

// Every call with arguments that the kernel does not take, so that what a filter refuses
// is told from what it lets through.
static void all_calls(void)
{
	for (size_t i = 0; i < COUNT(calls); i++) {
		long args[7] = { calls[i].nr, -1, -1, -1, -1, -1, -1 };
		if (!left_out(calls[i].name))
			in_child("call", calls[i].name, "", by_number, args);
	}
}

static void parse(char *text, long *args, int count)
{
	for (int i = 0; i < count && text != NULL && *text != 0; i++) {
		args[i] = strtoul(text, &text, 0);
		if (*text == ',')
			text++;
	}
}

static int named_calls(char **argv)
{
	for (; *argv != NULL; argv++) {
		long args[7] = { -1 };
		char *rest = strchr(*argv, ',');
		size_t length = rest != NULL ? (size_t)(rest - *argv) : strlen(*argv);
		parse(rest != NULL ? rest + 1 : NULL, args + 1, 6);
		for (size_t i = 0; i < COUNT(calls); i++)
			if (strlen(calls[i].name) == length && strncmp(calls[i].name, *argv, length) == 0)
				args[0] = calls[i].nr;
		in_child("call", *argv, "", by_number, args);
	}
	return 0;
}

static long i386(const long *a)
{
	long result = -ENOSYS;
#ifdef __x86_64__
	__asm__ volatile("int $0x80" : "=a"(result) : "a"(a[0]), "b"(a[1]), "c"(a[2]), "d"(a[3]) : "r8", "r9", "r10", "r11", "memory");
#endif
	return (int)result;
}

#ifndef MAP_32BIT
#define MAP_32BIT 0
#endif

static long i386_socketcall(const long *a)
{
	int *args = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_32BIT, -1, 0);
	if (args == MAP_FAILED)
		return -errno;
	args[0] = a[0];
	args[1] = a[1];
	args[2] = 0;
	return i386((long[]){ 102, 1, (long)args, 0 });
}

static int other_calls(const char *kind, long (*call)(const long *), char **argv)
{
	for (; *argv != NULL; argv++) {
		long args[7] = { 0 };
		char text[64];
		snprintf(text, sizeof(text), "%s", *argv);
		parse(text, args, 7);
		in_child(kind, *argv, "", call, args);
	}
	return 0;
}

static long x32(const long *a)
{
	long n = syscall(a[0] | 0x40000000);
	return n == -1 ? -errno : n;
}

static void show_file(const char *kind, const char *path)
{
	char *line = NULL;
	size_t size = 0;
	FILE *f = fopen(path, "re");
	int number = 0;
	if (f == NULL) {
		printf("%s\t%s\n", kind, outcome(-errno));
		return;
	}
	while (getline(&line, &size, f) > 0) {
		line[strcspn(line, "\n")] = 0;
		char *tab = line;
		while ((tab = strchr(tab, '\t')) != NULL)
			*tab = ' ';
		printf("%s %03d\t%s\n", kind, number++, line);
	}
	fclose(f);
	free(line);
}

static const char *kind_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFDIR: return "d";
	case S_IFREG: return "f";
	case S_IFLNK: return "l";
	case S_IFCHR: return "c";
	case S_IFBLK: return "b";
	}
	return "?";
}

static void show_entry(const char *dir, const char *name)
{
	char path[4096], target[4096] = "";
	struct stat st;
	snprintf(path, sizeof(path), "%s/%s", dir, name);
	if (lstat(path, &st) != 0) {
		printf("entry %s\t%s\n", path, outcome(-errno));
		return;
	}
	if (S_ISLNK(st.st_mode) && readlink(path, target, sizeof(target) - 1) < 0)
		target[0] = 0;
	printf("entry %s\t%s %o %d:%d %u:%u %s\n", path, kind_of(st.st_mode), st.st_mode & 07777, st.st_uid, st.st_gid,
	       major(st.st_rdev), minor(st.st_rdev), target);
}

static void show_dir(const char *dir)
{
	DIR *d = opendir(dir);
	struct dirent *e;
	if (d == NULL) {
		printf("entry %s\t%s\n", dir, outcome(-errno));
		return;
	}
	while ((e = readdir(d)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			show_entry(dir, e->d_name);
	closedir(d);
}

// The descriptors but for the one that reads the directory.
static void show_descriptors(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;
	char path[64];
	struct stat st;
	if (d == NULL)
		return;
	while ((e = readdir(d)) != NULL) {
		int fd = atoi(e->d_name);
		if (e->d_name[0] == '.' || fd == dirfd(d))
			continue;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		printf("descriptor %d\t%s flags %x\n", fd, stat(path, &st) == 0 ? kind_of(st.st_mode) : "gone", fcntl(fd, F_GETFD));
	}
	closedir(d);
}

// What can be read of a path, and whether it can be written to, without writing.
static void show_access(const char *path)
{
	char byte;
	struct stat st;
	const char *read_as = "ok", *written_as;
	if (lstat(path, &st) != 0) {
		printf("access %s\t%s\n", path, outcome(-errno));
		return;
	}
	if (S_ISDIR(st.st_mode)) {
		DIR *d = opendir(path);
		int entries = 0;
		if (d == NULL) {
			read_as = outcome(-errno);
		} else {
			while (readdir(d) != NULL)
				entries++;
			closedir(d);
			read_as = entries > 2 ? "entries" : "empty";
		}
		char name[4096];
		snprintf(name, sizeof(name), "%s/oakum-probe", path);
		long made = mkdir(name, 0700) == 0 ? 0 : -errno;
		if (made == 0)
			rmdir(name);
		written_as = outcome(made);
	} else {
		int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, &byte, 1);
		read_as = n > 0 ? "data" : n == 0 ? "empty" : outcome(-errno);
		if (fd >= 0)
			close(fd);
		fd = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
		written_as = fd >= 0 ? "ok" : outcome(-errno);
		if (fd >= 0)
			close(fd);
	}
	printf("access %s\t%s, written to: %s\n", path, read_as, written_as);
}

static void show_proc(void)
{
	DIR *d = opendir("/proc");
	struct dirent *e;
	char path[512];
	while (d != NULL && (e = readdir(d)) != NULL) {
		if (e->d_name[0] == '.')
			continue;
		if (e->d_name[0] >= '0' && e->d_name[0] <= '9') {
			printf("process %s\tthere\n", e->d_name);
			continue;
		}
		snprintf(path, sizeof(path), "/proc/%s", e->d_name);
		show_access(path);
	}
	if (d != NULL)
		closedir(d);
}

static void show_self(void)
{
	struct utsname u;
	char dir[4096] = "";
	uname(&u);
	printf("uts nodename\t%s\nuts domainname\t%s\n", u.nodename, u.domainname);
	printf("self pid\t%d\nself ppid\t%d\nself sid\t%d\nself pgid\t%d\n", getpid(), getppid(), getsid(0), getpgid(0));
	printf("self umask\t%04o\nself nice\t%d\nself scheduler\t%d\n", umask(022), getpriority(PRIO_PROCESS, 0), sched_getscheduler(0));
	printf("self personality\t%#x\n", personality(0xffffffff));
	printf("self dir\t%s\n", getcwd(dir, sizeof(dir)) != NULL ? dir : outcome(-errno));
	printf("self dumpable\t%s\n", access("/proc/self/environ", R_OK) == 0 ? "yes" : "no");
	struct winsize size = { 0 };
	ioctl(0, TIOCGWINSZ, &size);
	printf("self terminal\t%s %dx%d, foreground %s\n", isatty(0) ? ttyname(0) : "none", size.ws_row, size.ws_col, !isatty(0) ? "none" : tcgetpgrp(0) == getpgid(0) ? "own" : "other");
	show_file("oom score", "/proc/self/oom_score_adj");
}

// What a process may have from the one that started it.
static void show_attributes(void)
{
	static const struct {
		const char *name;
		int option;
	} options[] = {
		{ "securebits", PR_GET_SECUREBITS }, { "keepcaps", PR_GET_KEEPCAPS }, { "dumpable", PR_GET_DUMPABLE }, { "no_new_privs", PR_GET_NO_NEW_PRIVS },
		{ "timerslack", PR_GET_TIMERSLACK }, { "thp disabled", PR_GET_THP_DISABLE }, { "io flusher", PR_GET_IO_FLUSHER }, { "seccomp", PR_GET_SECCOMP },
		{ "memory merge", 68 }, { "mce policy", PR_MCE_KILL_GET }, { "mdwe", 66 },
	};
	static const char *files[] = { "coredump_filter", "loginuid", "sessionid", "setgroups", "uid_map", "gid_map", "projid_map", "timens_offsets" };
	int value = -1;
	char path[64];
	for (size_t i = 0; i < COUNT(options); i++) {
		value = prctl(options[i].option, 0, 0, 0, 0);
		printf("attribute %s\t%d\n", options[i].name, value < 0 ? -errno : value);
	}
	prctl(PR_GET_PDEATHSIG, &value);
	printf("attribute death signal\t%d\n", value);
	value = -1;
	prctl(PR_GET_CHILD_SUBREAPER, &value);
	printf("attribute subreaper\t%d\n", value);
	for (int n = 0; n < 64; n++) {
		int held = prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_IS_SET, n, 0, 0);
		if (held > 0)
			printf("attribute ambient %d\theld\n", n);
	}
	for (int n = 1; n < NSIG; n++) {
		struct sigaction action;
		if (sigaction(n, NULL, &action) == 0 && action.sa_handler != SIG_DFL)
			printf("attribute signal %d\tignored\n", n);
	}
	stack_t stack = { 0 };
	sigaltstack(NULL, &stack);
	printf("attribute signal stack\t%d\n", stack.ss_flags);
	cpu_set_t cpus;
	printf("attribute processors\t%d\n", sched_getaffinity(0, sizeof(cpus), &cpus) == 0 ? CPU_COUNT(&cpus) : -errno);
	printf("attribute io priority\t%ld\n", syscall(SYS_ioprio_get, 1, 0));
	printf("attribute alarm\t%u\n", alarm(0));
	printf("attribute children\t%s\n", waitpid(-1, NULL, WNOHANG) < 0 ? outcome(-errno) : "some");
	printf("attribute root\t%s\n", chdir("..") == 0 && access("bin/probe", X_OK) == 0 ? "here" : "elsewhere");
	for (size_t i = 0; i < COUNT(files); i++) {
		snprintf(path, sizeof(path), "/proc/self/%s", files[i]);
		snprintf(path + 32, sizeof(path) - 32, "file %s", files[i]);
		show_file(path + 32, path);
	}
	show_file("sysv shared memory", "/proc/sysvipc/shm");
	show_file("sysv semaphores", "/proc/sysvipc/sem");
	show_file("sysv messages", "/proc/sysvipc/msg");
	show_file("core pattern", "/proc/sys/kernel/core_pattern");
}

static void show_namespaces(void)
{
	static const char *names[] = { "cgroup", "ipc", "mnt", "net", "pid", "time", "user", "uts" };
	char path[64], target[64];
	for (size_t i = 0; i < COUNT(names); i++) {
		snprintf(path, sizeof(path), "/proc/self/ns/%s", names[i]);
		ssize_t n = readlink(path, target, sizeof(target) - 1);
		target[n > 0 ? n : 0] = 0;
		printf("namespace %s\t%s\n", names[i], target);
	}
}

extern char **environ;

static int report(char **paths)
{
	int number = 0;
	show_descriptors();
	show_self();
	show_attributes();
	show_namespaces();
	for (char **e = environ; *e != NULL; e++)
		printf("environment %03d\t%s\n", number++, *e);
	show_file("status", "/proc/self/status");
	show_file("limit", "/proc/self/limits");
	show_file("cgroup", "/proc/self/cgroup");
	show_file("mount", "/proc/self/mountinfo");
	show_file("hosts", "/etc/hosts");
	show_file("resolv", "/etc/resolv.conf");
	show_file("keys", "/proc/keys");
	show_dir("/");
	show_dir("/dev");
	show_dir("/dev/pts");
	show_dir("/dev/shm");
	show_dir("/dev/mqueue");
	show_proc();
	for (; *paths != NULL; paths++)
		show_access(*paths);
	all_calls();
	return 0;
}

static long abstract(const char *name, int listening)
{
	struct sockaddr_un at = { .sun_family = AF_UNIX };
	int s = socket(AF_UNIX, SOCK_STREAM, 0);
	socklen_t size = offsetof(struct sockaddr_un, sun_path) + 1 + strlen(name);
	strncpy(at.sun_path + 1, name, sizeof(at.sun_path) - 2);
	if (!listening)
		return connect(s, (struct sockaddr *)&at, size) == 0 ? 0 : -errno;
	if (bind(s, (struct sockaddr *)&at, size) != 0 || listen(s, 5) != 0)
		return -errno;
	if (fork() == 0) {
		close(1);
		pause();
	}
	return 0;
}

__attribute__((noreturn)) static void tree(void)
{
	for (int i = SIGHUP; i < SIGSYS; i++)
		signal(i, SIG_IGN);
	if (fork() == 0) {
		setsid();
		if (fork() == 0)
			setsid();
	}
	fork();
	dprintf(1, "up\n");
	for (;;)
		pause();
}

int main(int argc, char **argv)
{
	const char *what = argc > 1 ? argv[1] : "";
	shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (shared == MAP_FAILED)
		return 99;
	if (strcmp(what, "report") == 0)
		return report(argv + 2);
	if (strcmp(what, "calls") == 0)
		return named_calls(argv + 2);
	if (strcmp(what, "i386") == 0)
		return other_calls("i386", i386, argv + 2);
	if (strcmp(what, "i386-socketcall") == 0)
		return other_calls("i386-socketcall", i386_socketcall, argv + 2);
	if (strcmp(what, "x32") == 0)
		return other_calls("x32", x32, argv + 2);
	if (strcmp(what, "abstract") == 0 && argc == 4)
		return printf("%s\n", outcome(abstract(argv[3], argv[2][0] == 'l'))), 0;
	if (strcmp(what, "kill") == 0 && argc == 4)
		return printf("%s\n", outcome(kill(atoi(argv[2]), atoi(argv[3])) == 0 ? 0 : -errno)), 0;
	if (strcmp(what, "ids") == 0)
		return printf("%d:%d\n", geteuid(), getegid()), 0;
	if (strcmp(what, "tree") == 0)
		tree();
	if (strcmp(what, "crash") == 0)
		*(volatile int *)8 = 1;
	return 98;
}
