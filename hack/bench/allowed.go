//go:build linux

package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// writeAllowed writes the contexts of allowed.
func (b *bench) writeAllowed() error {
	if err := os.CopyFS(b.path("multistage"), os.DirFS("examples/multistage-go")); err != nil {
		return err
	}
	run := strings.Repeat("RUN true\n", steps)
	if err := writeContext(b.path("few"), "FROM busybox\n"+run); err != nil {
		return err
	}
	if err := writeContext(b.path("many"), "FROM busybox\nCOPY tree /tree\n"+run); err != nil {
		return err
	}
	for i := range manyFiles {
		dir := filepath.Join(b.path("many/tree"), fmt.Sprint(i/100))
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprint(i)), fmt.Append(nil, i), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// allowed compares a build where all is allowed with the same where nothing is, but for root to change its root
// directory: who is not root has but the first.
func (b *bench) allowed(name, what string) benchCase {
	c := benchCase{name, what, b.oakums("oakum", name, "--no-cache")[:1]}
	if os.Geteuid() != 0 {
		return c
	}
	c.contenders = append(c.contenders, contender{"oakum --isolation chroot", b.settle, func() error {
		return b.command(b.oakum, append(b.place("chroot"), "build", "-q", "--isolation", "chroot", "--no-cache", "-t", name, b.path(name))...)
	}})
	return c
}
