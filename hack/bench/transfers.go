//go:build linux

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

// What the transfers move.
const (
	pushedFiles = 64
	pushedBytes = 1 << 30 // of which the half can be compressed away
	sentSteps   = 6
	sentBytes   = 64 << 20 // of each of their layers
	pulledSteps = 20
	pulledBytes = 8 << 20
)

// serve starts a registry that keeps its blobs in files, once. It is a process of its own: what it holds in
// memory would make every start of a program from this one slow.
func (b *bench) serve() error {
	if b.registry != "" {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(b.ctx, self, "-registry", b.path("registry"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	_, err = fmt.Fscanln(out, &b.registry)
	return err
}

// serveRegistry is that process: it prints its address.
func serveRegistry(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(listener.Addr())
	blobs, puts := registry.NewDiskBlobHandler(dir).(filesWithPut)
	if !puts {
		return errors.ErrUnsupported
	}
	handler := registry.New(registry.WithBlobHandler(files{blobs, dir}), registry.Logger(log.New(io.Discard, "", 0)))
	server := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute}
	return server.Serve(listener)
}

// files are a registry's blobs. They are asked for their sizes alone, where the library's own would digest them
// for each request.
type files struct {
	filesWithPut
	dir string
}

type filesWithPut interface {
	registry.BlobHandler
	registry.BlobPutHandler
}

// Stat gives a blob's size.
func (f files) Stat(_ context.Context, _ string, h v1.Hash) (int64, error) {
	info, err := os.Stat(filepath.Join(f.dir, h.Algorithm, h.Hex))
	if errors.Is(err, fs.ErrNotExist) {
		return 0, registry.ErrNotFound
	}
	if err != nil {
		return 0, err
	}
	return info.Size(), nil
}

// remote names a repository of that registry.
func (b *bench) remote(name string) string { return b.registry + "/" + name }

// writePushed writes the context of push, whose file "round" differs each time, so that no registry
// has its layer.
func (b *bench) writePushed() error {
	dir := b.path("pushed/tree")
	if _, err := os.Stat(dir); err != nil {
		if err := writeContext(b.path("pushed"), "FROM scratch\nCOPY tree /tree\n"); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			return err
		}
		for i := range pushedFiles {
			if err := writeHalf(filepath.Join(dir, fmt.Sprint(i)), byte(i), pushedBytes/pushedFiles); err != nil {
				return err
			}
		}
	}
	return b.newRound(dir)
}

// newRound makes a context another one.
func (b *bench) newRound(dir string) error {
	if err := b.serve(); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "round"), []byte(time.Now().String()), 0o644); err != nil {
		return err
	}
	return b.settle()
}

// writeHalf writes a file of random letters, of which gzip makes about the half.
func writeHalf(name string, seed byte, size int) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	random, block := rand.NewChaCha8([32]byte{seed}), make([]byte, 1<<16)
	for written := 0; written < size && err == nil; written += len(block) {
		_, _ = random.Read(block) // never fails
		for i := range block {
			block[i] = 'a' + block[i]&15
		}
		_, err = f.Write(block)
	}
	return errors.Join(err, f.Close())
}

// pushed is an image that is made and pushed.
func (b *bench) pushed() benchCase {
	c := benchCase{"push", fmt.Sprintf("an image of %d MiB built and pushed", pushedBytes>>20), []contender{
		{"oakum build --push", b.writePushed, func() error {
			return b.oakumCommand("build", "-q", "--no-cache", "--push", "--tls-verify=false", "-t", b.remote("oakum"), b.path("pushed"))
		}},
		{"buildah bud, push", func() error { return errors.Join(b.prune(), b.writePushed()) }, func() error {
			if err := b.buildBuildah("pushed", "--no-cache", "--layers=false")(); err != nil {
				return err
			}
			return b.command("buildah", append(b.store("buildah"), "push", "-q", "--tls-verify=false", "pushed", b.remote("buildah"))...)
		}},
	}}
	if b.newer != "" {
		c.contenders = append(c.contenders, contender{"newer buildah bud, push", func() error {
			return errors.Join(b.pruneOf(b.newer, "buildah-new"), b.writePushed())
		}, func() error {
			if err := b.bud(b.newer, "buildah-new", "pushed", "--no-cache", "--layers=false")(); err != nil {
				return err
			}
			return b.command(b.newer, append(b.store("buildah-new"), "push", "-q", "--tls-verify=false", "pushed", b.remote("buildah-new"))...)
		}})
	}
	if b.kit != nil {
		c.contenders = append(c.contenders, contender{"BuildKit, push=true", b.writePushed, b.kit.output("pushed", b.kitPush("buildkit"), "--no-cache")})
	}
	return c
}

// kitPush is BuildKit's output to the benchmark's registry.
func (b *bench) kitPush(name string) func() string {
	return func() string { return "type=image,push=true,registry.insecure=true,name=" + b.remote(name) }
}

