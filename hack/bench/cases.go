package main

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
)

const (
	steps     = 20
	treeFiles = 2000
	treeBytes = 512 << 20
)

// A bench is the two programs with a store each, and the contexts that they build.
type bench struct {
	ctx   context.Context
	dir   string
	oakum string
}

// newBench makes stores and contexts below the home directory, which is on a real
// disk, and pulls the base image into both stores.
func newBench(ctx context.Context, binary string) (*bench, error) {
	binary, err := filepath.Abs(binary)
	if err != nil {
		return nil, err
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(home, "oakum-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{ctx: ctx, dir: dir, oakum: binary}
	if err := b.writeContexts(); err != nil {
		b.remove()
		return nil, err
	}
	return b, nil
}

func (b *bench) writeContexts() error {
	if err := writeSteps(b.path("steps"), steps); err != nil {
		return err
	}
	if err := writeContext(b.path("copy"), "FROM scratch\nCOPY tree /tree\n"); err != nil {
		return err
	}
	return writeTree(b.path("copy/tree"))
}

// writeTree writes treeBytes of incompressible data as treeFiles files.
func writeTree(dir string) error {
	random := rand.NewChaCha8([32]byte{})
	content := make([]byte, treeBytes/treeFiles)
	for i := range treeFiles {
		sub := filepath.Join(dir, fmt.Sprint(i/100))
		if err := os.MkdirAll(sub, 0o755); err != nil {
			return err
		}
		_, _ = random.Read(content) // never fails
		if err := os.WriteFile(filepath.Join(sub, fmt.Sprint(i)), content, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func (b *bench) path(name string) string { return filepath.Join(b.dir, name) }

// remove removes all; some of it belongs to subordinate ids.
func (b *bench) remove() {
	if os.Geteuid() != 0 {
		_ = exec.Command("buildah", "unshare", "rm", "-rf", b.dir).Run()
	}
	if err := os.RemoveAll(b.dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

func (b *bench) store(name string) []string {
	return []string{"--root", b.path(name + "/root"), "--runroot", b.path(name + "/run"), "--storage-driver", "overlay"}
}

// buildOakum is a build of a context by oakum.
func (b *bench) buildOakum(context string, flags ...string) func() error {
	return func() error {
		args := append(b.store("oakum"), "build", "-q", "-t", context)
		return b.command(b.oakum, append(append(args, flags...), b.path(context))...)
	}
}

// buildBuildah is the same by buildah.
func (b *bench) buildBuildah(context string, flags ...string) func() error {
	return func() error {
		args := append(b.store("buildah"), "bud", "-q", "--isolation", "oci", "--runtime", "runc", "--network", "host", "-t", context)
		return b.command("buildah", append(append(args, flags...), b.path(context))...)
	}
}

// command runs a program quietly; what it wrote is part of the error.
func (b *bench) command(name string, args ...string) error {
	cmd := exec.CommandContext(b.ctx, name, args...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %q: %w\n%s", name, args, err, output.Bytes())
	}
	return nil
}

// prune removes what earlier rounds left in buildah's store, which would slow it.
func (b *bench) prune() error {
	if err := b.command("buildah", append(b.store("buildah"), "rmi", "--prune", "--force")...); err != nil {
		return err
	}
	return b.settle()
}

// settle writes what earlier runs left to the disk, so that none pays for another.
func (b *bench) settle() error { return b.command("sync") }

func (b *bench) cases() []benchCase {
	return []benchCase{
		{"steps", fmt.Sprintf("%d RUN steps, none cached", steps), []contender{
			{"oakum, a layer each", b.settle, b.buildOakum("steps", "--no-cache")},
			{"buildah, a layer each", b.prune, b.buildBuildah("steps", "--no-cache", "--layers")},
			{"buildah, one layer", b.prune, b.buildBuildah("steps", "--no-cache", "--layers=false")},
		}},
		{"rebuild", fmt.Sprintf("%d RUN steps, all cached", steps), []contender{
			{"oakum", b.settle, b.buildOakum("steps")},
			{"buildah --layers", b.settle, b.buildBuildah("steps", "--layers")},
		}},
		{"copy", fmt.Sprintf("COPY of %d MiB in %d files, not cached", treeBytes>>20, treeFiles), []contender{
			{"oakum", b.settle, b.buildOakum("copy", "--no-cache")},
			{"buildah", b.prune, b.buildBuildah("copy", "--no-cache", "--layers=false")},
			{"cp -r", b.removeCopy, b.copyTree},
		}},
		{"recopy", "the same COPY, cached", []contender{
			{"oakum", b.settle, b.buildOakum("copy")},
			{"buildah --layers", b.settle, b.buildBuildah("copy", "--layers")},
		}},
	}
}

func (b *bench) removeCopy() error {
	if err := os.RemoveAll(b.path("cp")); err != nil {
		return err
	}
	return b.settle()
}

func (b *bench) copyTree() error { return b.command("cp", "-r", b.path("copy/tree"), b.path("cp")) }
