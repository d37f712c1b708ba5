//go:build linux

package worker

import (
	"errors"
	"slices"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/errdefs"
	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
)

// TestEnded: what keeps the programs of a foreign image from being emulated goes with the
// status of a command, and with no other error.
func TestEnded(t *testing.T) {
	missing := &errdefs.HostError{Missing: "no qemu", Remedy: "install it"}
	for _, c := range []struct {
		code          int
		err, emulator error
		want          errdefs.ExitError
	}{
		{0, &sandbox.StartError{Code: 127, Err: errors.New("none")}, nil, errdefs.ExitError{Code: 127, Reason: "none"}},
		{0, &sandbox.StartError{Code: 126, Err: unix.ENOEXEC}, missing, errdefs.ExitError{Code: 126, Reason: "exec format error", Emulator: "no qemu; to mend it: install it"}},
		{0, &errdefs.ExitError{Code: 255}, errors.New("odd"), errdefs.ExitError{Code: 255, Emulator: "odd"}},
		{7, nil, nil, errdefs.ExitError{Code: 7}},
		{255, nil, errors.New("odd"), errdefs.ExitError{Code: 255, Emulator: "odd"}},
	} {
		var exit *errdefs.ExitError
		if got := ended(c.code, c.err, c.emulator); !errors.As(got, &exit) || *exit != c.want {
			t.Errorf("%v and %v: got %+v", c.err, c.emulator, got)
		}
	}
	if ended(0, nil, missing) != nil || ended(0, missing, missing) != error(missing) {
		t.Error("what is no status was changed")
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("CI_TOKEN", "secret")
	const path = "PATH=" + defaultPath
	for _, test := range []struct {
		env, uncached []string
		want          []string
	}{
		{nil, nil, []string{path, "HOME=/home"}},
		{[]string{"A=1"}, nil, []string{"A=1", path, "HOME=/home"}},
		{[]string{"A=1", "B=2", "A=3"}, nil, []string{"A=3", "B=2", path, "HOME=/home"}},
		{[]string{"A=1"}, []string{"A=2", "C=3"}, []string{"A=2", "C=3", path, "HOME=/home"}},
		{[]string{"PATH=/p", "HOME=/h"}, nil, []string{"PATH=/p", "HOME=/h"}},
		{[]string{"PATH=", "HOME="}, nil, []string{"PATH=", "HOME="}},
		{[]string{"CI_TOKEN", "*", "", "=", "=x", "PATH", "HOME"}, []string{"CI_TOKEN"}, []string{path, "HOME=/home"}},
		{[]string{"A=b=c", "D= e "}, nil, []string{"A=b=c", "D= e ", path, "HOME=/home"}},
	} {
		got := environment(protocol.Run{Env: test.env, UncachedEnv: test.uncached}, passwd.User{Home: "/home"})
		if !slices.Equal(got, test.want) {
			t.Errorf("%q and %q: got %q, want %q", test.env, test.uncached, got, test.want)
		}
	}
	env := []string{"A=1", "A=2"}
	environment(protocol.Run{Env: env[:1], UncachedEnv: []string{"B=1"}}, passwd.User{})
	if env[1] != "A=2" {
		t.Error("the caller's array was written to")
	}
}