// again is a push of what the registry has.
func (b *bench) again() benchCase {
	name := func() string { return b.remote("again") }
	prepare := func() error {
		if err := b.serve(); err != nil || b.sent {
			return errors.Join(err, b.settle())
		}
		b.sent = true
		if b.kit != nil {
			if err := errors.Join(b.writePushed(), b.kit.output("pushed", b.kitPush("again-buildkit"))()); err != nil {
				return err
			}
		}
		return errors.Join(b.writePushed(),
			b.oakumCommand("build", "-q", "--push", "--tls-verify=false", "-t", name(), b.path("pushed")),
			b.buildBuildah("pushed", "--layers=false")(),
			b.command("buildah", append(b.store("buildah"), "push", "-q", "--tls-verify=false", "pushed", name()+"-buildah")...))
	}
	c := benchCase{"repush", "the same image pushed again", []contender{
		{"oakum push", prepare, func() error { return b.oakumCommand("push", "-q", "--tls-verify=false", name()) }},
		{"buildah push", prepare, func() error {
			return b.command("buildah", append(b.store("buildah"), "push", "-q", "--tls-verify=false", "pushed", name()+"-buildah")...)
		}},
	}}
	if b.kit != nil { // it pushes what it builds, and nothing else
		c.contenders = append(c.contenders, contender{"BuildKit, built from its cache", prepare, b.kit.output("pushed", b.kitPush("again-buildkit"))})
	}
	return c
}

// besideBuild shows what a push adds to a build of several steps.
func (b *bench) besideBuild() benchCase {
	prepare := func() error {
		text := "FROM busybox\nCOPY round /\n" + strings.Repeat(fmt.Sprintf("RUN head -c %d /dev/urandom | base64 > /file\n", sentBytes*3/4), sentSteps)
		return errors.Join(writeContext(b.path("sent"), text), b.newRound(b.path("sent")))
	}
	build := func(flags ...string) error {
		return b.oakumCommand(append(append([]string{"build", "-q", "--no-cache", "--tls-verify=false", "-t", b.remote("sent")}, flags...), b.path("sent"))...)
	}
	return benchCase{"beside", fmt.Sprintf("%d RUN steps that write %d MiB each, and a push of their layers", sentSteps, sentBytes>>20), []contender{
		{"oakum build", prepare, func() error { return build() }},
		{"oakum build --push", prepare, func() error { return build("--push") }},
		{"oakum build, then push", prepare, func() error {
			return errors.Join(build(), b.oakumCommand("push", "-q", "--tls-verify=false", b.remote("sent")))
		}},
	}}
}

// pulled is an image of many layers that comes into an empty store.
func (b *bench) pulled() benchCase {
	name := func() string { return b.remote("layers") }
	made := func() error {
		if err := b.serve(); err != nil || b.layers {
			return err
		}
		b.layers = true
		text := "FROM busybox\n" + strings.Repeat(fmt.Sprintf("RUN head -c %d /dev/urandom | base64 > $RANDOM\n", pulledBytes*3/4), pulledSteps)
		return errors.Join(writeContext(b.path("layers"), text),
			b.oakumCommand("build", "-q", "--no-cache", "--push", "--tls-verify=false", "-t", name(), b.path("layers")))
	}
	empty := func(store string) func() error {
		return func() error {
			// The layers' files belong to subordinate ids, so a program with all of them removes them.
			return errors.Join(made(), b.command("buildah", append(b.store(store), "rmi", "--all", "--force")...), b.settle())
		}
	}
	return benchCase{"pull", fmt.Sprintf("an image of %d layers of %d MiB pulled into an empty store", pulledSteps, pulledBytes>>20), []contender{
		{"oakum pull", empty("pull-oakum"), func() error {
			return b.command(b.oakum, append(b.store("pull-oakum"), "pull", "-q", "--tls-verify=false", name())...)
		}},
		{"buildah pull", empty("pull-buildah"), func() error {
			return b.command("buildah", append(b.store("pull-buildah"), "pull", "-q", "--tls-verify=false", name())...)
		}},
		{"skopeo copy", empty("pull-skopeo"), func() error { return b.skopeo(name()) }},
	}}
}

// skopeo copies an image into a store; without root it needs the ids of one that has them.
func (b *bench) skopeo(name string) error {
	dest := fmt.Sprintf("containers-storage:[overlay@%s+%s]layers", b.path("pull-skopeo/root"), b.run("pull-skopeo"))
	copying := []string{"skopeo", "copy", "-q", "--src-tls-verify=false", "docker://" + name, dest}
	if os.Geteuid() != 0 {
		copying = append([]string{"buildah", "unshare"}, copying...)
	}
	return b.command(copying[0], copying[1:]...)
}

// oakumCommand runs oakum in the store of the benchmark.
func (b *bench) oakumCommand(args ...string) error {
	return b.command(b.oakum, append(b.store("oakum"), args...)...)
}
