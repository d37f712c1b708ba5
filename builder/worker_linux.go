//go:build linux && !otheros

package builder

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder/internal/protocol"
	"github.com/oakum-build/oakum/builder/internal/wire"
	"github.com/oakum-build/oakum/builder/internal/worker" // whose init makes this program its own worker
)

// look gives a way to a worker that is not started yet, or nil where one must be.
func (b *Builder) look(hello protocol.Hello, begin beginner) wire.Conn {
	if hello.Remember == "" {
		return nil
	}
	l, err := worker.Look(hello)
	if err != nil {
		return nil
	}
	b.means = l.Means
	way := &looking{looker: l.Conn(), close: l.Close, begin: begin}
	way.ended, way.end = context.WithCancel(context.Background())
	return way
}

// here says what it depends on which worker there can be: this start of the machine, the rights and namespaces of
// this process, the program and the choices; "" where that is not known. Where a worker is given another environment
// than this process has, it may open another store than who looks from here.
func (b *Builder) here() string {
	ours := func(kv string) bool { return strings.HasPrefix(kv, "_CONTAINERS_") } // of podman unshare
	if slices.ContainsFunc(os.Environ(), ours) || len(placeholders()) > 0 || os.Getenv("XDG_RUNTIME_DIR") != "" && !usable(os.Getenv("XDG_RUNTIME_DIR")) {
		return ""
	}
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return ""
	}
	on := []any{protocol.Version, string(boot), os.Geteuid(), os.Getegid(), b.opts.Isolation, b.opts.Worker, b.opts.Root, b.opts.RunRoot, b.opts.Driver, b.opts.DriverOptions}
	for _, name := range []string{"ns/user", "ns/mnt", "ns/pid", "exe"} {
		is, err := os.Readlink("/proc/self/" + name)
		if err != nil {
			return ""
		}
		on = append(on, is)
	}
	var rights [2]unix.CapUserData
	if err := unix.Capget(&unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}, &rights[0]); err != nil {
		return ""
	}
	raw, err := json.Marshal(append(on, rights))
	if err != nil {
		return ""
	}
	return fmt.Sprintf("%x", sha256.Sum256(raw))
}
