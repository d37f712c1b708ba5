//go:build linux

package sandbox

import (
	"errors"
	"testing"
)

// What libcontainer says of a command that cannot be started; the texts are its own.
func TestStartError(t *testing.T) {
	t.Parallel()
	const prefix = "unable to start container process: error during container init: "
	for text, want := range map[string]StartError{
		prefix + `exec: "nope": executable file not found in $PATH`:        {127, errors.New("executable file not found in $PATH")},
		prefix + `exec: "/nope": stat /nope: no such file or directory`:    {127, errors.New("stat /nope: no such file or directory")},
		prefix + `exec: "/f": permission denied`:                           {126, errors.New("permission denied")},
		prefix + `exec: "/d": is a directory`:                              {126, errors.New("is a directory")},
		prefix + `exec: "a: no such file or directory": permission denied`: {126, errors.New("permission denied")},
		prefix + `exec: "/f/x": stat /f/x: not a directory`:                {126, errors.New("stat /f/x: not a directory")},
	} {
		var got *StartError
		if err := startError(errors.New(text)); !errors.As(err, &got) || got.Code != want.Code || got.Error() != want.Error() {
			t.Errorf("%s: got %v, want %d: %v", text, err, want.Code, want.Err)
		}
	}
	for _, text := range []string{
		prefix + `error mounting "proc" to rootfs at "/proc": permission denied`, prefix + "exec: no quotes: permission denied", "",
	} {
		var got *StartError
		if err := startError(errors.New(text)); errors.As(err, &got) {
			t.Errorf("%s: the command is to blame: %v", text, got)
		}
	}
}

// The capabilities of another user than root are none that it has, and none is
// inherited by anyone.
func TestCapabilities(t *testing.T) {
	t.Parallel()
	for uid, held := range map[int]int{0: len(dockerCaps), 1: 0, 65534: 0} {
		c := User{UID: uid}.capabilities(names(dockerCaps))
		if len(c.Effective) != held || len(c.Permitted) != held || len(c.Bounding) != len(dockerCaps) || len(c.Inheritable)+len(c.Ambient) != 0 {
			t.Errorf("user %d: %+v", uid, c)
		}
	}
}
