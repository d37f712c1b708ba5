//go:build linux

package network

import (
	"os"
	"runtime"
	"slices"
	"testing"

	"github.com/oakum-build/oakum/builder/internal/sandbox/sandboxtest"
)

// As in the worker, the main thread is the main goroutine's alone.
func init() { runtime.LockOSThread() }

func TestMain(m *testing.M) { os.Exit(sandboxtest.Main(m)) }

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// newPool makes a pool that connects by some programs, and ends with the test.
func newPool(t testing.TB, with ...program) *Pool {
	t.Helper()
	p := NewPool(Machine{})
	if with != nil {
		p.programs = with
	}
	t.Cleanup(p.Close)
	return p
}

// named are the programs of a name.
func named(name string) []program {
	return slices.DeleteFunc(slices.Clone(programs), func(p program) bool { return p.name != name })
}
