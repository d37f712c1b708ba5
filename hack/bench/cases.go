//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/oakum-build/oakum/builder"
)

const (
	steps     = 20
	treeFiles = 2000
	treeBytes = 1 << 30
	manyFiles = 10000 // small ones
)

// stages is a Dockerfile of three stages.
const stages = `FROM busybox AS one
RUN echo 1 > /one
FROM busybox AS two
RUN echo 2 > /two
COPY --from=one /one /one
FROM busybox
COPY --from=one /one /a/
COPY --from=two /two /a/
RUN cat /a/one /a/two
`

// A bench is the programs with a store each, and the contexts that they build.
type bench struct {
	ctx    context.Context
	dir    string
	runs   string // in memory, see store
	oakum  string
	beside string    // another oakum, or ""
	newer  string    // another buildah, or ""
	kit    *buildkit // nil without it
	memory int64     // the most that a process of the commands has had, in KiB

	registry     string // the address of the benchmark's own; "" until it is served
	sent, layers bool   // the images of again and pulled are there

	builder *builder.Builder // see trueCommand; nil until it is opened
	stage   *builder.Stage
}

// newBench makes stores and contexts below the home directory, which is on a real
// disk, and pulls the base image into both stores.
func newBench(ctx context.Context, binary, beside string) (*bench, error) {
	home, err := os.UserHomeDir()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp(home, "oakum-bench-")
	if err != nil {
		return nil, err
	}
	b := &bench{ctx: ctx, dir: dir}
	if b.runs, err = inMemory(); err == nil {
		b.oakum, err = b.copied("oakum", binary)
	}
	if err == nil && beside != "" {
		b.beside, err = b.copied("beside", beside)
	}
	if err == nil {
		err = b.writeContexts()
	}
	if err != nil {
		b.remove()
		return nil, err
	}
	return b, nil
}

// copied copies a program into the benchmark's directory. How a file came into the page cache
// decides how fast the program starts: one that was written in small pieces took a tenth more
// for a whole cached build. Another process does it, for what this one has ever had in memory would count as that of
// each command (the kernel passes the peak on to a child).
func (b *bench) copied(name, binary string) (string, error) {
	path := b.path(name + "-program")
	if err := b.command("dd", "if="+binary, "of="+path, "bs=1G"); err != nil {
		return "", err
	}
	return path, os.Chmod(path, 0o755)
}

func (b *bench) writeContexts() error {
	if err := writeSteps(b.path("steps"), steps); err != nil {
		return err
	}
	if err := writeContext(b.path("stages"), stages); err != nil {
		return err
	}
	if err := b.writeKept(); err != nil {
		return err
	}
	if err := b.writeAllowed(); err != nil {
		return err
	}
	if err := b.writeSmall(); err != nil {
		return err
	}
	return writeContext(b.path("copy"), "FROM scratch\nCOPY tree /tree\n")
}

