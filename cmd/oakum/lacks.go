package main

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"

	"github.com/oakum-build/oakum/builder"
)

// lacking is an error of a machine that lacks something, with what it lacks besides.
// Without the list each run of info would name the next one.
type lacking struct {
	error
	more []*builder.HostError
}

func (e lacking) Unwrap() error { return e.error }

// withMore adds to an error of the machine what else it lacks, as far as that can be
// seen without what err tells of.
func withMore(ctx context.Context, err error) error {
	if !errors.Is(err, builder.ErrHost) || os.Geteuid() == 0 {
		return err
	}
	var more []*builder.HostError
	for _, l := range lacks(ctx) {
		if !strings.Contains(err.Error(), l.about) {
			more = append(more, l.HostError)
		}
	}
	return lacking{err, more}
}

// lack is something missing. An error that has the words about tells of it already.
type lack struct {
	about string
	*builder.HostError
}

// lacks looks for what an ordinary user needs when there are ids and programs to map them,
// of which builder.Open tells at once.
func lacks(ctx context.Context) []lack {
	var found []lack
	if err := enterUserNamespace(ctx); err != nil {
		found = append(found, lack{"user namespace", &builder.HostError{
			Missing: "creating a user namespace: " + err.Error(),
			Fix: "allow unprivileged user namespaces (sysctl user.max_user_namespaces, kernel.unprivileged_userns_clone=1, " +
				"kernel.apparmor_restrict_unprivileged_userns=0, or the container's seccomp profile)",
		}})
	}
	status, err := os.ReadFile("/proc/self/status")
	if err == nil && strings.Contains(string(status), "\nNoNewPrivs:\t1\n") {
		found = append(found, lack{"no_new_privs", &builder.HostError{
			Missing: "no_new_privs is set, so that newuidmap and newgidmap cannot map ids",
			Fix:     "start oakum without it (a container's no-new-privileges, systemd's NoNewPrivileges=)",
		}})
	}
	return found
}

// enterUserNamespace starts this program in a user namespace, to do next to nothing.
func enterUserNamespace(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "/proc/self/exe", "version")
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWUSER, Pdeathsig: syscall.SIGKILL,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Geteuid(), Size: 1}},
	}
	err := cmd.Start()
	if err == nil {
		_ = cmd.Wait() // how it goes on there does not matter
		return nil
	}
	var refused syscall.Errno
	if errors.As(err, &refused) {
		return refused
	}
	return err
}
