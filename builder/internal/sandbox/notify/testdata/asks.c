// Asks makes calls about names in the ways that programs do, and says what is not as where there is a /proc.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static char *volatile nowhere = (char *)8;
static const char *name;
static long times;
static int (*act)(void);

static int opens(void)
{
	int fd = open(name, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? -1 : close(fd);
}

static int stats(void)
{
	struct stat st;
	return stat(name, &st);
}

static void *repeat(void *unused)
{
	for (long i = 0; i < times; i++)
		if (act() < 0) {
			perror(name);
			exit(1);
		}
	return unused;
}

static void crowd(void *(*start)(void *))
{
	pthread_t threads[4];
	for (int i = 0; i < 4; i++)
		pthread_create(&threads[i], NULL, start, NULL);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
}

#define EXPECT(test)                                                                   \
	do {                                                                           \
		errno = 0;                                                             \
		if (!(test))                                                           \
			printf("%s:%d: %s: %s\n", __func__, __LINE__, #test, strerror(errno)); \
	} while (0)

// FAILS expects a call to fail with an error.
#define FAILS(call, error) EXPECT((call) < 0 && errno == error)

static int contains(int fd, const char *text)
{
	char buffer[4096];
	int n = read(fd, buffer, sizeof buffer - 1);
	close(fd);
	if (n < 0)
		return 0;
	buffer[n] = 0;
	return strstr(buffer, text) != NULL;
}

static void *thread(void *unused)
{
	char path[64], text[64] = "";
	pid_t tid = syscall(SYS_gettid);
	snprintf(path, sizeof path, "%d/task/%d", getpid(), tid);
	EXPECT(readlink("/proc/thread-self", text, sizeof text) == (ssize_t)strlen(path) && memcmp(path, text, strlen(path)) == 0);
	snprintf(path, sizeof path, "%d", getpid());
	EXPECT(readlink("/proc/self", text, sizeof text) == (ssize_t)strlen(path) && memcmp(path, text, strlen(path)) == 0);
	snprintf(path, sizeof path, "\nPid:\t%d\n", tid);
	EXPECT(contains(open("/proc/thread-self/status", O_RDONLY), path));
	snprintf(path, sizeof path, "\nPid:\t%d\n", getpid());
	EXPECT(contains(open("/proc/self/status", O_RDONLY), path));
	snprintf(path, sizeof path, "/proc/self/task/%d/comm", tid);
	EXPECT(access(path, R_OK) == 0);
	snprintf(path, sizeof path, "/proc/%d/comm", tid);
	EXPECT(access(path, R_OK) == 0);
	return unused;
}

static void calls(void)
{
	struct stat st, own;
	struct statx stx;
	struct open_how how = {.flags = O_RDONLY};
	char text[4096], *end, *long_name;
	int fd, dir;

	EXPECT(stat("/proc/self/exe", &st) == 0 && S_ISREG(st.st_mode) && stat("/bin/asks", &own) == 0 && st.st_ino == own.st_ino);
	EXPECT(lstat("/proc/self/exe", &st) == 0 && S_ISLNK(st.st_mode));
	EXPECT(lstat("/proc/self", &st) == 0 && S_ISLNK(st.st_mode));
	EXPECT(lstat("/proc/self/", &st) == 0 && S_ISDIR(st.st_mode));
	EXPECT(stat("/proc/self/fd", &st) == 0 && S_ISDIR(st.st_mode));
	EXPECT(stat("/proc", &st) == 0 && S_ISDIR(st.st_mode));
	EXPECT(syscall(SYS_statx, AT_FDCWD, "/proc/self/exe", 0, STATX_BASIC_STATS, &stx) == 0 && stx.stx_ino == own.st_ino && stx.stx_size == own.st_size);
	EXPECT(access("/proc/self/exe", X_OK) == 0 && access("/proc/self/exe", R_OK) == 0);
	EXPECT(faccessat(AT_FDCWD, "/proc/self/maps", R_OK, AT_EACCESS) == 0);
	FAILS(access("/proc/self/none", F_OK), ENOENT);
	FAILS(access("/proc/self/exe/x", F_OK), ENOTDIR);

	EXPECT(readlink("/proc/self/exe", text, sizeof text) == 9 && memcmp(text, "/bin/asks", 9) == 0);
	text[4] = 'x';
	EXPECT(readlink("/proc/self/exe", text, 4) == 4 && memcmp(text, "/binx", 5) == 0);
	FAILS(syscall(SYS_readlinkat, AT_FDCWD, "/proc/self/exe", text, 0), EINVAL);
	FAILS(readlink("/proc/self/status", text, sizeof text), EINVAL);
	FAILS(readlink("/proc/self/exe", nowhere, 64), EFAULT);
	FAILS(stat("/proc/self/exe", (struct stat *)nowhere), EFAULT);
	FAILS(open(nowhere, O_RDONLY), EFAULT);
	FAILS(open("", O_RDONLY), ENOENT);
	FAILS(getxattr("/proc/self/status", "user.x", text, sizeof text), EOPNOTSUPP);
	FAILS(llistxattr("/proc/self/exe", text, sizeof text), EOPNOTSUPP);

	// Names at the end of what may be read.
	end = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	mprotect(end + 4096, 4096, PROT_NONE);
	strcpy(end + 4096 - sizeof "/proc/self/comm", "/proc/self/comm");
	EXPECT(contains(open(end + 4096 - sizeof "/proc/self/comm", O_RDONLY), "asks\n"));
	memset(end + 4000, '/', 96);
	FAILS(open(end + 4000, O_RDONLY), EFAULT);
	long_name = calloc(1, 6000);
	strcpy(long_name, "/proc/");
	for (int i = 0; i < 1000; i++)
		strcat(long_name, "./");
	strcat(long_name, "self/comm");
	EXPECT(contains(open(long_name, O_RDONLY), "asks\n"));
	memset(long_name, '/', 5000);
	FAILS(open(long_name, O_RDONLY), ENAMETOOLONG);

	EXPECT(contains(syscall(SYS_openat2, AT_FDCWD, "/proc/self/comm", &how, sizeof how), "asks\n"));
	how.resolve = RESOLVE_NO_MAGICLINKS;
	FAILS(syscall(SYS_openat2, AT_FDCWD, "/proc/self/exe", &how, sizeof how), ENOENT);

	// Directories, and what is in them.
	EXPECT((dir = open("/proc/self", O_RDONLY | O_DIRECTORY)) >= 0);
	EXPECT(contains(openat(dir, "comm", O_RDONLY), "asks\n"));
	EXPECT(contains(openat(dir, "../self/comm", O_RDONLY), "asks\n"));
	EXPECT(fstatat(dir, "comm", &st, 0) == 0 && S_ISREG(st.st_mode));
	EXPECT(fchdir(dir) == 0 && contains(open("comm", O_RDONLY), "asks\n") && contains(open("./task/../comm", O_RDONLY), "asks\n"));
	EXPECT(chdir("/") == 0);
	FAILS(openat(dir, "none", O_RDONLY), ENOENT);
	FAILS(openat(dir, "../../etc/none", O_RDONLY), ENOENT);
	EXPECT(contains(openat(dir, "../../etc/f", O_RDONLY), "of etc"));
	close(dir);
	FAILS(open("/proc/self/comm", O_RDONLY | O_DIRECTORY), ENOTDIR);
	FAILS(open("/proc/self/exe", O_RDONLY | O_NOFOLLOW), ELOOP);
	FAILS(open("/proc/self/fd", O_WRONLY), EISDIR);
	FAILS(open("/proc/self/new", O_WRONLY | O_CREAT, 0644), ENOENT);
	EXPECT((fd = open("/proc/self/comm", O_PATH)) >= 0 && close(fd) == 0);
	EXPECT((fd = open("/proc/self/cwd", O_PATH | O_DIRECTORY)) >= 0 && close(fd) == 0);

	// Flags of what is given.
	EXPECT((fd = open("/proc/self/comm", O_RDONLY | O_CLOEXEC)) >= 0 && fcntl(fd, F_GETFD) == FD_CLOEXEC && close(fd) == 0);
	EXPECT((fd = open("/proc/self/comm", O_RDONLY)) >= 0 && fcntl(fd, F_GETFD) == 0 && close(fd) == 0);
	EXPECT((fd = open("/dev/stdout", O_WRONLY | O_APPEND)) >= 0 && (fcntl(fd, F_GETFL) & (O_APPEND | O_NONBLOCK)) == O_APPEND && close(fd) == 0);
	EXPECT((fd = open("/dev/stdout", O_WRONLY | O_NONBLOCK)) >= 0 && (fcntl(fd, F_GETFL) & O_NONBLOCK) && close(fd) == 0);

	struct rlimit limit = {3, 3};
	EXPECT(setrlimit(RLIMIT_NOFILE, &limit) == 0);
	FAILS(open("/proc/self/comm", O_RDONLY), EMFILE);
}

static volatile int alarms;

static void alarmed(int unused) { alarms += unused != 0; }

// signals: none of a process's own ends a call that waits.
static void signals(void)
{
	struct sigaction action = {.sa_handler = alarmed};
	struct itimerval often = {{0, 100}, {0, 100}}, never = {{0, 0}, {0, 0}};
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 2000; i++) {
		int fd = open("/proc/self/comm", O_RDONLY);
		if (fd < 0 && errno != EINTR)
			perror("open");
		else if (fd > 3)
			printf("descriptor %d of a call that was made again\n", fd);
		close(fd);
	}
	setitimer(ITIMER_REAL, &never, NULL);
	EXPECT(alarms > 0);
}

// dying: processes that are ended while they ask.
static void dying(void)
{
	pid_t pids[16];
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < 16; i++)
			if ((pids[i] = fork()) == 0)
				for (;;) {
					close(open(i % 2 ? "/proc/self/status" : "/etc/f", O_RDONLY));
					close(open("/proc/self/fd", O_RDONLY));
				}
		usleep(2000);
		for (int i = 0; i < 16; i++)
			kill(pids[i], SIGKILL);
		while (wait(NULL) > 0)
			;
	}
	calls();
}