// writeKept writes the contexts of kept.
func (b *bench) writeKept() error {
	const apt = "FROM debian:bookworm-slim\nRUN rm -f /etc/apt/apt.conf.d/docker-clean\nRUN %sapt-get update && apt-get install -y --no-install-recommends less\n"
	const gobuild = "FROM golang:1.26\nWORKDIR /src\nCOPY *.go go.mod ./\nRUN %sgo build -o /app .\n"
	mounts := map[string]string{
		"apt":     "--mount=type=cache,target=/var/cache/apt,sharing=locked --mount=type=cache,target=/var/lib/apt,sharing=locked ",
		"gobuild": "--mount=type=cache,target=/root/.cache/go-build ",
	}
	for name, text := range map[string]string{"apt": apt, "gobuild": gobuild} {
		for folder, mount := range map[string]string{name: "", name + "-kept": mounts[name]} {
			if err := writeContext(b.path(folder), fmt.Sprintf(text, mount)); err != nil {
				return err
			}
			for file, source := range map[string]string{"go.mod": "module server\n\ngo 1.26\n", "main.go": server} {
				if err := os.WriteFile(filepath.Join(b.path(folder), file), []byte(source), 0o644); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// server is a program that takes a while to compile for the packages that it uses.
const server = `package main

import "net/http"

func main() { _ = http.ListenAndServe(":8080", http.FileServer(http.Dir("."))) }
`

// writeTree writes incompressible data as files, unless they are there.
func writeTree(dir string, files, size int) error {
	if _, err := os.Stat(dir); err == nil {
		return nil
	}
	random := rand.NewChaCha8([32]byte{})
	content := make([]byte, size/files)
	for i := range files {
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
	if b.builder != nil {
		_ = b.builder.Close()
	}
	if b.kit != nil {
		if err := b.kit.stop(); err != nil {
			fmt.Fprintln(os.Stderr, "bench: buildkitd:", err)
		}
	}
	if os.Geteuid() != 0 {
		_ = exec.Command("buildah", "unshare", "rm", "-rf", b.dir, b.runs).Run()
	}
	if err := errors.Join(os.RemoveAll(b.dir), os.RemoveAll(b.runs)); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
	}
}

// inMemory makes a directory of a file system in memory.
func inMemory() (string, error) {
	for _, dir := range []string{os.Getenv("XDG_RUNTIME_DIR"), "/dev/shm"} {
		var is unix.Statfs_t
		if dir != "" && unix.Statfs(dir, &is) == nil && is.Type == unix.TMPFS_MAGIC {
			return os.MkdirTemp(dir, "oakum-bench-")
		}
	}
	return "", errors.New("neither XDG_RUNTIME_DIR nor /dev/shm is in memory (tmpfs), where stores have what holds until the machine goes off")
}

// run is the run root of a store. It is in memory, as that which all programs use by default on a machine with systemd.
func (b *bench) run(store string) string { return filepath.Join(b.runs, store) }

// place is where a store is, for oakum and buildah.
func (b *bench) place(name string) []string {
	return []string{"--root", b.path(name + "/root"), "--runroot", b.run(name)}
}

func (b *bench) store(name string) []string {
	return append(b.place(name), "--storage-driver", "overlay")
}

// oakums are oakum and the one beside it, if there is one, at a build of a context.
func (b *bench) oakums(name, context string, flags ...string) []contender {
	one := func(name, binary, store string) contender {
		return contender{name, b.settle, func() error {
			args := append(b.store(store), "build", "-q", "-t", context)
			return b.command(binary, append(append(args, flags...), b.path(context))...)
		}}
	}
	all := []contender{one(name, b.oakum, "oakum")}
	if b.beside != "" {
		all = append(all, one("oakum beside it", b.beside, "beside"))
	}
	return all
}

// buildBuildah is the same by buildah.
func (b *bench) buildBuildah(context string, flags ...string) func() error {
	return b.bud("buildah", "buildah", context, flags...)
}

// bud is the same by one buildah or the other.
func (b *bench) bud(program, store, context string, flags ...string) func() error {
	return func() error {
		args := append(b.store(store), "bud", "-q", "--isolation", "oci", "--runtime", "runc", "--network", "host", "-t", context)
		return b.command(program, append(append(args, flags...), b.path(context))...)
	}
}

// command runs a program quietly; what it wrote is part of the error.
func (b *bench) command(name string, args ...string) error {
	cmd := exec.CommandContext(b.ctx, name, args...)
	var output bytes.Buffer
	cmd.Stdout, cmd.Stderr = &output, &output
	err := cmd.Run()
	if cmd.ProcessState != nil {
		if usage, is := cmd.ProcessState.SysUsage().(*syscall.Rusage); is {
			b.memory = max(b.memory, usage.Maxrss)
		}
	}
	if err != nil {
		return fmt.Errorf("%s %q: %w\n%s", name, args, err, output.Bytes())
	}
	return nil
}

// prune removes what earlier rounds left in buildah's store, which would slow it.
func (b *bench) prune() error { return b.pruneOf("buildah", "buildah") }

func (b *bench) pruneOf(program, store string) error {
	if err := b.command(program, append(b.store(store), "rmi", "--prune", "--force")...); err != nil {
		return err
	}
	return b.settle()
}

// settle writes what earlier runs left to the disk, so that none pays for another.
func (b *bench) settle() error { return b.command("sync") }

func (b *bench) cases() []benchCase {
	cases := []benchCase{
		b.trueCommand(),
		b.rebuilt("noop", "examples/multistage-go, all cached", "multistage"),
		b.built("steps", fmt.Sprintf("%d RUN steps, none cached", steps), "steps",
			contender{"buildah, one layer", b.prune, b.buildBuildah("steps", "--no-cache", "--layers=false")}),
		b.rebuilt("rebuild", fmt.Sprintf("%d RUN steps, all cached", steps), "steps"),
		b.rebuilt("stages", "three stages that copy from each other, all cached", "stages"),
		b.copying("copy", fmt.Sprintf("COPY of %d MiB in %d files, not cached", treeBytes>>20, treeFiles)),
		b.prepared(b.writeCopied, b.rebuilt("recopy", "the same COPY, cached", "copy")),
		b.built("sleep", "two stages that sleep for a second each, not cached", "sleep"),
		b.built("compute", "two stages that compute for a second each, not cached", "compute"),
		b.prepared(b.change, b.rebuilt("source", "one of 200 source files changed, and two steps after it", "source")),
		b.built("scratch", "one file on scratch, not cached", "scratch"),
		b.walked(),
		b.allowed("multistage", "examples/multistage-go, not cached, with namespaces and overlay, and with chroot and trees"),
		b.allowed("many", fmt.Sprintf("%d RUN steps on a tree of %d files, not cached, the same", steps, manyFiles)),
		b.large(),
		b.allowed("few", fmt.Sprintf("%d RUN steps on busybox alone, not cached, the same", steps)),
		b.kept("apt", "apt-get install, with its directories kept and without"),
		b.travel(),
		b.kept("gobuild", "go build of a small web server, with its cache kept and without"),
		b.pushed(), b.again(), b.besideBuild(), b.pulled(),
	}
	for _, layers := range storedLayers {
		cases = append(cases, b.stored(layers))
	}
	return cases
}

// built compares the builders at a context of which nothing is taken from a cache.
func (b *bench) built(name, what, context string, more ...contender) benchCase {
	c := benchCase{name, what, append(b.oakums("oakum", context, "--no-cache"),
		contender{"buildah --layers", b.prune, b.buildBuildah(context, "--no-cache", "--layers")})}
	c.contenders = append(append(c.contenders, more...), b.peersBuild(context, "--no-cache")...)
	return c
}

// rebuilt compares the builders at a context that they have built before.
func (b *bench) rebuilt(name, what, context string) benchCase {
	c := benchCase{name, what, append(b.oakums("oakum", context),
		contender{"buildah --layers", b.settle, b.buildBuildah(context, "--layers")})}
	c.contenders = append(c.contenders, b.peersBuild(context)...)
	return c
}

// prepared does something before each turn.
func (b *bench) prepared(first func() error, c benchCase) benchCase {
	for i, one := range c.contenders {
		c.contenders[i].prepare = func() error { return errors.Join(first(), one.prepare()) }
	}
	return c
}

// kept compares a command that has cache mounts with the same that has none. The first round fills
// the caches.
func (b *bench) kept(name, what string) benchCase {
	with, without := b.oakums("oakum, --mount=type=cache", name+"-kept", "--no-cache"), b.oakums("oakum", name, "--no-cache")
	return benchCase{name, what, append(with[:1:1], without[0])}
}

// writeCopied writes what COPY copies.
func (b *bench) writeCopied() error { return writeTree(b.path("copy/tree"), treeFiles, treeBytes) }

// copying compares the builders at a COPY, with cp.
func (b *bench) copying(name, what string) benchCase {
	c := b.built(name, what, "copy")
	c.contenders = append(c.contenders, contender{"cp -r", b.removeCopy, b.copyTree})
	return b.prepared(b.writeCopied, c)
}

func (b *bench) removeCopy() error {
	if err := os.RemoveAll(b.path("cp")); err != nil {
		return err
	}
	return b.settle()
}

func (b *bench) copyTree() error { return b.command("cp", "-r", b.path("copy/tree"), b.path("cp")) }
