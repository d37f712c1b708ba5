//go:build linux && cgo

package oci

import (
	"errors"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/passwd"
	"github.com/oakum-build/oakum/builder/internal/sandbox"
	"github.com/oakum-build/oakum/builder/isolation"
)

// What libcontainer says of a command that cannot be started; the texts are its own.
func TestStartError(t *testing.T) {
	t.Parallel()
	const prefix = "unable to start container process: error during container init: "
	for text, want := range map[string]sandbox.StartError{
		prefix + `exec: "nope": executable file not found in $PATH`:        {Code: 127, Err: errors.New("executable file not found in $PATH")},
		prefix + `exec: "/nope": stat /nope: no such file or directory`:    {Code: 127, Err: errors.New("stat /nope: no such file or directory")},
		prefix + `exec: "/f": permission denied`:                           {Code: 126, Err: errors.New("permission denied")},
		prefix + `exec: "/d": is a directory`:                              {Code: 126, Err: errors.New("is a directory")},
		prefix + `exec: "a: no such file or directory": permission denied`: {Code: 126, Err: errors.New("permission denied")},
		prefix + `exec: "/f/x": stat /f/x: not a directory`:                {Code: 126, Err: errors.New("stat /f/x: not a directory")},
	} {
		var got *sandbox.StartError
		if err := startError(errors.New(text)); !errors.As(err, &got) || got.Code != want.Code || got.Error() != want.Error() {
			t.Errorf("%s: got %v, want %d: %v", text, err, want.Code, want.Err)
		}
	}
	for _, text := range []string{
		prefix + `error mounting "proc" to rootfs at "/proc": permission denied`, prefix + "exec: no quotes: permission denied", "",
	} {
		var got *sandbox.StartError
		if err := startError(errors.New(text)); errors.As(err, &got) {
			t.Errorf("%s: the command is to blame: %v", text, got)
		}
	}
}

// The capabilities of another user than root are none that it has, and none is
// inherited by anyone.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	for uid, held := range map[int]int{0: len(isolation.DockerCapabilities()), 1: 0, 65534: 0} {
		c := userCapabilities(passwd.User{UID: uid}, isolation.DockerCapabilities())
		if len(c.Effective) != held || len(c.Permitted) != held || len(c.Bounding) != len(isolation.DockerCapabilities()) || len(c.Inheritable)+len(c.Ambient) != 0 {
			t.Errorf("user %d: %+v", uid, c)
		}
	}
}
