//go:build linux && cgo

package nsenter

import (
	"context"
	"errors"
	"os"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestMain stands for the worker: it is in its namespaces when it gets here.
func TestMain(m *testing.M) {
	if os.Getenv(EnvMode) != "" {
		control := os.NewFile(4, "control")
		_, _ = control.Read(make([]byte, 1)) // until the parent closes its end
		return
	}
	os.Exit(m.Run())
}

func TestExpect(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		sent, want string
		fault      bool
	}{
		{"U", "", false},
		{"P", "the worker ended before it was ready", false},
		{"", "the worker ended before it was ready", false},
		{"E", "the worker ended before it was ready", false},
		{"Eu" + string(rune(syscall.EPERM)), "creating a user namespace: operation not permitted", true},
		{"En" + string(rune(syscall.ENOSPC)), "creating mount and PID namespaces: no space left on device", true},
	} {
		ours, theirs, err := socketpair(unix.SOCK_STREAM)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = theirs.WriteString(test.sent)
		theirs.Close()
		err = expect(ours, 'U')
		ours.Close()
		var fault *Fault
		if test.want == "" && err != nil || test.want != "" && (err == nil || err.Error() != test.want) || errors.As(err, &fault) != test.fault {
			t.Errorf("%q: got %v, want %q", test.sent, err, test.want)
		}
		if test.fault && fault.Fix == "" {
			t.Errorf("%q: no remedy", test.sent)
		}
	}
}

// The worker lives until it is told to end or killed, in namespaces of its own.
func TestStart(t *testing.T) {
	t.Parallel()
	for range 3 {
		p, err := Start(t.Context(), []string{"PATH=" + os.Getenv("PATH")})
		if err != nil {
			t.Fatal(err)
		}
		select {
		case <-p.Done():
			t.Fatal("the worker has ended")
		case <-time.After(50 * time.Millisecond):
		}
		p.Kill()
		select {
		case <-p.Done():
		default:
			t.Error("Kill did not wait")
		}
	}
	p, err := Start(t.Context(), []string{"PATH=" + os.Getenv("PATH")})
	if err != nil {
		t.Fatal(err)
	}
	p.Control.Close()
	select {
	case <-p.Done():
	case <-time.After(20 * time.Second):
		t.Error("the worker goes on after its parent has closed the socket")
	}
	p.Kill()
}

func TestStartOfCancelledContext(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	p, err := Start(ctx, nil)
	if err != nil {
		return
	}
	select { // it was faster, and is killed all the same
	case <-p.Done():
	case <-time.After(20 * time.Second):
		t.Error("the worker goes on")
	}
	p.Kill()
}