// many: processes that ask at once, of which each gets what is its own.
static void many(void)
{
	for (int i = 0; i < 32; i++)
		if (fork() == 0) {
			char want[32];
			snprintf(want, sizeof want, "\nPid:\t%d\n", getpid());
			for (int n = 0; n < 50; n++)
				EXPECT(contains(open("/proc/self/status", O_RDONLY), want));
			exit(0);
		}
	while (wait(NULL) > 0)
		;
}

// vforks: a process that has another one's memory, and then another program.
static void vforks(void)
{
	pid_t parent = getpid();
	char text[64] = "", want[32];
	int status;
	if (vfork() == 0) {
		ssize_t n = readlink("/proc/self", text, sizeof text);
		snprintf(want, sizeof want, "%d", getpid());
		if (getpid() == parent || n != (ssize_t)strlen(want) || memcmp(text, want, n) != 0)
			_exit(1);
		execl("/bin/asks", "asks", "calls", NULL);
		_exit(1);
	}
	EXPECT(wait(&status) > 0 && status == 0);
}

int main(int argc, char **argv)
{
	if (argc == 2) {
		const char *what = argv[1];
		if (strcmp(what, "calls") == 0)
			calls();
		else if (strcmp(what, "threads") == 0)
			crowd(thread);
		else if (strcmp(what, "signals") == 0)
			signals();
		else if (strcmp(what, "dying") == 0)
			dying();
		else if (strcmp(what, "many") == 0)
			many();
		else if (strcmp(what, "vfork") == 0)
			vforks();
		else
			return 2;
		return 0;
	}
	name = argv[2];
	times = atol(argv[argc - 1]);
	act = strcmp(argv[1], "open") == 0 ? opens : stats;
	if (argc > 4) {
		times = times / 4 + 1;
		crowd(repeat);
	} else {
		repeat(NULL);
	}
	return 0;
}
